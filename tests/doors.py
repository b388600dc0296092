"""The synchronous door of the process, with a fake backend behind it for the time of a test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cinelet import assembly
from cinelet.backends.registry import BackendRegistry
from cinelet.testing import FakeBackend


@contextmanager
def door_with(backend: FakeBackend) -> Iterator[FakeBackend]:
    """Serve `cinelet.generate` with a backend, in an event loop that ends with the test."""
    door = assembly._SynchronousDoor()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assembly, "_DOOR", door)
        factories = dict.fromkeys(("fake", "embedded", "hub", "local"), lambda: backend)
        patch.setattr(assembly, "make_registry", lambda _config: BackendRegistry(factories, plugins=dict))
        yield backend
    if door._loop is not None:
        door._loop.call_soon_threadsafe(door._loop.stop)
        while door._loop.is_running():
            threading.Event().wait(0.01)
        door._loop.run_until_complete(door._loop.shutdown_default_executor())
        door._loop.close()
