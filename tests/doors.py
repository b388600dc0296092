"""The synchronous door of the process, with a fake backend behind it for the time of a test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cinelet import assembly, door
from cinelet.backends.registry import BackendRegistry
from cinelet.testing import FakeBackend


@contextmanager
def door_with(backend: FakeBackend) -> Iterator[FakeBackend]:
    """Serve `cinelet.generate` with a backend, in an event loop that ends with the test."""
    opened = door._SynchronousDoor()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(door, "_DOOR", opened)
        factories = dict.fromkeys(("fake", "embedded", "hub", "local"), lambda: backend)
        patch.setattr(assembly, "make_registry", lambda _config: BackendRegistry(factories, plugins=dict))
        yield backend
    if opened._loop is not None:
        opened._loop.call_soon_threadsafe(opened._loop.stop)
        while opened._loop.is_running():
            threading.Event().wait(0.01)
        opened._loop.run_until_complete(opened._loop.shutdown_default_executor())
        opened._loop.close()
