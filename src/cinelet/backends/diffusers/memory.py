"""What loaded models take, and what their device has left. For a process that has loaded torch already."""

from __future__ import annotations

from itertools import chain
from typing import Any

from cinelet.domain.condition import Device


def bytes_of(pipeline: Any) -> int:
    """Sum what the tensors of a pipeline's parts take; one that two modules of a part share counts once."""
    import torch

    modules = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    tensors = chain.from_iterable(chain(module.parameters(), module.buffers()) for module in modules)
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


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
