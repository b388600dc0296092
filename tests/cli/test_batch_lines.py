"""The lines of a batch's file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cinelet.cli.batch_run import Batch, Line, View, read_lines


def test_only_line_ends_part_lines(tmp_path: Path) -> None:
    prompts = ["one\u2028still one", "two\x85still two", "three"]
    lines = [json.dumps({"prompt": prompt}, ensure_ascii=False) for prompt in prompts]
    (tmp_path / "prompts.jsonl").write_bytes(f"{lines[0]}\r\n\n{lines[1]}\n{lines[2]}".encode())
    found = list(read_lines(tmp_path / "prompts.jsonl", folder=tmp_path))
    assert [(line.number, line.error, line.request and line.request.prompt) for line in found] == [
        (1, "", prompts[0]),
        (3, "", prompts[1]),
        (4, "", prompts[2]),
    ]


def test_a_line_that_is_nested_too_deep_stops_no_other(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text("[" * 100_000 + '\n{"prompt": "one"}\n')
    deep, good = read_lines(tmp_path / "prompts.jsonl", folder=tmp_path)
    assert deep.error.startswith("it is no JSON")
    assert good.request is not None


def test_a_mark_of_the_byte_order_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_bytes(b'\xef\xbb\xbf{"prompt": "one"}\n')
    (line,) = read_lines(tmp_path / "prompts.jsonl", folder=tmp_path)
    assert line.request is not None
    assert line.request.prompt == "one"


def test_the_end_says_where_it_leaves_out_failed_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for failed, end in ((20, "19, 20); in"), (21, "19, 20, ...); in")):
        lines = [Line(number, None, "", error="it is no JSON") for number in range(1, failed + 1)]
        View(Batch(tmp_path, lines), quiet=False).end(interrupted=False, as_json=False)
        assert end in capsys.readouterr().out


@pytest.mark.parametrize("image", ["a\0b", "~no-such-user/a.png", "n" * 300, "\ud800"])
def test_an_image_that_no_file_can_be_stops_no_other(tmp_path: Path, image: str) -> None:
    lines = [{"prompt": "one", "image": image}, {"prompt": "two"}]
    (tmp_path / "prompts.jsonl").write_text("\n".join(map(json.dumps, lines)))
    bad, good = read_lines(tmp_path / "prompts.jsonl", folder=tmp_path)
    assert "cannot be read" in bad.error
    assert good.request is not None
