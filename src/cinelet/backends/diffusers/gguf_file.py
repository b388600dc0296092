"""gguf files: weights in few bits, as llama.cpp keeps them. Data only; the header is checked before any of it is used.

The layout is llama.cpp's own: "GGUF", version, counts of tensors and of facts, the facts, the tensors' names, shapes,
types and places, then the bytes. Imports no torch.
"""

from __future__ import annotations

import importlib.util
import math
import struct
from pathlib import Path
from typing import BinaryIO

from cinelet.domain.errors import ModelUnsupportedError

SUFFIX = ".gguf"
MAX_TENSORS = 100_000
MAX_FACTS = 10_000
MAX_NAME_BYTES = 65_535
MAX_TEXT_BYTES = 10_000_000
MAX_ITEMS = 10_000_000
MAX_DIMENSIONS = 8
_ALIGNMENT = 32
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a fact's value, by its type; 8 is a text and 9 a list."""
_TEXT, _LIST = 8, 9
_BLOCKS: dict[int, tuple[int, int]] = dict(
    [
        *((0, (1, 4)), (1, (1, 2)), (2, (32, 18)), (3, (32, 20)), (6, (32, 22)), (7, (32, 24)), (8, (32, 34))),
        *((9, (32, 40)), (10, (256, 84)), (11, (256, 110)), (12, (256, 144)), (13, (256, 176)), (14, (256, 210))),
        *((15, (256, 292)), (16, (256, 66)), (17, (256, 74)), (18, (256, 98)), (19, (256, 50)), (20, (32, 18))),
        *((21, (256, 110)), (22, (256, 82)), (23, (256, 136)), (24, (1, 1)), (25, (1, 2)), (26, (1, 4))),
        *((27, (1, 8)), (28, (1, 8)), (29, (256, 56)), (30, (1, 2))),
    ]
)
"""(values, bytes) of a block, by the tensors' type."""


def gguf_of(component: Path) -> Path | None:
    """Return the gguf file of a component that has one and no safetensors, or None."""
    if not component.is_dir() or any(component.glob("*.safetensors")):
        return None
    return next(iter(sorted(component.glob(f"*{SUFFIX}"))), None)


def tensor_bytes(path: Path, reference: str) -> int:
    """Return what the tensors take as they are kept. Raises `ModelUnsupportedError` for a file that is none, or cut."""
    where = f"{reference}: {path.parent.name}/{path.name}"
    if importlib.util.find_spec("gguf") is None:
        message = f"{where} needs the package gguf; install it with: pip install 'cinelet[quantization]'"
        raise ModelUnsupportedError(message, reference)
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            return _read(file, size)
    except (ValueError, struct.error, OverflowError) as error:
        message = f"{where} is no complete gguf file ({error!s:.80})"
        raise ModelUnsupportedError(f"{message}; download the model again", reference) from error


def _read(file: BinaryIO, size: int) -> int:
    if file.read(4) != b"GGUF":
        raise ValueError("it does not begin as one")
    (version,) = _unpack(file, "<I")
    if version not in {2, 3}:
        raise ValueError(f"version {version}")
    tensors, facts = _unpack(file, "<QQ")
    if tensors > MAX_TENSORS or facts > MAX_FACTS:
        raise ValueError(f"{tensors:,} tensors and {facts:,} facts")
    alignment = _ALIGNMENT
    for _ in range(facts):
        name = _text(file, MAX_NAME_BYTES)
        (kind,) = _unpack(file, "<I")
        if name == b"general.alignment" and kind == 4:
            (alignment,) = _unpack(file, "<I")
        else:
            _skip(file, kind, size)
    if not 1 <= alignment <= 65_536:
        raise ValueError(f"an alignment of {alignment}")
    total = end = 0
    for _ in range(tensors):
        _text(file, MAX_NAME_BYTES)
        (dimensions,) = _unpack(file, "<I")
        if dimensions > MAX_DIMENSIONS:
            raise ValueError(f"{dimensions} dimensions")
        shape = _unpack(file, f"<{dimensions}Q")
        kind, offset = _unpack(file, "<IQ")
        if kind not in _BLOCKS:
            raise ValueError(f"a tensor of an unknown type ({kind})")
        values, block_bytes = _BLOCKS[kind]
        taken = -(-math.prod(shape) // values) * block_bytes
        total += taken
        end = max(end, offset + taken)
    begin = -(-file.tell() // alignment) * alignment
    if begin + end > size:
        raise ValueError("shorter than its header says")
    return total


def _unpack(file: BinaryIO, form: str) -> tuple[int, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _text(file: BinaryIO, most: int) -> bytes:
    (length,) = _unpack(file, "<Q")
    if length > most:
        raise ValueError(f"a text of {length:,} bytes")
    text = file.read(length)
    if len(text) != length:
        raise ValueError("it ends within a text")
    return text


def _skip(file: BinaryIO, kind: int, size: int, *, depth: int = 0) -> None:
    """Read over a fact's value."""
    if kind == _TEXT:
        _text(file, MAX_TEXT_BYTES)
    elif kind == _LIST:
        inner, count = _unpack(file, "<IQ")
        if count > MAX_ITEMS or depth > 2:
            raise ValueError(f"a list of {count:,}")
        if inner in _SIZES:
            file.seek(_SIZES[inner] * count, 1)
        else:
            for _ in range(count):
                _skip(file, inner, size, depth=depth + 1)
    elif kind in _SIZES:
        file.seek(_SIZES[kind], 1)
    else:
        raise ValueError(f"a fact of an unknown type ({kind})")
    if file.tell() > size:
        raise ValueError("it ends within its facts")
