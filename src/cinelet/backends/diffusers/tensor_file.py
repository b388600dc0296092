"""The header of a safetensors file: what tensors are in it, read without them. Imports no torch."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

BITS: Mapping[str, int] = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "U16": 16,
    "I16": 16,
    "F16": 16,
    "BF16": 16,
    "U32": 32,
    "I32": 32,
    "F32": 32,
    "U64": 64,
    "I64": 64,
    "F64": 64,
    "C64": 64,
}
"""Of a number, by its type."""
FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
MAX_DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor as the header tells of it."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """What a file holds. tensor_bytes: of all tensors together."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    tensor_bytes: int


def read_tensor_header(path: Path, *, max_header_bytes: int) -> TensorHeader:
    """Return the header of a file whose bytes are all there, each in one tensor.

    Raises `ValueError`, in a few words, for any other file, and `OSError` where it cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise ValueError("it is too short")
        (length,) = struct.unpack("<Q", start)
        if length > max_header_bytes:
            raise ValueError(f"a header of {length:,} bytes")
        text = file.read(length)
        size_bytes = file.seek(0, 2)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("its header is no JSON") from None
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")  # noqa: TRY004  (a file is wrong, not a type of ours)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are no texts")
    spans = sorted(_span(name, entry) for name, entry in header.items())
    end = 0
    for begin, stop in spans:
        if begin != end:
            raise ValueError("its tensors overlap, or leave a gap")
        end = stop
    if 8 + length + end != size_bytes:
        raise ValueError(f"{size_bytes:,} bytes, and its header tells of {8 + length + end:,}")
    tensors = {name: Tensor(entry["dtype"], tuple(entry["shape"])) for name, entry in header.items()}
    return TensorHeader(tensors, metadata, end)


def _span(name: str, entry: Any) -> tuple[int, int]:
    """Return where a tensor's bytes begin and end, or raise `ValueError` for one that cannot be."""
    try:
        bits, shape, (begin, end) = BITS[entry["dtype"]], entry["shape"], entry["data_offsets"]
        numbers = [*shape, begin, end]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"no tensor can be as {name!r:.60}") from None
    whole = all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers)
    if not whole or len(shape) > MAX_DIMENSIONS or prod(shape) * bits != (end - begin) * 8:
        raise ValueError(f"no tensor can be as {name!r:.60}")
    return begin, end
