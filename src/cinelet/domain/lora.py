"""A LoRA: a small set of weights that changes what a model draws."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from cinelet.domain.errors import ValidationError

MAX_LORAS = 8
MAX_SCALE = 4.0
_FILE = r"(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*/[A-Za-z0-9_][A-Za-z0-9._-]*\.safetensors"
_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_HUB_PATH = re.compile(rf"(?P<repo>{_NAME}/{_NAME})(?P<file>{_FILE})?", re.ASCII)


class Lora(BaseModel):
    """A LoRA by reference, and how strongly it counts.

    path: `org/name` or `org/name/file.safetensors` of the Hub, or a safetensors file of this machine, which begins with
    `/`, `./`, `../` or `~`. scale: 1 is as it was trained, 0 is without.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[str, Field(min_length=1, max_length=500)]
    scale: Annotated[float, Field(strict=True, ge=-MAX_SCALE, le=MAX_SCALE, allow_inf_nan=False)] = 1.0

    @property
    def is_file(self) -> bool:
        """Whether it names a file of this machine."""
        return self.path.startswith(("/", "./", "../", "~"))

    @property
    def hub_parts(self) -> tuple[str, str | None]:
        """The repository of the Hub, and its file where one is named."""
        found = _HUB_PATH.fullmatch(self.path)
        if found is None:
            raise ValueError(f"not a path of the Hub: {self.path}")
        return found["repo"], found["file"].removeprefix("/") if found["file"] else None

    def problem(self) -> str | None:
        """Return what is wrong with the path, or None."""
        if not self.path.isprintable():
            return "it is not printable"
        if self.is_file:
            return None if self.path.endswith(".safetensors") else "a file must be .safetensors, others can run code"
        if _HUB_PATH.fullmatch(self.path) is None:
            return "use org/name, org/name/file.safetensors or ./file.safetensors"
        return None

    def __str__(self) -> str:
        """Return the text that `parse_lora` reads."""
        return self.path if self.scale == 1 else f"{self.path}={self.scale:g}"


def parse_lora(text: str) -> Lora:
    """Read "path" or "path=scale"."""
    path, separator, scale = text.rpartition("=")
    try:
        return Lora(path=path, scale=float(scale)) if separator else Lora(path=text)
    except ValueError:
        message = f"The LoRA {text[:80]!r} cannot be read; use PATH or PATH=SCALE, such as org/name=0.8"
        raise ValidationError(message, {"lora": "Use PATH or PATH=SCALE"}) from None


def loras_of(value: Any) -> Any:
    """Read what a form brings as a text: a JSON list. All else is returned as it is."""
    if not isinstance(value, str):
        return value
    import json

    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError('must be a JSON list, such as [{"path": "org/name", "scale": 0.8}]') from None
