"""All that is private in `huggingface_hub`, in this one file: a provider's request, built from a mapping that we have.

The library builds requests well, and sends them badly: it fetches the mapping itself (blocking, cached for ever, with
the machine's token instead of the caller's), holds a thread for each job, and cannot resume one. So it only builds
here, with no request of its own. `tests/backends/huggingface/test_library.py` fails loudly where any of this moves.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub.hf_api import InferenceProviderMapping
from huggingface_hub.inference._providers import get_provider_helper

from cinelet.backends.huggingface.body import new_placeholder
from cinelet.backends.huggingface.mapping import Listing
from cinelet.domain.request import Task


@dataclass(frozen=True, slots=True)
class BuiltRequest:
    """A POST that makes a provider work. headers: with the credential, names in lower case. payload: JSON values.

    placeholder: the text that stands in the payload where the image belongs, or None without one.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    payload: Mapping[str, Any] = field(repr=False)
    placeholder: str | None


@functools.cache
def supports(provider: str, task: Task) -> bool:
    """Tell whether the library can build this provider's requests for a task."""
    try:
        get_provider_helper(provider, task=task.value, model="org/name")  # type: ignore[arg-type]  # any text is asked
    except ValueError:
        return False
    return True


def build(
    listing: Listing,
    *,
    model: str,
    task: Task,
    prompt: str | None,
    parameters: Mapping[str, Any],
    secret: str,
    headers: Mapping[str, str],
) -> BuiltRequest:
    """Build the request of a provider for a model of the Hub; nothing is sent.

    secret: a Hugging Face token (`hf_...`) makes a request to the router, any other one to the provider itself.
    """
    placeholder = None
    if task is Task.IMAGE_TO_VIDEO:
        # Every helper leaves an address as it is; bytes they would encode on the event loop, and call a JPEG or a PNG
        # whatever they are.
        placeholder = new_placeholder()
    helper = copy.copy(
        get_provider_helper(listing.provider, task=task.value, model=model)  # type: ignore[arg-type]  # as above
    )
    mapping = InferenceProviderMapping(  # type: ignore[no-untyped-call]
        provider=listing.provider,
        hf_model_id=model,
        providerId=listing.provider_model,
        status=listing.status,
        task=task.value,
        adapterWeightsPath=listing.adapter_weights_path,
    )
    helper._prepare_mapping_info = lambda model: mapping  # type: ignore[method-assign]  # noqa: ARG005, SLF001
    built = helper.prepare_request(
        inputs=prompt if placeholder is None else placeholder,
        parameters={**parameters} if placeholder is None else {"prompt": prompt, **parameters},
        headers=dict(headers),
        model=model,
        api_key=secret,
    )
    # prefer: Replicate's helper asks to be kept waiting, and if that takes too long nobody knows the job's id.
    # user-agent: ours is the client's.
    kept = {name: value for name, value in built.headers.items() if name not in {"prefer", "user-agent"}}
    return BuiltRequest(built.url, kept, built.json if isinstance(built.json, dict) else {}, placeholder)
