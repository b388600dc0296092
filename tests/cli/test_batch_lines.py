"""The lines of a batch's file."""

from __future__ import annotations

import json
from pathlib import Path

from cinelet.cli.batch_run import read_lines


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
