"""A finished video: the file, what was measured from it, and what became of the request."""

from __future__ import annotations

import base64
import html
import os
import secrets
import shlex
import shutil
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from cinelet.domain.errors import ValidationError
from cinelet.domain.money import DEFAULT_CURRENCY
from cinelet.domain.request import Task, VideoRequest
from cinelet.domain.result import Adjustment, Attempt, VideoFacts

CacheUse = Literal["hit", "joined", "made", "off"]
"""hit: it came from the cache. joined: somebody else's equal request made it. made: a model made it. off: not asked."""

MAX_EMBEDDED_BYTES = 32 * 1024 * 1024
"""A notebook holds the video inside itself, once as text; beyond this it would stop to open."""


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class VideoResult:
    """A video and everything known about it.

    path: the file; it lives until `close`, or until nobody holds the result, so `save` what is to stay.
    model: what made it; requested_model: what was asked for. asked: the request (its image as a size), applied: what
    the model was given, adjustments: the differences. timings: seconds by stage; generation_time: seconds in all, both
    of its making, also where it comes from the cache. cost: in `currency` by the table of prices, 0 where it was not
    made for this request, None where nobody knows; what failed attempts have cost is said of each. previews: the
    pictures of `domain/preview.py` by their names, where the service draws them and this video was made now.
    """

    path: Path
    request: VideoRequest = field(repr=False)
    facts: VideoFacts
    model: str
    requested_model: str
    seed: int | None
    applied: Mapping[str, Any]
    adjustments: tuple[Adjustment, ...]
    attempts: tuple[Attempt, ...]
    timings: Mapping[str, float]
    generation_time: float
    cache: CacheUse = "off"
    cost: float | None = None
    currency: str = DEFAULT_CURRENCY
    previews: Mapping[str, bytes] | None = field(default=None, repr=False)
    owned_folder: Path | None = field(default=None, repr=False)
    """Removed together with the result."""
    _remove_folder: weakref.finalize[..., Any] | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        if self.owned_folder is not None:
            finalizer = weakref.finalize(self, shutil.rmtree, self.owned_folder, ignore_errors=True)
            object.__setattr__(self, "_remove_folder", finalizer)

    def close(self) -> None:
        """Remove the file now, if the result owns it; saved copies stay."""
        if self._remove_folder is not None:
            self._remove_folder()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def asked(self) -> dict[str, Any]:
        """The request as it was made: JSON values, without what was left to the model."""
        values = self.request.model_dump(mode="json", exclude={"image"}, exclude_none=True)
        return values if self.request.image is None else {**values, "image_size": len(self.request.image)}

    def read_bytes(self) -> bytes:
        """Return the file's content."""
        return self.path.read_bytes()

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Copy the file to `path` in one step and return where it is: either all of it is there, or nothing.

        A folder is given the file's own name, and a name without a suffix gets one. Raises `ValidationError` where
        something exists and `overwrite` is False, where the suffix promises another kind of file, or after `close`.
        """
        if not self.path.is_file():
            message = "The video is gone, as its result was closed; save it before that"
            raise ValidationError(message, {"path": "Is gone"})
        target = Path(path)
        try:
            target = target.expanduser()
            if target.is_dir():
                target /= self.path.name
            elif not target.suffix:
                target = target.with_name(target.name + self.path.suffix)
            check_suffix(target, self.path.suffix)
            _copy_in_one_step(self.path, target, overwrite=overwrite)
        except FileExistsError as error:
            message = f"{target} exists already; choose another name, or give overwrite=True"
            raise ValidationError(message, {"output": "Exists already"}) from error
        except (OSError, RuntimeError, ValueError) as error:
            why = (isinstance(error, OSError) and error.strerror) or str(error).rstrip(".")
            message = f"{str(target)[:200]} cannot be written: {why}"
            raise ValidationError(message, {"output": "Cannot be written"}) from error
        return target

    def command(self, *, image: str = "IMAGE", output: str | None = None) -> str:
        """Return the shell command that makes this video again. image: the file name to put for the picture."""
        request = self.request
        words = ["cinelet", "generate"]
        if request.prompt:
            # After "--" a prompt may begin with a dash.
            words += ["--", request.prompt] if request.prompt.startswith("-") else [request.prompt]
        options: dict[str, Any] = {
            "--image": image if request.task is Task.IMAGE_TO_VIDEO else None,
            "--model": self.requested_model,
            "--negative-prompt": request.negative_prompt,
            "--duration": f"{request.duration:g}",
            "--fps": request.fps,
            "--steps": request.num_inference_steps,
            "--guidance": request.guidance_scale,
            "--size": f"{request.width}x{request.height}" if request.width else None,
            "--preset": request.preset,
            "--codec": request.codec if request.codec != "h264" else None,
            "--quality": request.quality,
            "--upscaler": request.upscaler,
            "--image-fit": request.image_fit if request.task is Task.IMAGE_TO_VIDEO else None,
            "--seed": self.seed,
            "--cache": request.cache if request.cache != "use" else None,
            "--prefer": request.prefer,
            "--max-cost": request.max_cost,
            "--max-seconds": request.max_seconds,
            "--output": output,
        }
        given = [word for name, value in options.items() if value is not None for word in (name, str(value))]
        given += [word for lora in request.lora for word in ("--lora", str(lora))]
        given += [] if request.fallback else ["--no-fallback"]
        return shlex.join([*words[:2], *given, *words[2:]])

    def to_dict(self) -> dict[str, Any]:
        """Return all that is known as JSON values; measured facts under the specification's names."""
        facts = self.facts
        return {
            "path": str(self.path),
            "video_size": facts.size,
            "duration": facts.duration,
            "fps": int(facts.fps) if facts.fps.denominator == 1 else float(facts.fps),
            "resolution": facts.resolution,
            "frames": facts.frames,
            "codec": facts.codec,
            "container": facts.container,
            "has_audio": facts.has_audio,
            "sha256": facts.sha256,
            "model": self.model,
            "requested_model": self.requested_model,
            "seed": self.seed,
            "asked": self.asked,
            "applied": dict(self.applied),
            "adjustments": [adjustment.to_dict() for adjustment in self.adjustments],
            "attempts": [attempt.to_dict() for attempt in self.attempts],
            "timings": {stage: round(seconds, 3) for stage, seconds in self.timings.items()},
            "generation_time": round(self.generation_time, 3),
            "cache": self.cache,
            "cost": self.cost,
            "currency": self.currency,
        }

    def summary(self) -> str:
        """Return the facts in one line, such as "128x128, 2 s at 8 fps, h264, 14 kB"."""
        facts = self.facts
        size = f"{facts.size / 1000:.1f} kB" if facts.size < 1_000_000 else f"{facts.size / 1_000_000:.1f} MB"
        return f"{facts.resolution}, {facts.duration:g} s at {float(facts.fps):g} fps, {facts.codec}, {size}"

    def _repr_html_(self) -> str:
        caption = html.escape(f"{self.request.prompt or ''} ({self.model}, seed {self.seed}; {self.summary()})")
        changes = "".join(
            f"<li>{html.escape(f'{change.parameter}: {change.reason}')}</li>" for change in self.adjustments
        )
        return f"<figure>{self._player()}<figcaption>{caption}<ul>{changes}</ul></figcaption></figure>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Show a player in a notebook, and a line of text where there is none."""
        return {"text/html": self._repr_html_(), "text/plain": f"<VideoResult {self.summary()}>"}

    def _player(self) -> str:
        if not self.path.is_file():
            return "<p>The file is gone: the result was closed. Save it before that.</p>"
        if self.facts.size > MAX_EMBEDDED_BYTES:
            return "<p>Too large to show inside the page; save it and open the file.</p>"
        content = base64.b64encode(self.read_bytes()).decode("ascii")
        kind = "video/webm" if self.path.suffix == ".webm" else "video/mp4"
        width = max(self.facts.width, 256)
        return f'<video controls loop muted autoplay width="{width}" src="data:{kind};base64,{content}"></video>'


def check_suffix(path: Path, suffix: str) -> None:
    """Raise `ValidationError` where the name promises another kind of file than `suffix` (".mp4")."""
    if path.suffix.lower() != suffix:
        better = path.with_suffix(suffix).name
        message = f"{path.name} cannot hold this video, which is stored as {suffix}; name it {better}"
        raise ValidationError(message, {"output": f"The suffix must be {suffix}"})


def _copy_in_one_step(source: Path, target: Path, *, overwrite: bool) -> None:
    """Copy under a temporary name beside the target, then give it the name; only whole files are ever seen."""
    if not overwrite and target.exists():
        raise FileExistsError(target)
    temporary = target.with_name(f".{target.stem[:40]}-{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as copy, source.open("rb") as original:
            shutil.copyfileobj(original, copy, 1024 * 1024)
            copy.flush()
            os.fsync(copy.fileno())
        if overwrite:
            temporary.replace(target)
        else:
            _take_free_name(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _take_free_name(temporary: Path, target: Path) -> None:
    """Name the file without replacing one that appeared meanwhile."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:
        # This file system has no hard links. The name is taken first, so a file of somebody else is still safe.
        target.touch(exist_ok=False)
        temporary.replace(target)
