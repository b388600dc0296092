from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cinelet.domain.errors import ProcessingError
from cinelet.media.timing import frames_needed, retime

RATES = st.one_of(st.integers(1, 60).map(Fraction), st.sampled_from([Fraction(24000, 1001), Fraction(30000, 1001)]))
DURATIONS = st.integers(10, 300).map(lambda tenths: tenths / 10)


def numbered(count: int) -> np.ndarray:
    """Return frames of one pixel that hold their own number."""
    return np.broadcast_to(np.arange(count)[:, None, None, None], (count, 1, 1, 3)).copy()


def numbers(frames: np.ndarray) -> list[int]:
    return [int(number) for number in frames[:, 0, 0, 0]]


@settings(deadline=None)  # the machine may be busy
@given(made=st.integers(1, 700), native=RATES, fps=RATES, duration=DURATIONS)
def test_a_clip_lasts_as_long_as_asked_and_never_runs_backwards(made, native, fps, duration):
    frames, _ = retime(numbered(made), native_fps=native, fps=fps, duration=duration)
    assert len(frames) == frames_needed(duration, fps)
    assert abs(len(frames) / fps - Fraction(duration)) <= Fraction(1, 2) / fps
    shown = numbers(frames)
    assert shown[0] == 0
    assert shown == sorted(shown)


@settings(deadline=None)  # the machine may be busy
@given(native=RATES, fps=RATES, duration=DURATIONS, more=st.integers(0, 50))
def test_with_enough_frames_each_moment_shows_the_latest_frame_made_by_then(native, fps, duration, more):
    count = frames_needed(duration, fps)
    enough = int(Fraction(count - 1) / fps * native) + 1 + more
    frames, adjustments = retime(numbered(enough), native_fps=native, fps=fps, duration=duration)
    for number, source in enumerate(numbers(frames)):
        assert Fraction(source) / native <= number / fps < Fraction(source + 1) / native
    assert [adjustment.parameter for adjustment in adjustments] == (["fps"] if native != fps else [])


@settings(deadline=None)  # the machine may be busy
@given(native=RATES, fps=RATES, duration=DURATIONS, made=st.integers(1, 700))
def test_a_clip_is_slowed_only_when_its_frames_end_too_early_and_then_says_so(native, fps, duration, made):
    count = frames_needed(duration, fps)
    too_few = Fraction(count - 1) / fps * native >= made
    frames, adjustments = retime(numbered(made), native_fps=native, fps=fps, duration=duration)
    assert ("duration" in [adjustment.parameter for adjustment in adjustments]) == too_few
    if too_few and made <= count:
        assert set(numbers(frames)) == set(range(made))


def test_frames_that_fit_come_back_untouched():
    frames = numbered(16)
    same, adjustments = retime(frames, native_fps=8, fps=8.0, duration=2)
    assert same is frames
    assert adjustments == ()


def test_frames_after_the_end_are_cut_without_a_copy():
    frames = numbered(17)
    cut, adjustments = retime(frames, native_fps=8, fps=8, duration=2)
    assert numbers(cut) == list(range(16))
    assert cut.base is frames
    assert adjustments == ()


def test_a_slower_model_has_its_frames_repeated():
    frames, (adjustment,) = retime(numbered(16), native_fps=8, fps=24, duration=2)
    assert numbers(frames) == [number for number in range(16) for _ in range(3)]
    assert (adjustment.parameter, adjustment.requested, adjustment.applied) == ("fps", 24, 8)
    assert adjustment.reason == "the model makes 8 frames a second; frames were repeated to show 24"


def test_a_faster_model_has_frames_left_out():
    frames, (adjustment,) = retime(numbered(49), native_fps=24, fps=8, duration=2)
    assert numbers(frames) == list(range(0, 48, 3))
    assert "left out" in adjustment.reason


def test_too_few_frames_are_spread_over_the_duration():
    frames, (adjustment,) = retime(numbered(16), native_fps=8, fps=8, duration=4)
    assert numbers(frames) == [number for number in range(16) for _ in range(2)]
    assert (adjustment.parameter, adjustment.requested, adjustment.applied) == ("duration", 4, 2.0)
    assert adjustment.reason == (
        "the model made 16 frames, which last 2 s at its 8 a second; the clip is slowed to 0.5 of its speed to last 4 s"
    )


def test_no_frames_are_an_error():
    with pytest.raises(ProcessingError, match="The model made no frames"):
        retime(numbered(0), native_fps=8, fps=8, duration=1)


@pytest.mark.parametrize(
    ("duration", "fps", "count"), [(2, 8, 16), (1, 1, 1), (0.3, 1, 1), (1.5, 1, 2), (2.5, 1, 3), (1, 29.97, 30)]
)
def test_a_duration_needs_the_nearest_count_of_frames(duration, fps, count):
    assert frames_needed(duration, fps) == count
