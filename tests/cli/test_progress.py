from __future__ import annotations

import io

import pytest

from cinelet.cli import progress
from cinelet.domain.progress import Progress, Stage


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_a_bar_with_stage_step_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    with progress.shown(quiet=False, stream=stream) as listener:
        for step in range(1, 5):
            listener(Progress(Stage.DENOISING, step / 5, step, 20))
    shown = stream.getvalue()
    assert "denoising" in shown
    assert "4/20 steps" in shown
    assert "80%" in shown


def test_details_give_the_rate_of_the_stage() -> None:
    denoising = Progress(Stage.DENOISING, 0.5, 10, 20)
    assert progress.details(denoising, seconds_in_stage=2.0, steps_in_stage=9) == "10/20 steps 4.5 steps/s"
    downloading = Progress(Stage.DOWNLOADING, 0.1, 30_000_000, 900_000_000, note="vae")
    shown = progress.details(downloading, seconds_in_stage=2.0, steps_in_stage=20_000_000)
    assert shown == "30/900 MB 10.0 MB/s vae"
    assert progress.details(Progress(Stage.LOADING, 0, note="vae"), seconds_in_stage=1, steps_in_stage=0) == "vae"


def test_lines_come_with_each_stage_and_each_tenth_only() -> None:
    stream = io.StringIO()
    with progress.shown(quiet=False, stream=stream) as listener:
        listener(Progress(Stage.LOADING, 0.0))
        for step in range(1, 101):
            listener(Progress(Stage.DENOISING, step * 0.005, step, 100))
        listener(Progress(Stage.ENCODING, 1.0))
    assert stream.getvalue().splitlines() == [
        "  0% loading",
        "  0% denoising 1/100",
        " 10% denoising 20/100",
        " 20% denoising 40/100",
        " 30% denoising 60/100",
        " 40% denoising 80/100",
        " 50% denoising 100/100",
        "100% encoding",
    ]


def test_quiet_shows_nothing() -> None:
    stream = Terminal()
    with progress.shown(quiet=True, stream=stream) as listener:
        listener(Progress(Stage.LOADING, 0.5))
    assert stream.getvalue() == ""
