"""What a model's tensors take, from the headers of its safetensors files alone. Imports no torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import nlargest
from pathlib import Path
from typing import Any, Protocol

from cinelet.backends.diffusers.tensor_file import BITS, FLOATS, read_tensor_header
from cinelet.domain.errors import ModelUnsupportedError

MAX_HEADER_BYTES = 100_000_000

_SIDE_BY_SIDE = 2
"""Layers that are on a device at once where they are brought there one by one: one works, and the next one comes."""


@dataclass(frozen=True, slots=True)
class Elements:
    """How many numbers of each type ("BF16", ...) there are, and the type and numbers of each of the largest tensors.

    largest: as many as lie side by side; none where the tensors are not told apart.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    largest: tuple[tuple[str, int], ...] = ()


class Unread(Protocol):
    """Weights that are not on this machine yet. size_bytes: of their files."""

    size_bytes: int

    def tensors(self) -> Mapping[str, Elements]:
        """Return how many numbers of each type each component has, from the headers alone."""
        ...


@dataclass(frozen=True, slots=True)
class Footprint:
    """The bytes that each component's tensors take once they are loaded.

    largest_layers: of each component, those that lie side by side where its layers are brought one by one. A tensor
    stands for its layer, as none has two large ones but mixtures of experts, whose tensors come together as well.
    """

    components: Mapping[str, int]
    largest_layers: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All components."""
        return sum(self.components.values())

    @property
    def largest(self) -> int:
        """The largest component."""
        return max(self.components.values(), default=0)


def footprint(components: Mapping[str, Elements], *, float_bytes: int | Mapping[str, int]) -> Footprint:
    """Return what components take when each of their floating-point numbers is loaded in `float_bytes` bytes.

    float_bytes: of all components, or of each by its name.
    """

    def bytes_in(name: str, tensors: Iterable[tuple[str, int]]) -> int:
        each = float_bytes if isinstance(float_bytes, int) else float_bytes[name]
        return sum(count * (each if kind in FLOATS else BITS.get(kind, 8) // 8) for kind, count in tensors)

    there = {name: found for name, found in components.items() if found.counts}
    return Footprint(
        {name: bytes_in(name, found.counts.items()) for name, found in there.items()},
        {name: bytes_in(name, found.largest) for name, found in there.items()},
    )


def stored_float(components: Mapping[str, Elements]) -> str | None:
    """Return the type that most of the floating-point numbers are stored in."""
    counts: Counter[str] = Counter()
    for elements in components.values():
        counts.update({kind: count for kind, count in elements.counts.items() if kind in FLOATS})
    return max(counts, key=lambda kind: counts[kind]) if counts else None


def elements_of(path: Path, reference: str) -> Elements:
    """Count the numbers of a safetensors file.

    Raises `ModelUnsupportedError` for a file that is not whole.
    """
    try:
        header = read_tensor_header(path, max_header_bytes=MAX_HEADER_BYTES)
    except ValueError as error:
        message = f"{reference}: {path.parent.name}/{path.name} is no complete safetensors file ({error!s:.80})"
        raise ModelUnsupportedError(f"{message}; download the model again", reference) from error
    return counted((tensor.dtype, tensor.shape) for tensor in header.tensors.values())


def counted(tensors: Iterable[tuple[Any, Iterable[int]]]) -> Elements:
    """Sum tensors of (type, shape) by their types."""
    found = [(str(kind), math.prod(int(side) for side in shape)) for kind, shape in tensors]
    return together(Elements({kind: count}, ((kind, count),)) for kind, count in found)


def together(files: Iterable[Elements]) -> Elements:
    """Return what the files of a component hold together."""
    counts: Counter[str] = Counter()
    largest: list[tuple[str, int]] = []
    for elements in files:
        counts.update(elements.counts)
        largest += elements.largest
    return Elements(counts, tuple(nlargest(_SIDE_BY_SIDE, largest, key=lambda tensor: tensor[1])))
