"""Progress and cancel, by the bars on which pipelines count."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from cinelet.backends.diffusers.progress import DENOISED, LOADED, StepReporter
from cinelet.domain.backend import Context
from cinelet.domain.errors import GenerationCancelledError
from cinelet.domain.progress import Progress, Stage


class Watched:
    """A reporter, and what it reported."""

    def __init__(self, folder: Path, *, runs: int = 1) -> None:
        self.seen: list[Progress] = []
        self.context = Context(folder, on_progress=self.seen.append)
        self.reporter = StepReporter(self.context, runs=runs)
        self.reporter.begin_run(0)

    def steps(self, count: int) -> None:
        """Count one bar from its beginning to its end."""
        with self.reporter.bar(total=count) as bar:
            for _ in range(count):
                bar.update()

    @property
    def fractions(self) -> list[float]:
        return [progress.fraction for progress in self.seen if progress.stage is Stage.DENOISING]


def test_a_bar_counts_from_loaded_to_denoised(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.steps(4)
    assert [(progress.step, progress.steps) for progress in watched.seen[:-1]] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert watched.fractions == pytest.approx([LOADED + (DENOISED - LOADED) * step / 4 for step in (1, 2, 3, 4)])
    assert watched.seen[-1].stage is Stage.DECODING


def test_a_bar_around_an_iterable_counts_its_items(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    assert list(watched.reporter.bar(iter("abc"))) == ["a", "b", "c"]
    assert [progress.step for progress in watched.seen[:-1]] == [1, 2, 3]


def test_a_pipeline_that_works_in_chunks_goes_on_counting_and_never_back(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    for _ in range(3):
        watched.steps(2)
    assert watched.fractions == sorted(watched.fractions)
    assert watched.fractions[-1] == pytest.approx(DENOISED)
    later = [progress for progress in watched.seen if progress.stage is Stage.DENOISING][2:]
    assert not any(progress.measured for progress in later), "nobody knows how many chunks there are"


def test_what_the_device_has_yet_to_do_of_the_steps_is_no_decoding(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.reporter.settle = lambda: time.sleep(0.2)
    watched.steps(2)
    assert watched.reporter.denoising_seconds >= 0.2


def test_several_runs_share_the_whole(tmp_path: Path) -> None:
    watched = Watched(tmp_path, runs=2)
    watched.steps(2)
    watched.reporter.end_run()
    assert watched.fractions[-1] == pytest.approx(LOADED + (DENOISED - LOADED) / 2)
    watched.reporter.begin_run(1)
    watched.steps(2)
    last = [progress for progress in watched.seen if progress.stage is Stage.DENOISING][-1]
    assert (last.step, last.steps, last.note) == (4, 4, "run 2 of 2")
    assert last.fraction == pytest.approx(DENOISED)
    assert [progress.stage for progress in watched.seen].count(Stage.DECODING) == 1


def test_a_cancel_is_heard_at_the_next_step(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    with watched.reporter.bar(total=5) as bar:
        bar.update()
        watched.context.cancel()
        with pytest.raises(GenerationCancelledError):
            bar.update()
    assert watched.fractions == [watched.fractions[0]]


def test_a_cancel_is_heard_when_a_bar_is_opened_and_between_runs(tmp_path: Path) -> None:
    watched = Watched(tmp_path, runs=2)
    watched.context.cancel()
    with pytest.raises(GenerationCancelledError), watched.reporter.bar(total=5):
        raise AssertionError("no step may be made")
    with pytest.raises(GenerationCancelledError):
        watched.reporter.end_run()
    with pytest.raises(GenerationCancelledError):
        watched.reporter.begin_run(1)


def test_more_updates_than_steps_do_not_pass_the_end(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    bar = watched.reporter.bar(total=2)
    for _ in range(4):
        bar.update()
    assert all(progress.step <= progress.steps for progress in watched.seen)


def test_a_bar_takes_what_tqdm_takes(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    bar = watched.reporter.bar(total=1)
    bar.set_description("denoising")
    bar.set_postfix(loss=1)
    bar.set_postfix_str("text")
    assert watched.seen == [], "texts of a bar are no progress"
