"""Where LoRAs come from: a file of this machine, or one of the Hub, brought here and checked."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cinelet.backends.diffusers.arguments import find_class
from cinelet.backends.diffusers.libraries import importing
from cinelet.backends.diffusers.lora_file import MAX_LORA_BYTES, LoraFile, open_lora
from cinelet.backends.diffusers.model_folder import ModelFolder
from cinelet.domain.backend import Context
from cinelet.domain.errors import ModelUnsupportedError, ValidationError
from cinelet.domain.lora import Lora

DEFAULT_FILE = "pytorch_lora_weights.safetensors"
"""How diffusers names the file of a LoRA that it saves."""
_LISTED = 10

ChosenLora = tuple[Lora, LoraFile]
"""What a request says of a LoRA, and its file."""


def takes_lora(pipeline_class: type, components: Mapping[str, tuple[str, str]]) -> bool:
    """Tell whether diffusers can put a LoRA into a pipeline: its class must be able to, and a part that makes frames.

    components: of the model, name -> (library, class).
    """
    import diffusers

    parts = getattr(pipeline_class, "_lora_loadable_modules", ())
    classes = [components[part][1] for part in parts if components.get(part, ("",))[0] == "diffusers"]
    with importing():
        return hasattr(pipeline_class, "load_lora_weights") and any(
            hasattr(getattr(diffusers, name, None), "load_lora_adapter") for name in classes
        )


def find_loras(
    loras: Sequence[Lora],
    model: ModelFolder,
    *,
    cache_dir: Path | None,
    token: str | None,
    endpoint: str | None,
    context: Context | None,
) -> list[ChosenLora]:
    """Return the file of each LoRA for a model, checked; what is not on this machine is downloaded.

    Raises `ModelUnsupportedError` for a model that takes none, `ValidationError` for what is no LoRA or not there, and
    as `hub.download` does.
    """
    if not takes_lora(find_class(model.class_name, model.reference), model.components):
        message = f"{model.reference}: {model.class_name} takes no LoRA, diffusers has no loader for it"
        raise ModelUnsupportedError(f"{message}; leave lora out, or use another model", model.reference)
    found = []
    for lora in loras:
        if lora.is_file:
            path = _local(lora)
        else:
            from cinelet.backends.diffusers import hub

            repo_id, file = lora.hub_parts
            choose = functools.partial(_chosen, repo_id=repo_id, named=file)
            path = hub.download_file(
                repo_id, choose, cache_dir=cache_dir, token=token, endpoint=endpoint, context=context
            )
        found.append((lora, open_lora(path, lora.path)))
        if context is not None:
            context.check()
    return found


def applied_of(loras: Sequence[ChosenLora]) -> dict[str, Any]:
    """Return what a result tells of the LoRAs: nothing where there is none."""
    told = [{"path": file.name, "scale": lora.scale, "sha256": file.sha256} for lora, file in loras]
    return {"lora": told} if told else {}


def _local(lora: Lora) -> Path:
    try:
        path = Path(lora.path).expanduser()
    except RuntimeError:  # "~" of nobody
        path = Path(lora.path)
    if not path.is_file():
        message = f"The LoRA {lora.path!r:.120} cannot be used: there is no such file"
        raise ValidationError(message, {"lora": "No such file"})
    return path


def _chosen(sizes: Mapping[str, int], *, repo_id: str, named: str | None) -> str:
    """Pick the file of a LoRA among those of a repository."""
    candidates = sorted(name for name in sizes if name.endswith(".safetensors"))
    wanted = named or (DEFAULT_FILE if DEFAULT_FILE in sizes else None)
    if wanted is None and len(candidates) == 1:
        (wanted,) = candidates
    if wanted is None or wanted not in sizes:
        listed = ", ".join(candidates[:_LISTED]) + (", ..." if len(candidates) > _LISTED else "")
        which = f"name one of its files: {listed}" if candidates else "it has no .safetensors file"
        has = f"has no file {named}" if named else f"has no {DEFAULT_FILE}"
        raise ValidationError(f"The LoRA {repo_id} {has}; {which}", {"lora": which[:200]})
    if sizes[wanted] > MAX_LORA_BYTES:
        size = f"it has {sizes[wanted]:,} bytes, and at most {MAX_LORA_BYTES:,} are loaded"
        raise ValidationError(f"The LoRA {repo_id}/{wanted} cannot be used: {size}", {"lora": size})
    return wanted
