"""The name of what a request makes: equal for requests that make the same video, different for all others."""

from __future__ import annotations

import asyncio
import hashlib
import json

from cinelet.domain.request import POLICY_FIELDS, VideoRequest

KEY_FORMAT = 1
"""Raised when the same request begins to make another video, so that older entries are not found any more."""

_ADDED = ("quality", "lora", "upscaler")
"""Fields that older keys are without: not given, they are left out, and videos made before are still found."""


def video_key(request: VideoRequest, *, revision: str | None = None, seed: int | None = None) -> str | None:
    """Return the key of a request whose `model` and `preset` are resolved, or None where no seed is known.

    Without a seed a request means "another one", so it has no key. seed: the reported one, for the video that such a
    request made. revision: of the model, where it is known before the model is used; a model without one is its name.
    """
    seed = request.seed if request.seed is not None else seed
    if seed is None:
        return None
    # Every field that the request has or will ever have counts, unless it is listed here.
    values = request.model_dump(mode="json", exclude={*POLICY_FIELDS, "image", "seed"})
    if request.image is None:
        values.pop("image_fit")
    for name in _ADDED:
        if not values[name]:
            values.pop(name)
    named = {
        "format": KEY_FORMAT,
        "model": request.model,
        "revision": revision,
        "task": str(request.task),
        "seed": seed,
        "image": None if request.image is None else hashlib.sha256(request.image).hexdigest(),
        "request": values,
    }
    canonical = json.dumps(named, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


async def video_key_beside(
    request: VideoRequest, *, revision: str | None = None, seed: int | None = None
) -> str | None:
    """Return `video_key`, from a thread where there is an image to hash: without one, that would cost more than it."""
    if request.image is None:
        return video_key(request, revision=revision, seed=seed)
    return await asyncio.to_thread(video_key, request, revision=revision, seed=seed)
