"""The commands, and the one place where errors become a line and an exit code."""

from __future__ import annotations

import signal
import sys
import traceback
from types import FrameType
from typing import Annotated, NoReturn

import typer

from cinelet.cli import INTERRUPTED, batch, estimate, generate, probe, serve, settings, stats, worker
from cinelet.cli.late import group_of
from cinelet.domain.errors import CineletError, ValidationError

FAILED = 1
BAD_USAGE = 2
TERMINATED = 143

# Rich would take most of the time that `cinelet --help` has.
app = typer.Typer(name="cinelet", rich_markup_mode=None, pretty_exceptions_enable=False)
app.command("generate")(generate.generate)
app.command("batch")(batch.batch)
app.command("estimate")(estimate.estimate)
app.command("stats")(stats.stats)
app.add_typer(group_of("jobs", "List, watch, cancel and retry generations, and save their videos."), name="jobs")
app.command("worker")(worker.worker)
app.command("serve")(serve.serve)
app.add_typer(group_of("keys", "Create, list and revoke keys of the HTTP service."), name="keys")
app.add_typer(group_of("webhooks", "List and repeat webhooks, and show what signs them."), name="webhooks")
app.command("probe")(probe.probe)
app.add_typer(group_of("models", "List, show, download, load and unload models."), name="models")
app.command("config")(settings.config)
app.add_typer(group_of("database", "Look at the database of jobs, dump it, and restore it."), name="db")


@app.callback()
def root(*, debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    """Make videos from a prompt or an image, with any Hugging Face video model."""
    # Read by `run`, which must know it also where parsing has failed.


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    typer.echo(f"cinelet {installed('cinelet')}")


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A prompt may hold what the terminal's encoding does not.
            stream.reconfigure(errors="backslashreplace")
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        code = int(app(arguments or ["--help"], prog_name="cinelet", standalone_mode=False) or 0)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except SystemExit as error:
        return int(error.code or 0)
    except Exception as error:  # noqa: BLE001  (the top door: every error becomes one line and an exit code)
        return _report(error, arguments)
    finally:
        signal.signal(signal.SIGTERM, before)
    if code == INTERRUPTED:
        typer.echo("interrupted: no file was left unfinished", err=True)
    return code


def _report(error: Exception, arguments: list[str]) -> int:
    if _debugging(arguments):
        from cinelet.observability.redaction import redact

        typer.echo(redact("".join(traceback.format_exception(error))), err=True, nl=False)
    for line in error_lines(error):
        typer.echo(line, err=True)
    if hasattr(error, "format_message"):
        return BAD_USAGE
    return BAD_USAGE if isinstance(error, ValidationError) else FAILED


def error_lines(error: Exception) -> list[str]:
    """Return what a person is told about an error; one line, and one more for each cause of a group."""
    if hasattr(error, "format_message"):
        # The parser's errors: their class is private to typer, this method is not.
        where = getattr(getattr(error, "ctx", None), "command_path", "cinelet")
        return [
            _line(f"{error.format_message().replace('Value error, ', '')}{_given(error)} ({where} --help shows how)")
        ]
    if isinstance(error, ExceptionGroup):
        return [_line(str(error)), *(f"  {_one_line(str(cause))}" for cause in error.exceptions)]
    if isinstance(error, CineletError):
        return [_line(str(error))]
    from cinelet.observability.redaction import redact

    return [_line(f"{type(error).__name__}: {redact(str(error))} (--debug shows where)")]


def _given(error: Exception) -> str:
    """Return the value that the parser refused, where its message does not name it."""
    import pydantic

    cause = error.__cause__
    if not isinstance(cause, pydantic.ValidationError):
        return ""
    value = f"{cause.errors()[0]['input']!r:.60}"
    return "" if value in str(error) else f", not {value}"


def _line(message: str) -> str:
    return f"error: {_one_line(message)}"


def _one_line(message: str) -> str:
    return " ".join(message.split())


def _debugging(arguments: list[str]) -> bool:
    if "--debug" in arguments:
        return True
    from cinelet.config import Config

    try:
        return Config().cinelet_debug
    except ValidationError:
        return False


def _terminated(_signal: int, _frame: FrameType | None) -> NoReturn:
    # Leaves by the same way as Ctrl-C, so that the work stops and temporary files go.
    raise SystemExit(TERMINATED)
