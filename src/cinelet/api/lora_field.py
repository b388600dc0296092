"""The field `lora` of `/v1/videos`, in each way in which a client writes it: as ours, as vLLM-Omni's, in brackets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from cinelet.domain.errors import ValidationError

IN_FORM = {
    "type": "string",
    "description": "LoRAs to apply, as a JSON list.",
    "examples": ['[{"path": "org/name"}]'],
}
"""How the field of a form is described."""
_IN_BRACKETS = re.compile(r"loras?(?:\[\d*\])?\[(path|scale|name|int_id)\]", re.ASCII)
_NAMES = frozenset({"name", "int_id"})
"""What another engine calls it by: nothing here."""


def is_lora(name: str) -> bool:
    """Tell whether a field is one of a LoRA."""
    return name in {"lora", "loras", "lora[]", "loras[]"} or _IN_BRACKETS.fullmatch(name) is not None


def loras_of_fields(fields: Iterable[tuple[str, Any]]) -> list[Any]:
    """Return the LoRAs that the fields name, as a request takes them; whether they can be, the request says.

    Raises `ValidationError` for what is no JSON.
    """
    found: list[Any] = []
    writing: dict[str, Any] = {}
    for name, value in fields:
        part = _IN_BRACKETS.fullmatch(name)
        if part is None:
            found += _whole(value)
            continue
        if part[1] in writing:
            # A list of objects comes flat: each begins where a part comes again.
            found.append(writing)
            writing = {}
        writing[part[1]] = value
    return [_known(lora) for lora in (*found, *([writing] if writing else ()))]


def _whole(value: Any) -> list[Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            message = 'lora must be JSON, such as [{"path": "org/name", "scale": 0.8}]'
            raise ValidationError(message, {"lora": "No JSON"}) from error
    return value if isinstance(value, list) else [value]


def _known(lora: Any) -> Any:
    if not isinstance(lora, dict):
        return lora
    kept = {name: value for name, value in lora.items() if name not in _NAMES}
    if isinstance(kept.get("scale"), str):
        try:
            kept["scale"] = float(kept["scale"])
        except ValueError as error:
            raise ValidationError("The scale of a LoRA must be a number", {"lora": "No number"}) from error
    return kept
