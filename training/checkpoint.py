"""Checkpoints that a killed run never leaves half-written, and the running average of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def save(state: dict[str, Any], path: Path) -> None:
    """Write the state beside `path`, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def load(path: Path) -> dict[str, Any]:
    """Read a state that `save` wrote. Tensors and plain values only."""
    state: dict[str, Any] = torch.load(path, weights_only=True)
    return state


@torch.no_grad()
def average(into: dict[str, torch.Tensor], state: dict[str, torch.Tensor], *, step: int, decay: float) -> None:
    """Move the running average towards `state`; early steps count more, so that it does not begin with noise."""
    kept = min(decay, (step + 1) / (step + 12))
    for name, value in state.items():
        if value.is_floating_point():
            into[name].lerp_(value, 1 - kept)
        else:
            into[name].copy_(value)
