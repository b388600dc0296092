"""The file of a LoRA, checked before anything in it is loaded. Imports no torch."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cinelet.backends.diffusers.tensor_file import FLOATS, Tensor, read_tensor_header
from cinelet.domain.errors import ValidationError

MAX_LORA_BYTES = 4_000_000_000
"""Of the largest that are known, for models of 14 billion parameters at rank 256, with room."""
MAX_HEADER_BYTES = 10_000_000
MAX_RANK = 4096
SETTINGS_KEY = "lora_adapter_metadata"
"""The entry of the metadata where diffusers keeps how a LoRA was trained."""

_DOWN = re.compile(r"(?P<stem>.+?)[._](?:lora_A|lora_down|lora\.down|lora_linear_layer\.down)(?:\.default)?\.weight")
_UP = re.compile(r"(?P<stem>.+?)[._](?:lora_B|lora_up|lora\.up|lora_linear_layer\.up)(?:\.default)?\.weight")
_LOKR = re.compile(r".+\.lokr_w[12](?:_[ab])?")
_NOISE = re.compile(r"(low|high)[-_ ]?noise", re.IGNORECASE)
_MODULE = re.compile(r"\^?[\w.-]+", re.ASCII)
"""Of the names of a model's modules. PEFT uses them as patterns, and a pattern of anybody's could take for ever."""


@dataclass(frozen=True, slots=True)
class LoraFile:
    """A file that holds a LoRA and nothing else.

    name: what the request calls it. sha256: of its content. settings: how strongly its parts count, as diffusers wants
    it told; None where the file does not say.
    """

    path: Path
    name: str
    sha256: str
    tensor_bytes: int
    settings: Mapping[str, Any] | None

    @property
    def adapter(self) -> str:
        """Its name in a model: the same for the same content with the same meaning."""
        return f"lora_{self.sha256[:32]}{self.noise or ''}"

    @property
    def noise(self) -> str | None:
        """Which noise it is for, "low" or "high", where its name says so: of a model that is a mixture of two."""
        found = _NOISE.search(self.name)
        return found[1].lower() if found else None

    def applied(self, scale: float) -> dict[str, Any]:
        """Return what a result tells of it."""
        return {"path": self.name, "scale": scale, "sha256": self.sha256}


def open_lora(path: Path, name: str) -> LoraFile:
    """Check a file. Raises `ValidationError` for what is no LoRA, or not whole."""
    try:
        facts = path.stat()
        if not path.is_file():
            raise _refused(name, "it is no file")
        if facts.st_size > MAX_LORA_BYTES:
            raise _refused(name, f"it has {facts.st_size:,} bytes, and at most {MAX_LORA_BYTES:,} are loaded")
        header = read_tensor_header(path, max_header_bytes=MAX_HEADER_BYTES)
        _check_pairs(header.tensors)
        settings = _settings(header.metadata.get(SETTINGS_KEY))
        sha256 = _sha256(path, facts.st_size, facts.st_mtime_ns)
    except OSError as error:
        raise _refused(name, error.strerror or "it cannot be read") from error
    except ValueError as error:
        raise _refused(name, f"it is no whole safetensors file of a LoRA ({error!s:.120})") from error
    return LoraFile(path, name, sha256, header.tensor_bytes, settings)


def _refused(name: str, why: str) -> ValidationError:
    return ValidationError(f"The LoRA {name!r:.120} cannot be used: {why}", {"lora": f"{why:.200}"})


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, _size_bytes: int, _changed_ns: int) -> str:
    """Hash a file, once for the same size and time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_pairs(tensors: Mapping[str, Tensor]) -> None:
    """Raise `ValueError` where there is no pair of matrices that belong together, or a half of one."""
    downs = dict(_halves(_DOWN, tensors))
    ups = dict(_halves(_UP, tensors))
    if not downs and not ups and not any(_LOKR.fullmatch(name) for name in tensors):
        raise ValueError("no tensor of it is named as those of a LoRA are")
    if alone := sorted(downs.keys() ^ ups.keys()):
        raise ValueError(f"a half is missing of {alone[0]:.60}")
    for stem, down in downs.items():
        up = ups[stem]
        fits = len(down.shape) >= 2 and len(up.shape) >= 2 and down.shape[0] == up.shape[1]
        if not fits or not 1 <= down.shape[0] <= MAX_RANK or not {down.dtype, up.dtype} <= FLOATS:
            raise ValueError(f"the halves of {stem:.60} do not fit each other")


def _halves(pattern: re.Pattern[str], tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in tensors.items():
        if found := pattern.fullmatch(name):
            yield found["stem"], tensor


def _settings(text: str | None) -> Mapping[str, Any] | None:
    """Return the part of the settings that says how strongly the matrices count, or raise `ValueError`.

    Nothing else is taken: one entry of a configuration of PEFT names a module to import, and others change how the
    model's own weights are read.
    """
    if not text:
        return None
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("its settings are no JSON") from None
    if not isinstance(values, dict):
        raise ValueError("its settings are no JSON object")  # noqa: TRY004  (a file is wrong, not a type of ours)
    found: dict[str, Any] = {}
    for key, value in values.items():
        check = _KNOWN.get(key.rpartition(".")[2])
        if check is None or value is None:
            continue
        if not check(value):
            raise ValueError(f"its setting {key!r:.60} cannot be")
        found[key] = value
    return found or None


def _is_rank(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_RANK


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _by_module(value: Any, check: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and _MODULE.fullmatch(name) and check(number) for name, number in value.items()
    )


_KNOWN = {
    "r": _is_rank,
    "lora_alpha": _is_number,
    "rank_pattern": lambda value: _by_module(value, _is_rank),
    "alpha_pattern": lambda value: _by_module(value, _is_number),
    "use_dora": _is_flag,
    "use_rslora": _is_flag,
    "lora_bias": _is_flag,
}
