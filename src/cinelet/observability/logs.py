"""Logs: one event a line, without secrets and without prompts."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from cinelet.observability.redaction import redact, redact_value

LogFormat = Literal["auto", "json", "human"]

ROOT = "cinelet"
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "redacted"}


class _Redaction(logging.Filter):
    """Redacts a record where it is made, so that no handler, ours or the program's, ever sees more."""

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "redacted", False):
            return True
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


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module, below `cinelet`; what it logs is redacted before any handler sees it."""
    logger = logging.getLogger(name if name == ROOT or name.startswith(f"{ROOT}.") else f"{ROOT}.{name}")
    if _REDACTION not in logger.filters:
        logger.addFilter(_REDACTION)
    return logger


def configure(*, level: str = "WARNING", log_format: LogFormat = "auto", stream: TextIO | None = None) -> None:
    """Send cinelet's logs to `stream` (stderr if None) and nowhere else; called by programs, never by the library.

    log_format: "json" for one object a line, "human" for a person, "auto" for "human" on a terminal.
    """
    target = sys.stderr if stream is None else stream
    human = log_format == "human" or (log_format == "auto" and target.isatty())
    handler = logging.StreamHandler(target)
    handler.setFormatter(HumanFormatter() if human else JsonFormatter())
    handler.addFilter(_REDACTION)
    logger = logging.getLogger(ROOT)
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level.upper())


class JsonFormatter(logging.Formatter):
    """Writes one JSON object a line: time (UTC), level, logger, message, the extras, and error if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if record.exc_text:
            line["error"] = record.exc_text
        return json.dumps(line, ensure_ascii=False, default=str)


class HumanFormatter(logging.Formatter):
    """Writes the time, the level, the message and the extras; an exception follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        clock = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        extras = "".join(f" {name}={value}" for name, value in _extras(record).items())
        event = f"{record.getMessage()}{extras}".replace("\n", "\\n")
        line = f"{clock} {record.levelname.lower():<7} {record.name}: {event}"
        return f"{line}\n{record.exc_text}" if record.exc_text else line


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS}
