"""`cinelet generate`: prompts to video files."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cinelet.cli import progress
from cinelet.cli.choice import MaxCost, MaxSeconds, Prefer
from cinelet.cli.output import batch_targets, free_target, is_taken, single_target
from cinelet.cli.report import Report
from cinelet.domain.errors import CineletError, ValidationError

if TYPE_CHECKING:
    from cinelet.config import Config
    from cinelet.domain.request import Task
    from cinelet.domain.video import VideoResult

BATCH_FOLDER = Path("videos")


def generate(
    prompt: Annotated[str | None, typer.Argument(help="What the video shows.", show_default=False)] = None,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write, or a folder; by default named after the prompt."),
    ] = None,
    image: Annotated[Path | None, typer.Option(help="Begin with this PNG, JPEG or WebP image.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Model, such as hf:org/name:provider.")] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What to avoid.")] = None,
    duration: Annotated[float, typer.Option("--duration", "-d", help="Seconds.")] = 6,
    fps: Annotated[int, typer.Option(help="Frames a second, 1-60.")] = 8,
    steps: Annotated[int | None, typer.Option(help="Denoising steps, 1-100; by default the model's own.")] = None,
    seed: Annotated[int | None, typer.Option(help="Repeat a video with its seed; by default a new one.")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels; by default the model's own.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How closely to follow the prompt.")] = None,
    preset: Annotated[Literal["low", "medium", "high"] | None, typer.Option(help="Quality of the encoding.")] = None,
    codec: Annotated[
        Literal["h264", "av1", "vp9"], typer.Option(help="h264 and av1 give .mp4, vp9 gives .webm.")
    ] = "h264",
    quality: Annotated[
        Literal["fast", "balanced", "exact"] | None,
        typer.Option(help="What a local model may give up for speed; exact gives up nothing."),
    ] = None,
    lora: Annotated[
        list[str] | None, typer.Option(help="Apply a LoRA to a local model: org/name, ./file.safetensors, PATH=SCALE.")
    ] = None,
    upscaler: Annotated[str | None, typer.Option(help="Local model that makes it anew at twice its size.")] = None,
    image_fit: Annotated[Literal["crop", "pad"], typer.Option(help="How the image is fitted.")] = "crop",
    fallback: Annotated[
        bool, typer.Option("--fallback/--no-fallback", help="Let another model do it where a remote one fails.")
    ] = True,
    cache: Annotated[
        Literal["use", "refresh", "off"],
        typer.Option(help="A --seed that was made before: use that video, make it anew, or keep none."),
    ] = "use",
    prefer: Prefer = None,
    max_cost: MaxCost = None,
    max_seconds: MaxSeconds = None,
    deadline: Annotated[float | None, typer.Option(help="Give up after this many seconds.")] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Make one video a line of this file (- for stdin, # for comments).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace existing files.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    open_it: Annotated[bool, typer.Option("--open", help="Open the video when it is done.")] = False,
    debug: Annotated[  # noqa: ARG001  (read by the top door, so that it counts wherever it stands)
        bool, typer.Option("--debug", help="Show the traceback of an error.", hidden=True)
    ] = False,
) -> int:
    """Make a video from a prompt, from an image, or from both."""
    from cinelet.config import Config
    from cinelet.domain.lora import parse_lora
    from cinelet.domain.request import Task
    from cinelet.door import generate as make_video
    from cinelet.door import read_image
    from cinelet.media.encode import container_suffix
    from cinelet.observability import exporting, logs

    config = Config()
    # Every error is told once, at the end; logs repeat it for those who ask for them.
    logs.configure(
        level=config.cinelet_log_level or "CRITICAL", log_format=config.cinelet_log_format, process="generate"
    )
    report = Report(as_json=as_json, quiet=quiet, image=image)
    try:
        if prompts is not None and prompt is not None:
            raise ValidationError("Give a prompt or --prompts, not both", {"prompt": "Given twice"})
        if prompt is None and prompts is None and image is None:
            raise ValidationError('Say what to show: cinelet generate "a red circle"', {"prompt": "Missing"})
        texts = [prompt] if prompts is None else _lines(prompts)
        width, height = size_of(size)
        values: dict[str, Any] = {
            "image": None if image is None else read_image(image),
            "model": model,
            "negative_prompt": negative_prompt,
            "duration": duration,
            "fps": fps,
            "num_inference_steps": steps,
            "guidance_scale": guidance,
            "seed": seed,
            "width": width,
            "height": height,
            "image_fit": image_fit,
            "preset": preset,
            "codec": codec,
            "quality": quality,
            "lora": [parse_lora(text) for text in lora or ()],
            "upscaler": upscaler,
            "fallback": fallback,
            "cache": cache,
            "prefer": prefer,
            "max_cost": max_cost,
            "max_seconds": max_seconds,
            "deadline_seconds": deadline,
        }
        names = [text or (image.stem if image else "") for text in texts]
        suffix = container_suffix(codec)
        if prompts is None:
            targets = [single_target(output, prompt=names[0], suffix=suffix, force=force, has_codec=True)]
        else:
            targets = batch_targets(output or BATCH_FOLDER, prompts=names, suffix=suffix, force=force)
        named = prompts is not None or (output is not None and not output.expanduser().is_dir())
        if model is None:
            report.note(_which_model(config, Task.TEXT_TO_VIDEO if image is None else Task.IMAGE_TO_VIDEO))
        with exporting.exported(**config.tracing, process="generate"):
            for text, target in zip(texts, targets, strict=True):
                # A file that is here now was agreed to be replaced; one that appears meanwhile was not.
                replace = is_taken(target)
                try:
                    with progress.shown(quiet=quiet) as listener:
                        result = make_video(text, **values, on_progress=listener)
                    with result:
                        saved = _saved(result, target, replace=replace, named=named, prompt=names[0])
                        report.add(result, saved)
                except CineletError as error:
                    if prompts is None:
                        raise
                    report.add_failure(error, name=target.stem)
                    continue
                if open_it:
                    typer.launch(str(saved))
    except CineletError as error:
        report.fail(error)
        raise
    report.end(batch=prompts is not None)
    return 1 if report.failures else 0


def _saved(result: VideoResult, target: Path, *, replace: bool, named: bool, prompt: str) -> Path:
    """Save a video. A name that nobody asked for (named) and that was taken meanwhile is not worth losing it."""
    while True:
        try:
            return result.save(target, overwrite=replace)
        except ValidationError:
            if named or not is_taken(target):
                raise
            target = free_target(target.parent, prompt=prompt, suffix=target.suffix)


def _lines(file: Path) -> list[str | None]:
    """Return the prompts of a file: one a line, without empty lines and comments."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else (error.strerror or str(error))
        raise ValidationError(
            f"The prompts {name_of(file)} cannot be read: {why}", {"prompts": "Cannot be read"}
        ) from error
    lines: list[str | None] = [
        line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    if not lines:
        raise ValidationError(f"{name_of(file)} holds no prompt; write one a line", {"prompts": "Empty"})
    return lines


def name_of(file: Path) -> str:
    """Return what an error calls a file that may be `-`."""
    return "standard input" if str(file) == "-" else str(file)


def size_of(text: str | None) -> tuple[int | None, int | None]:
    """Return width and height of a text such as "768x512"."""
    if text is None:
        return None, None
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    if match is None:
        raise ValidationError(f"The size {text!r} is not WIDTHxHEIGHT; write 768x512", {"size": "Must be WIDTHxHEIGHT"})
    return int(match[1]), int(match[2])


def _which_model(config: Config, task: Task) -> str:
    """Return the line for a run whose model nobody chose; empty where the configuration did."""
    variable = f"default_{task.replace('-', '_')}_model"
    if variable in config.model_fields_set:
        return ""
    model = config.default_models[task]
    what = f"{model}, the small model inside the package" if model == "embedded" else model
    return f"Using {what}; another one: --model org/name or {variable.upper()} (cinelet models list)"
