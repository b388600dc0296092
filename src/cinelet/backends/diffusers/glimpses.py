"""Small pictures of videos while they are made: what the latents would be now, without the autoencoder's work."""

from __future__ import annotations

import functools
import io
import time
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from cinelet.backends.diffusers.latents import middle_frames
from cinelet.backends.diffusers.progress import Observe, ignore
from cinelet.backends.diffusers.projection import Projection, fit_projection
from cinelet.domain.backend import Context
from cinelet.observability.logs import get_logger

SIDE_PIXELS = 160
"""Of the longer side, at most."""
SHARE = 0.03
"""Of the time of the steps that drawing takes, at most; the first picture is always drawn."""
LEAST_SECONDS = 0.3
"""Between two pictures: nobody is told more often."""
QUALITY = 70
_logger = get_logger(__name__)


class Glimpses:
    """Shows the videos of a run to those who would look, and costs nothing where nobody would."""

    def __init__(self) -> None:
        self._projections: WeakKeyDictionary[Any, Projection | None] = WeakKeyDictionary()

    def observer(self, pipeline: Any, contexts: Sequence[Context], *, size: tuple[int, int]) -> Observe:
        """Return what is to be called with the scheduler of a run: it then shows each context its video.

        size: (width, height) of the videos in pixels.
        """
        wanted = any(context.previews for context in contexts)
        projection = self._projection(pipeline) if wanted else None
        if projection is None:
            return ignore
        return functools.partial(_observe, take=_Drawing(projection, pipeline, contexts, size).take)

    def _projection(self, pipeline: Any) -> Projection | None:
        if pipeline not in self._projections:
            began, name = time.monotonic(), type(pipeline).__name__
            try:
                found = fit_projection(pipeline)
            except Exception as error:  # noqa: BLE001  (without pictures the video is as good)
                found, why = None, f"{type(error).__name__}: {error!s:.200}"
            else:
                why = "there is no encoder"
            # Whatever was brought to the device for it goes back before the run.
            pipeline.maybe_free_model_hooks()
            self._projections[pipeline] = found
            if found is None:
                _logger.info("There are no previews of a model", extra={"pipeline": name, "reason": why})
            else:
                seconds = round(time.monotonic() - began, 3)
                _logger.info("Previews of a model are ready", extra={"pipeline": name, "seconds": seconds})
        return self._projections[pipeline]


class _Drawing:
    """Draws the videos of one run, as often as their share of its time allows."""

    def __init__(
        self, projection: Projection, pipeline: Any, contexts: Sequence[Context], size: tuple[int, int]
    ) -> None:
        self._projection = projection
        self._pipeline = pipeline
        self._contexts = contexts
        self._size = size
        self._began: float | None = None
        self._drawn = 0.0
        self._spent = 0.0
        self._most = 0.0
        self._complained = False

    def take(self, scheduler: Any, estimated: Any) -> None:
        """Draw the latents, if it is time to. estimated: what they would be without their noise."""
        now = time.monotonic()
        if self._began is None:
            self._began = now
        elif now - self._drawn < LEAST_SECONDS or self._spent + self._most > SHARE * (now - self._began):
            return
        latents = estimated()
        if latents.device.type == "cuda":
            import torch

            # What the step still computes is no part of the drawing.
            torch.cuda.current_stream(latents.device).synchronize()
            now = time.monotonic()
        try:
            self._draw(latents)
        except Exception as error:  # noqa: BLE001  (without pictures the video is as good)
            # A later step may be another: some begin with fewer pixels.
            if not self._complained:
                self._complained = True
                why = f"{type(error).__name__}: {error!s:.200}"
                _logger.info("A preview failed", extra={"scheduler": type(scheduler).__name__, "reason": why})
        self._drawn = time.monotonic()
        self._most = max(self._most, self._drawn - now)
        self._spent += self._drawn - now

    def _draw(self, latents: Any) -> None:
        frames = middle_frames(
            latents,
            self._projection.space,
            size=self._size,
            count=len(self._contexts),
            pipeline=self._pipeline,
        )
        if not frames:
            raise ValueError(f"latents of shape {tuple(latents.shape)}")
        for frame, context in zip(frames, self._contexts, strict=True):
            if context.previews:
                context.show(_picture(self._projection.colours(frame), self._size))


def _picture(colours: Any, size: tuple[int, int]) -> bytes:
    """Return colours as a WebP file in the shape of the video. size: of that, in pixels."""
    from PIL import Image

    scale = min(1.0, SIDE_PIXELS / max(size))
    shape = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    file = io.BytesIO()
    Image.fromarray(colours).resize(shape, Image.Resampling.BICUBIC).save(file, "WEBP", quality=QUALITY, method=2)
    return file.getvalue()


def _observe(scheduler: Any, *, take: Any) -> None:
    """Call `take` with each step of a scheduler, which is a run's own, and with what gives the latents it leads to."""
    own = type(scheduler)

    @functools.wraps(own.step)  # pipelines read what it takes from its signature
    def step(self: Any, *arguments: Any, **options: Any) -> Any:
        result = own.step(self, *arguments, **options)
        # Copies of it step for the sound.
        if self is scheduler:
            take(self, functools.partial(_estimated, self, result, arguments, options))
        return result

    # Not an attribute of the scheduler: a copy of it would then make the steps of the one that it was copied from.
    scheduler.__class__ = type(own.__name__, (own,), {"step": step, "__module__": own.__module__})


def _estimated(scheduler: Any, result: Any, arguments: Sequence[Any], options: dict[str, Any]) -> Any:
    """Return what the latents would be without noise, or where a scheduler does not tell, what they are."""
    is_tuple = isinstance(result, tuple)
    latents = result[0] if is_tuple else result.prev_sample
    clean = (result[1] if len(result) > 1 else None) if is_tuple else getattr(result, "pred_original_sample", None)
    if getattr(clean, "shape", None) == latents.shape:
        return clean
    named = dict(zip(("model_output", "timestep", "sample"), arguments, strict=False)) | options
    output, sample, index = named.get("model_output"), named.get("sample"), getattr(scheduler, "step_index", None)
    flows = type(scheduler).__name__.startswith("FlowMatch") or _predicts_flow(scheduler)
    if not flows or not index or output is None or sample is None or output.shape != sample.shape:
        return latents
    sigma = scheduler.sigmas[index - 1]
    return sample.float() - sigma.to(sample.device).float() * output.float()


def _predicts_flow(scheduler: Any) -> bool:
    return bool(scheduler.config.get("prediction_type") == "flow_prediction")
