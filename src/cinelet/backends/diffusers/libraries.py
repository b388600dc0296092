"""Imports from diffusers and transformers, which no two threads may make at once.

Their packages and peft's import each other in circles. Python lets two threads that wait for each other in such a
circle go on with modules that are only half there, and one of the imports fails: so did one start of a worker in seven,
where a model was loaded ahead while requests came in.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cinelet.garbage import old_objects_left_alone

_FIRST = ("transformers.modeling_utils", "diffusers.models.modeling_utils", "diffusers.pipelines.pipeline_utils")
"""What everything else of them needs."""
_lock = threading.RLock()


@contextmanager
def importing() -> Iterator[None]:
    """Keep other threads' imports out until the end of the block. An attribute of these packages may be an import."""
    with _lock, old_objects_left_alone():
        for name in _FIRST:
            importlib.import_module(name)
        yield
