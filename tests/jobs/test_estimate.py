"""How long a video will take follows from what others took: by steps, pixels and frames here, by seconds elsewhere."""

from __future__ import annotations

import random
from typing import Any

import pytest

from cinelet.jobs.estimate import ENOUGH, NOTHING, Estimate, Sample, Wanted, estimated, frames_at

A_STEP, THE_REST = 2e-8, 5e-8
"""Seconds for each pixel of each frame."""


def stored(
    *,
    steps: int | None = None,
    size: tuple[int, int] | None = None,
    duration: float = 2,
    fps: int = 8,
    loading: float = 0.0,
    slower: float = 1.0,
    made_steps: int = 20,
    made_size: tuple[int, int] = (128, 128),
    share: float = 1.0,
    **changes: Any,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a request and a result as the ledger keeps them, of a machine that works exactly in line."""
    width, height = size or made_size
    steps_made = steps or made_steps
    frames = round(duration * fps * share)
    request: dict[str, Any] = {"prompt": "x", "duration": duration, "fps": fps}
    request |= {"num_inference_steps": steps} if steps else {}
    request |= {"width": width, "height": height} if size else {}
    volume = width * height * frames
    result = {
        "cache": "made",
        "resolution": f"{width}x{height}",
        "duration": duration,
        "applied": {
            "width": width,
            "height": height,
            "frames_made": frames,
            "native_fps": 8.0,
            "num_inference_steps": steps_made,
        },
        "timings": {
            "loading": loading,
            "denoising": slower * A_STEP * steps_made * volume,
            "decoding": slower * THE_REST * volume * 0.7,
            "encoding": slower * THE_REST * volume * 0.2,
            "probing": slower * THE_REST * volume * 0.1,
        },
    }
    return request, {**result, **changes}


def sample(**values: Any) -> Sample:
    found = Sample.of(*stored(**values))
    assert found is not None
    return found


def remote(seconds: float, *, video_seconds: float = 5, duration: float = 5) -> Sample:
    request = {"duration": duration}
    result = {
        "cache": "made",
        "resolution": "1024x576",
        "duration": video_seconds,
        "applied": {"num_frames": 81},
        "timings": {"denoising": seconds - 1, "downloading": 1.0},
    }
    found = Sample.of(request, result)
    assert found is not None
    return found


def took(*, steps: int, size: tuple[int, int], frames: int) -> float:
    return size[0] * size[1] * frames * (A_STEP * steps + THE_REST)


def seconds(found: Estimate) -> float:
    assert found.seconds is not None
    return found.seconds


def test_without_a_sample_nothing_is_said():
    assert estimated(Wanted(), []) == NOTHING
    assert NOTHING.seconds is None
    assert NOTHING.samples == 0


@pytest.mark.parametrize(
    ("wanted", "steps", "size", "frames"),
    [
        (Wanted(duration=2), 20, (128, 128), 16),
        (Wanted(duration=2, steps=40), 40, (128, 128), 16),
        (Wanted(duration=6), 20, (128, 128), 48),
        (Wanted(duration=2, size=(256, 512)), 20, (256, 512), 16),
    ],
)
def test_time_grows_with_steps_pixels_and_frames(wanted, steps, size, frames):
    found = estimated(wanted, [sample(), sample(steps=10), sample(size=(64, 64), steps=30)])
    assert seconds(found) == pytest.approx(took(steps=steps, size=size, frames=frames))


def test_what_is_left_to_the_model_is_as_in_the_newest_that_left_it_too():
    samples = [sample(steps=50, size=(256, 256)), sample(made_steps=12, made_size=(96, 64))]
    expected = took(steps=12, size=(96, 64), frames=16)
    assert seconds(estimated(Wanted(duration=2), samples)) == pytest.approx(expected)
    samples = [sample(steps=50, size=(256, 256))]
    expected = took(steps=50, size=(256, 256), frames=16)
    assert seconds(estimated(Wanted(duration=2), samples)) == pytest.approx(expected)


def test_frames_are_counted_at_the_models_own_rate():
    assert frames_at(Wanted(duration=2, fps=8), 8) == 16
    assert frames_at(Wanted(duration=2, fps=24), 8) == 16
    assert frames_at(Wanted(duration=1, fps=1), 24) == 1
    fast = estimated(Wanted(duration=2, fps=60), [sample()])
    assert seconds(fast) == pytest.approx(seconds(estimated(Wanted(duration=2, fps=8), [sample()])), rel=0.1)


def test_a_model_that_makes_more_frames_than_are_needed_does_so_again():
    samples = [sample(duration=1, share=2.0), sample(duration=6)]
    short, long = (estimated(Wanted(duration=duration), samples) for duration in (1, 6))
    assert seconds(short) == pytest.approx(took(steps=20, size=(128, 128), frames=16))
    assert seconds(long) == pytest.approx(took(steps=20, size=(128, 128), frames=48))


def test_one_odd_sample_changes_little():
    samples = [sample() for _ in range(9)]
    odd = sample(slower=50)
    assert seconds(estimated(Wanted(duration=2), [odd, *samples])) == pytest.approx(
        seconds(estimated(Wanted(2), samples))
    )


def test_bounds_hold_what_most_took_and_a_few_samples_promise_little():
    draw = random.Random(3)
    samples = [sample(slower=draw.lognormvariate(0, 0.3)) for _ in range(50)]
    found = estimated(Wanted(duration=2), samples)
    assert found.low is not None
    assert found.high is not None
    assert sum(found.low <= one.work <= found.high for one in samples) in range(38, 43)
    assert found.samples == 50
    alone = estimated(Wanted(duration=2), [sample()])
    assert (alone.low, alone.high) == (pytest.approx(seconds(alone) / 2), pytest.approx(seconds(alone) * 2))


def test_of_videos_of_about_the_size_a_few_tell_more_than_all():
    small = [sample() for _ in range(20)]
    large = [sample(size=(512, 512), slower=3.0) for _ in range(ENOUGH)]
    found = estimated(Wanted(duration=2, size=(512, 512)), [*small, *large])
    assert seconds(found) == pytest.approx(3 * took(steps=20, size=(512, 512), frames=16))
    assert found.samples == ENOUGH
    assert estimated(Wanted(duration=2, size=(512, 512)), [*small, *large[1:]]).samples == 24


def test_loading_is_as_in_the_latest_unless_somebody_knows():
    samples = [sample(loading=0.0), sample(loading=8.0), sample(loading=6.0)]
    work = took(steps=20, size=(128, 128), frames=16)
    assert seconds(estimated(Wanted(duration=2), samples)) == pytest.approx(work)
    assert seconds(estimated(Wanted(duration=2), samples[1:])) == pytest.approx(8 + work)
    assert seconds(estimated(Wanted(duration=2), samples[1:], loaded=True)) == pytest.approx(work)
    assert seconds(estimated(Wanted(duration=2), samples, loaded=False)) == pytest.approx(7 + work)
    unknown = estimated(Wanted(duration=2), samples[:1], loaded=False)
    assert unknown.basis == "1 video of this model here; what it takes to load is not known"


def test_a_provider_is_estimated_by_the_length_of_the_video():
    samples = [remote(50), remote(60), remote(55), remote(110, duration=10, video_seconds=10)]
    found = estimated(Wanted(duration=10), samples)
    assert seconds(found) == pytest.approx(110)
    assert found.basis == "4 videos of this model, by their length"


def test_a_provider_that_knows_one_length_takes_its_time_whatever_is_asked_for():
    samples = [remote(50, duration=2), remote(50, duration=6)]
    assert seconds(estimated(Wanted(duration=2), samples)) == pytest.approx(50)
    assert seconds(estimated(Wanted(duration=6), samples)) == pytest.approx(50)


def test_what_was_made_elsewhere_than_the_newest_says_nothing():
    here = [sample() for _ in range(3)]
    found = estimated(Wanted(duration=2), [*here, remote(500)])
    assert found.samples == 3
    assert estimated(Wanted(duration=5), [remote(50), *here]).samples == 1


@pytest.mark.parametrize(
    "changes", [{"cache": "hit"}, {"cache": "joined"}, {"timings": {}}, {"timings": {"denoising": 0.0}}]
)
def test_what_no_model_made_then_is_no_sample(changes):
    assert Sample.of(*stored(**changes)) is None


def test_a_sample_of_a_plugin_tells_what_it_can():
    request = {"duration": 2}
    result = {"cache": "off", "resolution": "64x48", "duration": 2.0, "timings": {"denoising": 3.0}, "applied": {}}
    found = Sample.of(request, result)
    assert found is not None
    assert (found.here, found.steps, found.pixels, found.work) == (False, 1, 64 * 48, 3.0)
