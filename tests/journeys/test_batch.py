"""A batch is killed again and again, and goes on where it was."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from cinelet.media.probe import probe

PLUGIN = """
import os
from pathlib import Path
from cinelet.testing import FakeBackend

class Counting(FakeBackend):
    async def generate(self, request, context):
        video = await super().generate(request, context)
        with Path(os.environ["COUNTED"]).open("a") as file:
            file.write(request.prompt + "\\n")
        return video

def make():
    return Counting(steps=6, step_seconds=0.05)
"""
LINES = 12


@pytest.fixture
def environment(tmp_path: Path, copy_data) -> dict[str, str]:
    site = tmp_path / "site"
    package = site / "counting_videos-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: counting-videos\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[cinelet.backends]\ncounting = counting_videos:make\n")
    (site / "counting_videos.py").write_text(PLUGIN)
    return {
        **os.environ,
        "PYTHONPATH": str(site),
        "CINELET_DATA_DIR": str(copy_data(tmp_path / "data")),
        "COUNTED": str(tmp_path / "counted"),
    }


def test_a_batch_that_is_killed_goes_on_where_it_was(tmp_path: Path, environment: dict[str, str], processes_of) -> None:
    file, out, chance = tmp_path / "prompts.jsonl", tmp_path / "out", random.Random(7)
    lines = [{"prompt": f"gull {n}", "model": "counting:x", "duration": 1} for n in range(LINES)]
    file.write_text("\n".join(map(json.dumps, lines)))
    command = [sys.executable, "-m", "cinelet", "batch", str(file), "--out", str(out), "--json"]
    for _ in range(3):
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as batch:
            began, made = time.monotonic(), len(list(out.glob("*.mp4")))
            while len(list(out.glob("*.mp4"))) < made + 1 and time.monotonic() - began < 60:
                time.sleep(0.05)
            time.sleep(chance.uniform(0, 0.5))
            batch.send_signal(signal.SIGKILL)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["made"] == LINES
    assert len(list(out.glob("*.mp4"))) == LINES
    assert all(probe(path).frames for path in out.iterdir())
    counted = Counter((tmp_path / "counted").read_text().split("\n")[:-1])
    assert len(counted) == LINES
    assert sum(counted.values()) <= LINES + 3, "only what a kill interrupted is made again"
    assert processes_of(Path(environment["CINELET_DATA_DIR"]) / "database" / "postgres") == []


def test_a_batch_that_is_interrupted_says_how_to_go_on(tmp_path: Path, environment: dict[str, str]) -> None:
    file, out = tmp_path / "prompts.jsonl", tmp_path / "out"
    file.write_text("\n".join(json.dumps({"prompt": f"gull {n}", "model": "counting:x"}) for n in range(40)))
    command = [sys.executable, "-m", "cinelet", "batch", str(file), "--out", str(out)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as batch:
        while not list(out.glob("*.mp4")):
            assert batch.poll() is None
            time.sleep(0.05)
        batch.send_signal(signal.SIGINT)
        said, _ = batch.communicate(timeout=60)
    assert batch.returncode == 130
    assert "left: the same command goes on" in said
