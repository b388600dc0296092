from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from cinelet.observability import logs
from cinelet.observability.redaction import private


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger(logs.ROOT)
    before = (root.handlers[:], root.propagate, root.level)
    yield
    root.handlers[:], root.propagate = before[:2]
    root.setLevel(before[2])


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
