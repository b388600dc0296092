"""Logs: one event a line, without secrets and without prompts."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal, TextIO

from cinelet.observability.redaction import redact, redact_value

LogFormat = Literal["auto", "json", "human"]

ROOT = "cinelet"
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "redacted"}
_SHORT = {"trace_id": ("trace", 8), "request": ("request", 8), "generation": ("generation", 12)}
"""How the ids are called that a person reads, and how much of them he needs to tell one from another."""

_bound: ContextVar[Mapping[str, Any]] = ContextVar("bound_facts", default=MappingProxyType({}))


class _Redaction(logging.Filter):
    """Redacts a record where it is made, so that no handler, ours or the program's, ever sees more."""

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "redacted", False):
            return True
        for name, value in here().items():
            if not hasattr(record, name):
                setattr(record, name, value)
        record.msg, record.args = redact(record.getMessage()), None
        for name in set(vars(record)) - _STANDARD_FIELDS:
            setattr(record, name, redact_value(getattr(record, name), key=name))
        if record.exc_info and record.exc_info[1] is not None:
            # Formatters print `exc_text` when it is there; the live exception would be printed unredacted.
            record.exc_text = redact("".join(traceback.format_exception(record.exc_info[1])).rstrip())
            record.exc_info = None
        record.redacted = True
        return True


_REDACTION = _Redaction()
# A program that has set up no logs gets the errors; Python would print their lines as well, bare, on stderr.
logging.getLogger(ROOT).addHandler(logging.NullHandler())


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module, below `cinelet`; what it logs is redacted before any handler sees it."""
    logger = logging.getLogger(name if name == ROOT or name.startswith(f"{ROOT}.") else f"{ROOT}.{name}")
    if _REDACTION not in logger.filters:
        logger.addFilter(_REDACTION)
    return logger


@contextmanager
def bound(**facts: Any) -> Iterator[None]:
    """Add facts to every line that is logged inside, also by tasks and threads that inherit the context."""
    token = _bound.set({**_bound.get(), **facts})
    try:
        yield
    finally:
        _bound.reset(token)


def here() -> Mapping[str, Any]:
    """Return the facts that are bound here, and the `trace_id` where a trace is open."""
    # Whoever opens one has loaded it; to load it for those who never do would cost more than the rest of this file.
    tracing = sys.modules.get("cinelet.observability.tracing")
    trace_id = None if tracing is None else tracing.trace_id()
    return _bound.get() if trace_id is None else {**_bound.get(), "trace_id": trace_id}


def configure(
    *,
    level: str = "WARNING",
    log_format: LogFormat = "auto",
    stream: TextIO | None = None,
    process: str | None = None,
) -> None:
    """Send cinelet's logs to `stream` (stderr if None) and nowhere else; called by programs, never by the library.

    What other libraries warn of goes the same way, unless not even our warnings are wanted. log_format: "json" for one
    object a line, "human" for a person, "auto" for "human" on a terminal. process: which command this is.
    """
    target = sys.stderr if stream is None else stream
    human = log_format == "human" or (log_format == "auto" and target.isatty())
    handler = _Handler(target)
    handler.setFormatter(HumanFormatter(process=process) if human else JsonFormatter(process=process))
    handler.addFilter(_REDACTION)
    logger = logging.getLogger(ROOT)
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level.upper())
    others = logging.getLogger()
    others.handlers[:] = [one for one in others.handlers if not isinstance(one, _Handler)]
    if logger.isEnabledFor(logging.ERROR):
        theirs = _Handler(target)
        theirs.setLevel(max(logging.WARNING, logger.level))
        theirs.setFormatter(handler.formatter)
        theirs.addFilter(_REDACTION)
        others.addHandler(theirs)


class _Handler(logging.StreamHandler[TextIO]):
    """One of ours, which another `configure` replaces."""


class JsonFormatter(logging.Formatter):
    """Writes one JSON object a line: time (UTC), level, logger, message, the extras, and error if there is one.

    process: the command, which is written with the id of the process; None for neither.
    """

    def __init__(self, *, process: str | None = None) -> None:
        super().__init__()
        self._process = {} if process is None else {"process": process, "pid": os.getpid()}

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._process,
            **_extras(record),
        }
        if record.exc_text:
            line["error"] = record.exc_text
        return json.dumps(line, ensure_ascii=False, default=str)


class HumanFormatter(logging.Formatter):
    """Writes the time, the level, the message and the extras; an exception follows on lines of its own.

    Ids are cut to what tells them apart, and stand last. process: the command; None to leave it out.
    """

    def __init__(self, *, process: str | None = None) -> None:
        super().__init__()
        self._process = "" if process is None else f"{process:<6} "

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        clock = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        extras = _extras(record)
        ids = {short: str(extras.pop(name))[:length] for name, (short, length) in _SHORT.items() if name in extras}
        told = "".join(f" {name}={value}" for name, value in (extras | ids).items())
        event = f"{record.getMessage()}{told}".replace("\n", "\\n")
        line = f"{clock} {record.levelname.lower():<7} {self._process}{record.name}: {event}"
        return f"{line}\n{record.exc_text}" if record.exc_text else line


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS}
