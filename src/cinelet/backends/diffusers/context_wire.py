"""What the processes that share a network tell each other: tensors and plain values, and nothing that could be code."""

from __future__ import annotations

import io
from multiprocessing.connection import Connection
from typing import Any

READY, FAILED = b"ready", b"failed: "
"""What a rank says: it has room for the weights, or why it ends."""
END = b"end"
"""What a rank is told when it is not needed any more."""


def send(message: Any, *to: Connection) -> None:
    """Send tensors, numbers, texts, and lists and dicts of such; the tensors arrive in the machine's memory."""
    import torch

    buffer = io.BytesIO()
    torch.save(_moved(message, "cpu"), buffer)
    for connection in to:
        connection.send_bytes(buffer.getbuffer())


def receive(source: Connection, *, device: str) -> Any:
    """Return what was sent, with its tensors on a device. Raises `EOFError` when nothing more comes."""
    import torch

    message = source.recv_bytes()
    if message == END:
        raise EOFError
    return _moved(torch.load(io.BytesIO(message), weights_only=True), device)


def _moved(value: Any, device: str) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {name: _moved(part, device) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_moved(part, device) for part in value)
    return value
