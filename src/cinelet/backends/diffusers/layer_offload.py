"""Layers that wait in the machine's memory until they work: diffusers' group offload of single layers."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from cinelet.backends.diffusers import devices

LEAST_RESERVE_BYTES = 512 * 1024**2
"""Of a memory, left to others."""
FOLLOWED = (
    "this run finds out in which order the model's layers are brought to the device, and later ones can be faster"
)
"""Why a network that is followed is left as it is."""


def bring_by_layers(pipeline: Any, device: str, *, besides: Iterable[str], ahead: bool) -> None:
    """Have each layer of a pipeline brought to the device when it works.

    besides: components that lie there whole. ahead: whether the next layer is brought while one works.
    """
    import torch

    whole = {*besides, *(name for name, part in pipeline.components.items() if not _can_be_brought(part))}
    pipeline.enable_group_offload(
        onload_device=torch.device(device),
        offload_device=torch.device("cpu"),
        offload_type="leaf_level",
        use_stream=ahead,
        non_blocking=ahead,
        # Otherwise the processor waits for the end of each layer before it starts the next one.
        record_stream=ahead,
        # Layers are copied while others work from pinned memory alone: pinned once, or anew for each call.
        low_cpu_mem_usage=ahead and not _can_pin(pipeline, whole),
        exclude_modules=sorted(whole),
    )


def has_streams(device: str) -> bool:
    """Tell whether a device copies while it computes."""
    return device.startswith("cuda")


def is_followed(network: Any) -> bool:
    """Tell whether the next run of a network finds out in which order its layers work.

    The hooks that do remove themselves within that run, and break hooks that were put on after them.
    """
    registry = getattr(network, "_diffusers_hook", None)
    return registry is not None and registry.get_hook("lazy_prefetch_group_offloading") is not None


def give_back() -> None:
    """Return the memory of what was dropped, and what of it was pinned, which PyTorch keeps otherwise."""
    import torch

    devices.give_back()
    if torch.cuda.is_available() and _can_unpin():
        with suppress(torch.AcceleratorError):  # A device that is lost takes nothing back.
            torch.accelerator.empty_host_cache()


def _can_unpin() -> bool:
    import torch

    return hasattr(torch.accelerator, "empty_host_cache")  # older versions have no way


def _can_pin(pipeline: Any, whole: set[str]) -> bool:
    """Tell whether the machine has room for the layers of all components but `whole` in pinned memory, beside them."""
    needed = sum(
        # PyTorch pins blocks of powers of two.
        1 << (tensor.nbytes - 1).bit_length()
        for name, part in pipeline.components.items()
        if name not in whole and hasattr(part, "parameters")
        for tensor in (*part.parameters(), *part.buffers())
        if tensor.nbytes
    )
    return _can_unpin() and needed <= devices.host_free_bytes() - LEAST_RESERVE_BYTES


def _can_be_brought(part: Any) -> bool:
    """Tell whether diffusers brings the layers of a component one by one: it refuses some that decode sounds."""
    return bool(getattr(part, "_supports_group_offloading", True))
