"""How much of a prompt a model reads."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from cinelet.domain.result import Adjustment

_NO_LIMIT = 100_000
"""Tokenizers without a limit name a number beyond this."""


def cut_prompt(pipeline: Any, arguments: Mapping[str, Any]) -> list[Adjustment]:
    """Say so where a prompt is longer than what the model reads."""
    tokenizer = getattr(pipeline, "tokenizer", None)
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)  # of a processor, which reads pictures too
    prompt = arguments.get("prompt")
    if tokenizer is None or not prompt:
        return []
    parameter = inspect.signature(type(pipeline).__call__).parameters.get("max_sequence_length")
    limit = parameter.default if parameter is not None else getattr(tokenizer, "model_max_length", None)
    if not isinstance(limit, int) or limit > _NO_LIMIT:
        return []
    count = len(tokenizer(prompt).input_ids)
    if count <= limit:
        return []
    reason = f"the model reads the first {limit} tokens of a prompt, and this one has {count}; the rest is cut off"
    return [Adjustment("prompt", f"{count} tokens", f"{limit} tokens", reason)]
