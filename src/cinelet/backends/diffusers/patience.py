"""How long the threads of PyTorch on a processor spin while they wait for each other."""

from __future__ import annotations

import os

SPINS = "3000"
"""Enough to meet within a step of a small model. What libgomp does by itself, some 300,000, burns whole time slices
where another process wants the same cores: two embedded models at once on two cores took 32 s for a video, not 4."""


def limit_spinning() -> None:
    """Let threads sleep soon. libgomp reads this once, when PyTorch brings it; what the user has set stays."""
    if "OMP_WAIT_POLICY" not in os.environ:  # noqa: TID251  (another library's, and set rather than read)
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # noqa: TID251  (as above)
