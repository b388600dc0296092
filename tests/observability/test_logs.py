from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
from typing import Any

import pytest

from cinelet.observability import logs, tracing
from cinelet.observability.redaction import private


@pytest.fixture
def stream() -> io.StringIO:
    stream = io.StringIO()
    logs.configure(level="debug", log_format="json", stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_object_on_one_line(stream: io.StringIO) -> None:
    logs.get_logger("cinelet.service").info("It\nhappened to %s", "one", extra={"model": "embedded", "seconds": 1.5})
    (line,) = lines(stream)
    assert line["time"].endswith("+00:00")
    assert {name: line[name] for name in ("level", "logger", "message", "model", "seconds")} == {
        "level": "info",
        "logger": "cinelet.service",
        "message": "It\nhappened to one",
        "model": "embedded",
        "seconds": 1.5,
    }


def test_an_exceptions_text_and_traceback_are_redacted(stream: io.StringIO) -> None:
    def draw() -> None:
        raise RuntimeError("cannot draw my secret garden with hf_abcdefghij")

    logger = logs.get_logger("cinelet.x")
    with private("my secret garden"):
        try:
            draw()
        except RuntimeError:
            logger.exception("Failed for %s", "my secret garden")
    (line,) = lines(stream)
    assert "RuntimeError" in line["error"]
    assert "Traceback" in line["error"]
    assert "garden" not in json.dumps(line)
    assert "hf_abcdefghij" not in json.dumps(line)


def test_extras_are_redacted_by_name_and_by_content(stream: io.StringIO) -> None:
    logs.get_logger("cinelet.x").info(
        "m",
        extra={
            "prompt": "a cat",
            "hf_token": "abc",
            "headers": {"Authorization": "Bearer abcdefghijk", "Accept": "video/mp4"},
            "address": "https://u:p4ssword@host.example/x?X-Amz-Signature=abcdef&page=2",
            "image": b"\x89PNG",
            "tokens": 12,
        },
    )
    (line,) = lines(stream)
    assert line["prompt"] == "<prompt: 5 characters>"
    assert line["hf_token"] == "***"
    assert line["headers"] == {"Authorization": "***", "Accept": "video/mp4"}
    assert line["address"] == "https://***@host.example/x?X-Amz-Signature=***&page=2"
    assert line["image"] == "<4 bytes>"
    assert line["tokens"] == 12


def test_a_programs_own_handler_sees_no_secret_either(caplog: pytest.LogCaptureFixture) -> None:
    logs.get_logger("cinelet.x").error("token hf_abcdefghij", extra={"api_key": "k"})
    assert "hf_abcdefghij" not in caplog.text
    assert caplog.records[0].__dict__["api_key"] == "***"


def test_the_human_form_is_one_line_with_the_extras() -> None:
    stream = io.StringIO()
    logs.configure(level="INFO", log_format="human", stream=stream)
    logs.get_logger("cinelet.x").info("It\nhappened", extra={"model": "embedded"})
    logs.get_logger("cinelet.x").debug("unheard")
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().endswith("info    cinelet.x: It\\nhappened model=embedded\n")


def test_off_a_terminal_the_form_is_json() -> None:
    stream = io.StringIO()
    logs.configure(level="INFO", stream=stream)
    logs.get_logger("other").info("x")
    assert lines(stream)[0]["logger"] == "cinelet.other"


def test_what_is_bound_is_in_every_line_inside_also_of_tasks_and_threads(stream: io.StringIO) -> None:
    logger = logs.get_logger("cinelet.x")

    async def work() -> None:
        logger.info("task")
        await asyncio.to_thread(logger.info, "thread")

    with logs.bound(generation="gen_a"), logs.bound(request="r1"):
        asyncio.run(work())
        logger.info("own", extra={"generation": "gen_b"})
    logger.info("outside")
    found = {line["message"]: (line.get("generation"), line.get("request")) for line in lines(stream)}
    assert found == {
        "task": ("gen_a", "r1"),
        "thread": ("gen_a", "r1"),
        "own": ("gen_b", "r1"),
        "outside": (None, None),
    }


def test_a_line_names_its_trace_and_its_process() -> None:
    stream = io.StringIO()
    logs.configure(level="INFO", log_format="json", stream=stream, process="worker")
    with tracing.span("a"):
        logs.get_logger("cinelet.x").info("inside")
        trace = tracing.trace_id()
    (line,) = lines(stream)
    assert (line["trace_id"], line["process"], line["pid"]) == (trace, "worker", os.getpid())


def test_the_human_form_cuts_ids_to_what_tells_them_apart() -> None:
    stream = io.StringIO()
    logs.configure(level="INFO", log_format="human", stream=stream, process="serve")
    facts = {"request": "0123456789abcdef", "generation": "gen_abcdefghijklmnopqrstuvwxyz", "status": 200}
    with tracing.span("a", parent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"):
        logs.get_logger("cinelet.x").info("Answered", extra=facts)
    expected = "serve  cinelet.x: Answered status=200 trace=4bf92f35 request=01234567 generation=gen_abcdefgh"
    assert stream.getvalue().rstrip().partition("info    ")[2] == expected


def test_what_other_libraries_warn_of_goes_the_same_way_and_is_redacted(stream: io.StringIO) -> None:
    theirs = logging.getLogger("somebody.else")  # uvicorn's may have been silenced by another test's server
    try:
        raise RuntimeError("a protocol error for hf_abcdefghij")
    except RuntimeError:
        theirs.exception("Exception in ASGI application for %s", "Bearer abcdefghijk")
    theirs.info("unheard")
    (line,) = lines(stream)
    assert (line["logger"], line["level"]) == ("somebody.else", "error")
    assert "Traceback" in line["error"]
    assert "abcdefghij" not in json.dumps(line)


def test_who_wants_no_warnings_of_ours_gets_none_of_others() -> None:
    stream = io.StringIO()
    logs.configure(level="CRITICAL", log_format="json", stream=stream)
    logging.getLogger("some.library").warning("x")
    assert stream.getvalue() == ""


def test_another_configuration_replaces_the_first(stream: io.StringIO) -> None:
    other = io.StringIO()
    logs.configure(level="INFO", log_format="json", stream=other)
    logging.getLogger("some.library").warning("x")
    assert (len(lines(other)), len(lines(stream))) == (1, 0)


def test_a_program_without_logs_of_its_own_is_told_of_an_error_by_the_error_alone() -> None:
    program = (
        "import cinelet\n"
        "try:\n    cinelet.generate('a red circle', model='nobody:serves')\n"
        "except cinelet.ModelUnsupportedError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert "nobody" in done.stdout
    assert done.stderr == ""
