"""Muon for the hidden matrices, AdamW for the rest.

Muon (Keller Jordan and others, 2024) replaces a matrix's momentum by its nearest orthogonal matrix, found with a few
Newton-Schulz steps. On these small models it needs about half of AdamW's samples.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


@torch.no_grad()
def orthogonal(matrix: torch.Tensor, steps: int = 4) -> torch.Tensor:
    """Return (about) the orthogonal matrix nearest to `matrix`, whose further dimensions are taken as one."""
    a, b, c = NEWTON_SCHULZ
    x = matrix.reshape(matrix.shape[0], -1)
    transposed = x.shape[0] > x.shape[1]
    x = x.T if transposed else x
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if transposed else x).reshape(matrix.shape)


class MuonAdamW:
    """Updates `matrices` with Muon and `others` with AdamW; the processes of a group share Muon's work."""

    def __init__(
        self,
        matrices: Iterable[torch.nn.Parameter],
        others: Iterable[torch.nn.Parameter],
        *,
        learning_rate: float,
        weight_decay: float = 0.01,
        momentum: float = 0.92,
    ) -> None:
        self.matrices = list(matrices)
        self.others = list(others)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.learning_rate = learning_rate
        self.velocities = [torch.zeros_like(matrix) for matrix in self.matrices]
        self.adamw = torch.optim.AdamW(self.others, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in (*self.matrices, *self.others):
            parameter.grad = None

    @torch.no_grad()
    def step(self, factor: float = 1.0) -> None:
        """Apply one update at `factor` times the learning rate."""
        rank, size = _group()
        for group in self.adamw.param_groups:
            group["lr"] = self.learning_rate * factor
        self.adamw.step()
        updates = []
        for index, (matrix, velocity) in enumerate(zip(self.matrices, self.velocities, strict=True)):
            gradient = torch.zeros_like(matrix) if matrix.grad is None else matrix.grad
            velocity.mul_(self.momentum).add_(gradient)
            mine = index % size == rank
            updates.append(orthogonal(gradient + self.momentum * velocity) if mine else torch.zeros_like(matrix))
        if size > 1:
            flat = torch.cat([update.flatten() for update in updates])
            torch.distributed.all_reduce(flat)
            parts = flat.split([update.numel() for update in updates])
            updates = [part.view_as(update) for part, update in zip(parts, updates, strict=True)]
        for matrix, update in zip(self.matrices, updates, strict=True):
            scale = 0.2 * max(matrix.shape[0], matrix[0].numel()) ** 0.5  # as large as an AdamW update
            rate = self.learning_rate * factor
            matrix.mul_(1 - rate * self.weight_decay).add_(update, alpha=-rate * scale)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"velocities": self.velocities, "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        for velocity, saved in zip(self.velocities, state["velocities"], strict=True):
            velocity.copy_(saved)
        self.adamw.load_state_dict(state["adamw"])


def _group() -> tuple[int, int]:
    """Return this process's rank and the number of processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
