"""Guidance from the step before: the network sees the prompt alone, and the rest is taken from the last full step.

Guided steps run the network on a batch of two, with the prompt and without. What tells the two apart changes slowly
after the first steps, so it is kept, and on some later steps only the half with the prompt is computed: that works for
every network that is given both as one batch, those without a cache of diffusers' own among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

FIRST_SHARE = 0.25
"""Of the steps, at the beginning, that are always computed: there it is decided what is seen, and where."""
PERIOD = 3
"""Of the later steps, one in so many is computed whole."""
_BATCHED = frozenset(
    {
        *("hidden_states", "sample", "encoder_hidden_states", "timestep", "attention_mask", "encoder_attention_mask"),
        *("added_time_ids", "fps", "image_latents", "image_embeddings", "encoder_hidden_states_image"),
    }
)
"""Arguments of diffusers' networks whose first dimension is the batch."""


class GuidanceCache:
    """Stands in for a network's `forward` during one run. videos: made at once; steps: of the run."""

    def __init__(self, forward: Any, *, videos: int, steps: int) -> None:
        self.skipped = 0
        self._forward = forward
        self._batch = 2 * videos
        self._first = max(1, round(steps * FIRST_SHARE))
        self._last = steps - 1
        self._step = -1
        self._difference: Any = None

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Run the network, on half of the batch where that is enough."""
        self._step += 1
        half = self._half(arguments, named) if self._may_skip() else None
        if half is not None:
            output = self._forward(*half[0], **half[1])
            prompted = _first_of(output)
            self.skipped += 1
            import torch

            return _with_first(output, torch.cat([prompted + self._difference, prompted]))
        output = self._forward(*arguments, **named)
        states = _first_of(output)
        if states.shape[0] == self._batch:
            plain, prompted = states.chunk(2)
            self._difference = plain - prompted
        return output

    def _may_skip(self) -> bool:
        if self._difference is None or self._step < self._first or self._step >= self._last:
            return False
        return (self._step - self._first) % PERIOD != PERIOD - 1

    def _half(self, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]] | None:
        """Return the arguments with the second half of each batch, or None where it is not clear which they are."""
        import torch

        states = arguments[0] if arguments else named.get("hidden_states", named.get("sample"))
        if not torch.is_tensor(states) or states.shape[0] != self._batch:
            return None
        for name, value in named.items():
            strange = torch.is_tensor(value) and value.ndim and value.shape[0] == self._batch and name not in _BATCHED
            if strange or (name == "added_cond_kwargs" and value):
                return None
        positional = [self._halved(value) for value in arguments]
        return positional, {name: self._halved(value) if name in _BATCHED else value for name, value in named.items()}

    def _halved(self, value: Any) -> Any:
        import torch

        # Some networks repeat the batch for each frame, so that its dimension is a multiple of it.
        is_batched = torch.is_tensor(value) and value.ndim and value.shape[0] % self._batch == 0
        return value.chunk(2)[1] if is_batched else value


@contextmanager
def guidance_cached(network: Any, *, videos: int, steps: int) -> Iterator[GuidanceCache]:
    """Have a network skip what guidance can do without, until the end of the block."""
    before = network.__dict__.get("forward")
    cache = GuidanceCache(network.forward, videos=videos, steps=steps)
    network.forward = cache
    try:
        yield cache
    finally:
        if before is None:
            del network.forward
        else:
            network.forward = before


def _first_of(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else output.sample


def _with_first(output: Any, states: Any) -> Any:
    if isinstance(output, tuple):
        return (states, *output[1:])
    output.sample = states
    return output
