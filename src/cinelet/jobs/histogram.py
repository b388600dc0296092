"""Durations by buckets, each a tenth longer than the one before: enough to tell a percentile within a twentieth."""

from __future__ import annotations

from collections.abc import Mapping

STEP = 1.1
LEAST_SECONDS = 0.001
"""What is shorter counts as this, and is told as 0."""


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """Return the duration that a share of all do not exceed, None where there are none. counts: by bucket."""
    total = sum(counts.values())
    if not total:
        return None
    wanted, passed = share * total, 0
    for bucket, count in sorted(counts.items()):
        if passed + count >= wanted:
            seconds = STEP ** (bucket + (wanted - passed) / count)
            return 0.0 if seconds <= LEAST_SECONDS * STEP else seconds
        passed += count
    raise AssertionError("a share is at most 1")
