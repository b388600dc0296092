"""What the database hears of a running generation: soon, evenly, and never too much."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cinelet.clock import FakeClock
from cinelet.domain.progress import Progress, Stage
from cinelet.jobs.errors import DatabaseUnavailableError
from cinelet.jobs.reporter import MAX_WRITES, Reporter

Written = list[tuple[float, Progress, float | None]]


class FlowingClock(FakeClock):
    """Time passes only while somebody waits, and reports come meanwhile when they are due."""

    def __init__(self, reports: list[tuple[float, Progress]]) -> None:
        super().__init__()
        self.reports = reports
        self.reporter: Reporter | None = None

    def deliver(self, until: float) -> None:
        while self.reports and self.reports[0][0] <= until:
            at, progress = self.reports.pop(0)
            self.now_seconds = max(self.now_seconds, at)
            assert self.reporter is not None
            self.reporter._taken(progress)

    async def pause_async(self, seconds, *, context=None):  # noqa: ARG002  (the clock's signature)
        end = self.now_seconds + seconds
        self.deliver(end)
        self.now_seconds = end
        await asyncio.sleep(0)


def written(reports: list[tuple[float, Progress]], *, fails: int = 0) -> Written:
    """Return what is written of reports at their times: (time, progress, eta)."""

    async def run() -> Written:
        clock, found, left = FlowingClock(list(reports)), Written(), [fails]

        async def write(progress: Progress, eta_seconds: float | None) -> None:
            if left[0]:
                left[0] -= 1
                raise DatabaseUnavailableError("away")
            found.append((clock.now_seconds, progress, eta_seconds))

        clock.reporter = Reporter(write, clock=clock)
        running = asyncio.create_task(clock.reporter.run())
        while clock.reports:
            clock.deliver(clock.reports[0][0])
            for _ in range(50):
                await asyncio.sleep(0)
        for _ in range(50):
            await asyncio.sleep(0)
        running.cancel()
        return found

    return asyncio.run(run())


def step(number: int, of: int = 100, *, stage: Stage = Stage.DENOISING) -> Progress:
    return Progress(stage, number / of, number, of)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 0.5), st.sampled_from([Stage.LOADING, Stage.DENOISING])), max_size=60))
def test_the_database_takes_four_writes_a_second_at_most_and_always_hears_the_last(gaps):
    now, reports = 0.0, []
    for number, (gap, stage) in enumerate(gaps):
        now += gap
        reports.append((now, step(number, stage=stage)))
    found = written(reports)
    times = [at for at, *_ in found]
    assert all(later - earlier > 1 - 1e-9 for earlier, later in zip(times, times[MAX_WRITES:], strict=False))
    assert not reports or found[-1][1] == reports[-1][1]


def test_steps_are_told_evenly():
    times = [at for at, *_ in written([(n / 10, step(n)) for n in range(40)])]
    assert all(0.3 < later - earlier < 0.5 for earlier, later in pairwise(times[1:]))


def test_a_change_of_stage_is_told_at_once():
    reports = [(n / 10, step(n)) for n in range(10)] + [(1.0, Progress(Stage.DECODING, 0.9))]
    at, progress, _ = written(reports)[-1]
    assert progress.stage is Stage.DECODING
    assert at == pytest.approx(1.0)


def test_the_time_that_is_left_follows_from_the_steps_that_were_measured():
    found = written([(n * 0.5, step(n, 20)) for n in range(1, 11)])
    assert found[0][2] is None, "one step is no measure"
    assert found[-1][2] == pytest.approx(0.5 * 10)


def test_a_guessed_fraction_has_no_end_in_sight():
    guessed = [(n * 0.5, Progress(Stage.DENOISING, n / 20, n, 20, measured=False)) for n in range(1, 6)]
    assert {eta for *_, eta in written(guessed)} == {None}


def test_a_database_that_is_away_costs_a_report_and_not_the_work():
    found = written([(float(n), step(n)) for n in range(5)], fails=2)
    assert [progress.step for _, progress, _ in found] == [2, 3, 4]
