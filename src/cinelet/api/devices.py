"""Which devices of this machine each get a worker of their own, told without loading PyTorch."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cinelet.config import Config

DEVICE_FILES = Path("/dev")


def local_devices(config: Config, *, files: Path = DEVICE_FILES) -> list[str | None]:
    """Return the devices; `[None]` for the one that PyTorch or `CINELET_DEVICE` chooses.

    Where several share a generation, the first of each such group.
    """
    if config.cinelet_device not in {None, "cuda"} or not _has_cuda():
        return [None]
    if config.cuda_visible_devices is None:
        count = len(list(files.glob("nvidia[0-9]*")))
    else:
        # Whoever names devices here lets PyTorch see those alone, and count them anew.
        count = len([name for name in config.cuda_visible_devices.split(",") if name.strip() not in {"", "-1"}])
    shared = config.cinelet_context_parallel
    firsts = range(0, count - shared + 1, shared)
    return [f"cuda:{number}" for number in firsts] if len(firsts) > 1 else [None]


def _has_cuda() -> bool:
    try:
        return not version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False
