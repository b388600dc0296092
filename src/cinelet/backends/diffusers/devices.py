"""The device that models run on: which one, and what memory it has. Torch is imported where it is asked."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import Any

from cinelet.backends.diffusers.quantization import bytes_of_tensor
from cinelet.domain.condition import Device
from cinelet.domain.errors import DeviceLostError, ProcessingError

_CGROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


_DEVICE_FILES = Path("/dev")
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "STATUS_ALLOC_FAILED")
"""What PyTorch says, on a processor and on a GPU, and what the libraries of a GPU say."""


def choose_device(wanted: str | None) -> str:
    """Return `wanted`, or the fastest device that there is: cuda, mps or cpu; raises `ProcessingError` if it fails."""
    import torch

    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = wanted or best
    try:
        # Computing something: a GPU that this build of PyTorch has no code for gives memory all the same.
        torch.ones(1, device=device).add(1).item()
    except (RuntimeError, AssertionError) as error:
        why = str(error).partition("\n")[0].rstrip(".")
        others = " or ".join(name for name in _usable() if name != device)
        todo = f"set CINELET_DEVICE (or --device of cinelet worker) to {others}"
        raise ProcessingError(f"The device {device!r} cannot be used here: {why}; {todo}", "loading") from error
    return device


def _usable() -> list[str]:
    """List the devices that PyTorch finds, the processor last."""
    import torch

    found = [f"cuda:{number}" for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return [*found, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def count_gpus(visible: str | None) -> int:
    """Return how many GPUs of NVIDIA PyTorch would find, without loading it. visible: of `CUDA_VISIBLE_DEVICES`."""
    try:
        if version("torch").endswith("+cpu"):
            return 0
    except PackageNotFoundError:
        return 0
    if visible is None:
        return len(list(_DEVICE_FILES.glob("nvidia[0-9]*")))
    # Whoever names devices there lets PyTorch see those alone, and count them anew.
    return len([name for name in visible.split(",") if name.strip() not in {"", "-1"}])


def device_without_torch(wanted: str | None) -> str | None:
    """Return the device where it is known without loading PyTorch: its build for processors has no other."""
    return "cpu" if wanted in {None, "cpu"} and version("torch").endswith("+cpu") else None


def bytes_of(*parts: Any) -> int:
    """Sum what the tensors of modules take; one that several share counts once."""
    import torch

    modules = [part for part in parts if isinstance(part, torch.nn.Module)]
    tensors = {id(tensor): tensor for tensor in chain.from_iterable(map(_tensors, modules))}
    return sum(map(bytes_of_tensor, tensors.values()))


def _tensors(module: Any) -> Any:
    return chain(module.parameters(), module.buffers())


def device_now(name: str) -> Device:
    """Return a device with its memory, where that is not the machine's own."""
    import torch

    if not (name.startswith("cuda") and torch.cuda.is_initialized()):
        return Device(name)
    try:
        free_bytes, total_bytes = torch.cuda.mem_get_info(name)
        return Device(
            name,
            total_bytes=total_bytes,
            free_bytes=free_bytes,
            allocated_bytes=torch.cuda.memory_allocated(name),
            reserved_bytes=torch.cuda.memory_reserved(name),
        )
    except RuntimeError:  # A driver that has failed: whoever runs a model there hears of it.
        return Device(name)


def free_bytes(device: str) -> int:
    """Return what a device has left for tensors, that included which PyTorch keeps for later."""
    import torch

    if device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    if device.startswith("mps"):
        of_graphics = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
        return min(int(of_graphics), host_free_bytes())
    return host_free_bytes()


def total_bytes(device: str) -> int:
    """Return what a device has in all."""
    import psutil
    import torch

    return int(torch.cuda.mem_get_info(device)[1]) if device.startswith("cuda") else int(psutil.virtual_memory().total)


def host_free_bytes() -> int:
    """Return what the machine has left, or the container that this process is in."""
    import psutil

    left = int(psutil.virtual_memory().available)
    for limit, used in _CGROUPS:
        try:
            # "max", or a number beyond every memory, where there is no limit.
            left = min(left, max(0, int(limit.read_text(encoding="ascii")) - int(used.read_text(encoding="ascii"))))
        except (OSError, ValueError):
            continue
    return left


def give_back() -> None:
    """Return the memory of what was dropped to the device, and to the system."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        with suppress(torch.AcceleratorError):  # A device that is lost takes nothing back.
            torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:  # glibc; it keeps small pieces otherwise
            trim(0)


@dataclass(slots=True)
class Peak:
    """What tensors took at most beside those that were there before; None where a device does not count."""

    bytes: int | None = None


@contextmanager
def peak_of(device: str) -> Iterator[Peak]:
    """Measure what the block needs of a device."""
    import torch

    peak = Peak()
    if not device.startswith("cuda"):
        yield peak
        return
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    yield peak
    peak.bytes = max(0, torch.cuda.max_memory_allocated(device) - before)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception of PyTorch means that memory was out."""
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(words in text for words in _OUT_OF_MEMORY)


@contextmanager
def at_work(device: str) -> Iterator[None]:
    """Have PyTorch use a device until the end of the block, for whatever names none.

    Raises `DeviceLostError` instead of whatever the block ends with where the device answers no more. No exception says
    so by its type: some are of calls that were wrong, and a lost device fails some calls as if it were not.
    """
    import torch

    try:
        with torch.cuda.device(torch.device(device)) if device.startswith("cuda") else nullcontext():
            yield
    except Exception as error:
        if isinstance(error, DeviceLostError) or answers(device):
            raise
        raise DeviceLostError(f"{device}: {str(error).partition(chr(10))[0]:.200}") from error


def answers(device: str) -> bool:
    """Tell whether a device still works: from one that is lost, each call fails from then on."""
    try:
        synchronize(device)
    except RuntimeError:
        return False
    return True


def synchronize(device: str) -> None:
    """Wait until a device has done what it was given: it takes on much more than it has done."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device.startswith("mps"):
        torch.mps.synchronize()
