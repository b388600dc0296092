"""The networks of a pipeline that run once a step, and how the pipeline calls them."""

from __future__ import annotations

import inspect
from typing import Any

_NAMES = ("transformer", "transformer_2", "unet")


def denoisers(pipeline: Any) -> dict[str, Any]:
    """Return the networks that run once a step, by the names of their components; most pipelines have one."""
    found = {name: getattr(pipeline, name, None) for name in _NAMES}
    return {name: module for name, module in found.items() if hasattr(module, "named_modules")}


def tells_steps(pipeline: Any) -> bool:
    """Tell whether a pipeline says which of its calls is which, as diffusers' caches need it."""
    return "cache_context" in _code(pipeline).co_names


def calls_twice(pipeline: Any, *, guided: bool) -> bool:
    """Tell whether a pipeline that tells its steps gives the prompt and its opposite in two calls, not in one batch."""
    return guided and tells_steps(pipeline) and "cond_uncond" not in _code(pipeline).co_consts


def _code(pipeline: Any) -> Any:
    return inspect.unwrap(type(pipeline).__call__).__code__
