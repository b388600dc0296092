from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cinelet.clock import FakeClock
from cinelet.domain.backend import Context, FrameRule
from cinelet.domain.errors import DeadlineExceededError, GenerationCancelledError
from cinelet.domain.progress import Progress, Stage


@given(
    frames=st.integers(1, 500),
    multiple=st.integers(1, 16),
    offset=st.integers(0, 3),
    minimum=st.integers(1, 50),
)
def test_a_frame_rule_gives_the_smallest_allowed_count_that_is_enough(
    frames: int, multiple: int, offset: int, minimum: int
) -> None:
    count = FrameRule(multiple, offset, minimum).at_least(frames)
    assert (count - offset) % multiple == 0
    assert max(frames, minimum) <= count < max(frames, minimum) + multiple


def test_a_frame_rule_stops_at_its_largest_allowed_count() -> None:
    assert FrameRule(multiple=8, offset=1, maximum=50).at_least(100) == 49


def test_progress_never_goes_back(tmp_path: Path) -> None:
    seen: list[Progress] = []
    context = Context(tmp_path, on_progress=seen.append)
    for fraction in (0.2, 0.1, 0.5, 7.0):
        context.report(Stage.DENOISING, fraction)
    assert [progress.fraction for progress in seen] == [0.2, 0.2, 0.5, 1.0]


def test_a_cancelled_context_says_so(tmp_path: Path) -> None:
    context = Context(tmp_path)
    context.check()
    context.cancel()
    with pytest.raises(GenerationCancelledError):
        context.check()


def test_a_deadline_counts_from_the_start(tmp_path: Path) -> None:
    clock = FakeClock()
    context = Context(tmp_path, deadline_seconds=2.5, monotonic=clock.monotonic)
    clock.advance(2)
    context.check()
    assert context.remaining_seconds() == 0.5
    clock.advance(1)
    assert context.remaining_seconds() == 0.0
    with pytest.raises(DeadlineExceededError, match=r"2\.5 s"):
        context.check()


def test_a_handle_is_kept_before_the_call_returns(tmp_path: Path) -> None:
    kept: list[object] = []

    async def keep(handle: object) -> None:
        kept.append(handle)

    context = Context(tmp_path, on_handle=keep)
    asyncio.run(context.save_handle({"id": "1"}))
    assert kept == [{"id": "1"}]
    assert context.handle == {"id": "1"}


def test_a_part_of_a_context_stops_earlier_and_shares_all_else(tmp_path: Path) -> None:
    clock = FakeClock()
    whole = Context(tmp_path, deadline_seconds=10, monotonic=clock.monotonic)
    part, unbounded = whole.within(3), whole.within(None)
    part.report(Stage.DENOISING, 0.4)
    asyncio.run(part.save_handle({"model": "embedded"}))
    assert whole.latest == part.latest
    assert whole.handle == {"model": "embedded"}
    clock.advance(3)
    with pytest.raises(DeadlineExceededError, match="3 s"):
        part.check()
    whole.check()
    assert unbounded.remaining_seconds() == 7
    assert whole.within(60).remaining_seconds() == 7
    whole.cancel()
    with pytest.raises(GenerationCancelledError):
        unbounded.check()


def test_a_handle_can_be_forgotten(tmp_path: Path) -> None:
    kept: list[object] = []

    async def keep(handle: object) -> None:
        kept.append(handle)

    context = Context(tmp_path, on_handle=keep, handle={"model": "embedded"})
    asyncio.run(context.save_handle(None))
    assert context.handle is None
    assert kept == [None]


def test_a_share_of_the_work_is_told_as_a_part_of_the_whole(tmp_path):
    seen: list[Progress] = []
    whole = Context(tmp_path, on_progress=seen.append, previews=True)
    part = whole.share(0.5, 1.0, note="one").share(0.0, 0.5)
    part.report(Stage.DENOISING, 0.5, step=1, steps=2, note="two")
    assert (seen[0].fraction, seen[0].step, seen[0].steps, seen[0].note) == (0.625, 1, 2, "one, two")
    assert part.previews
    assert part.latest is whole.latest
    whole.cancel()
    with pytest.raises(GenerationCancelledError):
        part.check()
