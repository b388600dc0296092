"""Which devices of this machine each get a worker of their own, told without loading PyTorch."""

from __future__ import annotations

from cinelet.assembly import count_gpus
from cinelet.config import Config


def local_devices(config: Config) -> list[str | None]:
    """Return the devices; `[None]` for the one that PyTorch or `CINELET_DEVICE` chooses.

    Where several share a generation, the first of each such group.
    """
    if config.cinelet_device not in {None, "cuda"}:
        return [None]
    shared = config.cinelet_context_parallel
    firsts = range(0, count_gpus(config) - shared + 1, shared)
    return [f"cuda:{number}" for number in firsts] if len(firsts) > 1 else [None]
