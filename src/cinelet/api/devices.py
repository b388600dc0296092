"""Which devices of this machine each get a worker of their own, told without loading PyTorch."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cinelet.config import Config

DEVICE_FILES = Path("/dev")


def local_devices(config: Config, *, files: Path = DEVICE_FILES) -> list[str | None]:
    """Return the devices; `[None]` for the one that PyTorch or `CINELET_DEVICE` chooses."""
    if config.cinelet_device not in {None, "cuda"} or not _has_cuda():
        return [None]
    if config.cuda_visible_devices is None:
        count = len(list(files.glob("nvidia[0-9]*")))
    else:
        # Whoever names devices here lets PyTorch see those alone, and count them anew.
        count = len([name for name in config.cuda_visible_devices.split(",") if name.strip() not in {"", "-1"}])
    return [f"cuda:{number}" for number in range(count)] if count > 1 else [None]


def _has_cuda() -> bool:
    try:
        return not version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False
