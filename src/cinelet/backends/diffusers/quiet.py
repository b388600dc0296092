"""Keeps what the libraries say about themselves off the user's terminal: it is no word about the user's video."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from cinelet.backends.diffusers.patience import limit_spinning
from cinelet.garbage import old_objects_left_alone

_TALKATIVE = ("torchao", "torch.utils._pytree")
"""Loggers that tell what of torchao this machine cannot have, and what of it is old, when it is imported."""


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence the warnings, logs and progress bars of torch, diffusers and transformers, and restore them afterwards.

    The settings are the process's own: the first thread to enter silences, the last one to leave restores.
    """
    _SILENCE.enter()
    try:
        yield
    finally:
        _SILENCE.leave()


class _Silence:
    """Counts who wants it quiet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._settings = ExitStack()

    def enter(self) -> None:
        with self._lock:
            if not self._holders:
                self._settings.enter_context(_silent())
            self._holders += 1

    def leave(self) -> None:
        with self._lock:
            self._holders -= 1
            if not self._holders:
                self._settings.close()


@contextmanager
def _silent() -> Iterator[None]:
    # Before anything of PyTorch is there.
    limit_spinning()
    with old_objects_left_alone():
        from diffusers.utils import logging as of_diffusers
        from huggingface_hub.utils import logging as of_the_hub
        from transformers.utils import logging as of_transformers

    libraries = (of_diffusers, of_transformers, of_the_hub)
    levels = [library.get_verbosity() for library in libraries]
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    logger_levels = [logger.level for logger in loggers]
    with_bars = [library for library in (of_diffusers, of_transformers) if library.is_progress_bar_enabled()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)
            for library in libraries:
                library.set_verbosity(library.CRITICAL)
            for library in with_bars:
                library.disable_progress_bar()
            yield
        finally:
            for logger, level in zip(loggers, logger_levels, strict=True):
                logger.setLevel(level)
            for library, level in zip(libraries, levels, strict=True):
                library.set_verbosity(level)
            for library in with_bars:
                library.enable_progress_bar()


_SILENCE = _Silence()
