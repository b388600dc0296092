"""How long a video will take, from what others of the same model took. Pure arithmetic; `jobs/estimator.py` asks it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Self

from cinelet.domain.request import VideoRequest
from cinelet.media.timing import frames_needed

LOADED_SECONDS = 0.2
"""What is had so soon was loaded before."""
ALIKE = 2.0
"""Of videos within this factor of what is wanted, `ENOUGH` tell more than all: effort grows faster than in line."""
ENOUGH = 5
_DURATION = float(VideoRequest.model_fields["duration"].default)
_FPS = int(VideoRequest.model_fields["fps"].default)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an estimate is for. duration: seconds. size: (width, height). None: what the model does by itself."""

    duration: float = _DURATION
    fps: int = _FPS
    steps: int | None = None
    size: tuple[int, int] | None = None

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Self:
        """Return what a request is for, as the ledger keeps it."""
        return cls(
            duration=float(request.get("duration", _DURATION)),
            fps=int(request.get("fps", _FPS)),
            steps=request.get("num_inference_steps"),
            size=(request["width"], request["height"]) if request.get("width") and request.get("height") else None,
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """What one video took: seconds of loading, of denoising, and of the rest.

    wanted: what was asked for. video_seconds: how long it became. pixels: of a frame; frames: that the model made;
    native_fps: of those. here: whether this machine made it, and not a provider.
    """

    wanted: Wanted
    loading: float
    denoising: float
    rest: float
    video_seconds: float
    pixels: int
    frames: int
    steps: int
    native_fps: float
    here: bool

    @classmethod
    def of(cls, request: Mapping[str, Any], result: Mapping[str, Any]) -> Self | None:
        """Return what a completed generation tells, or None where a model did not make its video then."""
        timings, applied = result.get("timings") or {}, result.get("applied") or {}
        if result.get("cache") not in {"made", "off"} or not sum(timings.values()) > 0:
            return None
        wanted = Wanted.of(request)
        width, _, height = str(result["resolution"]).partition("x")
        native_fps = float(applied.get("native_fps") or wanted.fps)
        return cls(
            wanted=wanted,
            loading=float(timings.get("loading", 0)),
            denoising=float(timings.get("denoising", 0)),
            rest=float(sum(timings.values()) - timings.get("loading", 0) - timings.get("denoising", 0)),
            video_seconds=float(result.get("duration") or wanted.duration),
            pixels=int(applied.get("width") or width) * int(applied.get("height") or height),
            frames=int(applied.get("frames_made") or frames_at(wanted, native_fps)),
            steps=int(applied.get("num_inference_steps") or 1),
            native_fps=native_fps,
            here="frames_made" in applied,
        )

    @property
    def volume(self) -> float:
        """Pixels of all frames."""
        return float(self.pixels * self.frames)

    @property
    def work(self) -> float:
        """Seconds without loading."""
        return self.denoising + self.rest

    @property
    def seconds_a_second(self) -> float:
        """Seconds of work for a second of video that was asked for."""
        return self.work / self.wanted.duration


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds that a video will take, from when it begins; within `low` and `high` four times out of five.

    None, and no samples, where nothing is known. basis: what that is made of, in words.
    """

    seconds: float | None
    low: float | None
    high: float | None
    samples: int
    basis: str


NOTHING = Estimate(None, None, None, 0, "no video of this model has been made and timed here yet")


def frames_at(wanted: Wanted, native_fps: float) -> int:
    """Return how many frames a model needs that makes `native_fps` of them a second."""
    return int((frames_needed(wanted.duration, wanted.fps) - 1) * native_fps / wanted.fps) + 1


def estimated(wanted: Wanted, samples: Sequence[Sample], *, loaded: bool | None = None) -> Estimate:
    """Return what a video will take. samples: of its model, the newest first. loaded: None where nobody knows.

    Samples that were made elsewhere than the newest one say nothing.
    """
    alike = [sample for sample in samples if sample.here == samples[0].here]
    if not alike:
        return NOTHING
    if not alike[0].here:
        return _remote(wanted, alike)
    made = _as_made(wanted, alike)
    near = [sample for sample in alike if 1 / ALIKE <= sample.volume / made.volume <= ALIKE]
    used = near if len(near) >= ENOUGH else alike
    a_step = median(sample.denoising / (sample.volume * sample.steps) for sample in used)
    the_rest = median(sample.rest / sample.volume for sample in used)

    def predicted(sample: Sample) -> float:
        return sample.volume * (a_step * sample.steps + the_rest)

    loading, why = _loading(alike, loaded=loaded)
    basis = f"{_videos(len(used))} of this model here{why}"
    return _spread(loading, predicted(made), [(sample.work, predicted(sample)) for sample in used], basis=basis)


def _remote(wanted: Wanted, samples: Sequence[Sample]) -> Estimate:
    """Estimate by the length of the video: of what a provider does, nothing else is known."""
    rate = median(sample.work / sample.video_seconds for sample in samples)
    # As long as it became where somebody asked for about the same: providers have lengths of their own.
    closest = _closest(wanted.duration, [(sample.wanted.duration, sample) for sample in samples])
    seconds = wanted.duration * closest.video_seconds / closest.wanted.duration
    pairs = [(sample.work, rate * sample.video_seconds) for sample in samples]
    return _spread(0.0, rate * seconds, pairs, basis=f"{_videos(len(samples))} of this model, by their length")


def _as_made(wanted: Wanted, samples: Sequence[Sample]) -> Sample:
    """Return what is wanted as if it had been made: what it leaves to the model, as in the newest that left it, too."""
    newest = samples[0]
    steps = next((sample.steps for sample in samples if sample.wanted.steps is None), newest.steps)
    pixels = next((sample.pixels for sample in samples if sample.wanted.size is None), newest.pixels)
    needed = frames_at(wanted, newest.native_fps)
    # Models make so many frames or so many: as many for each that is needed as where about as many were.
    candidates = [(float(frames_at(sample.wanted, sample.native_fps)), sample) for sample in samples]
    closest = _closest(needed, candidates)
    share = closest.frames / frames_at(closest.wanted, closest.native_fps)
    return replace(
        newest,
        wanted=wanted,
        pixels=wanted.size[0] * wanted.size[1] if wanted.size else pixels,
        frames=max(1, round(needed * share)),
        steps=wanted.steps or steps,
    )


def _loading(samples: Sequence[Sample], *, loaded: bool | None) -> tuple[float, str]:
    """Return the seconds to load the model, and what is to be said of them."""
    if loaded is None:
        return samples[0].loading, ""
    if loaded:
        return 0.0, ""
    loads = [sample.loading for sample in samples if sample.loading >= LOADED_SECONDS]
    return (median(loads), "") if loads else (0.0, "; what it takes to load is not known")


def _spread(loading: float, work: float, pairs: Sequence[tuple[float, float]], *, basis: str) -> Estimate:
    """Return an estimate whose bounds are those of measured over predicted. pairs: of each sample, those two."""
    ratios = sorted(measured / predicted for measured, predicted in pairs if predicted > 0)
    # A few that agree do not say that all will.
    doubt = 1 + 1 / len(pairs)
    low, high = (min(_quantile(ratios, 0.1), 1 / doubt), max(_quantile(ratios, 0.9), doubt)) if ratios else (1.0, 1.0)
    return Estimate(loading + work, loading + work * low, loading + work * high, len(pairs), basis)


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _closest(wanted: float, candidates: Sequence[tuple[float, Sample]]) -> Sample:
    return min(candidates, key=lambda candidate: abs(math.log(candidate[0] / wanted)))[1]


def _videos(count: int) -> str:
    return "1 video" if count == 1 else f"{count} videos"
