"""Pictures of videos while they are made: what they show, what they cost, and that they change nothing."""

from __future__ import annotations

import asyncio
import copy
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from cinelet.backends import embedded
from cinelet.backends.diffusers import DiffusersBackend, glimpses
from cinelet.backends.diffusers.glimpses import SHARE, Glimpses
from cinelet.backends.diffusers.latents import LatentSpace, middle_frames
from cinelet.backends.diffusers.projection import Projection, fit_projection
from cinelet.backends.diffusers.quiet import quiet_libraries
from cinelet.domain.backend import Context, GeneratedVideo
from cinelet.domain.progress import Progress, Stage
from cinelet.domain.request import Task
from cinelet.testing import ContractCase
from tests.conftest import TinyPipeline
from tests.tiny_pipelines import ARCHITECTURES, TASKS

SHOW_NOTHING = frozenset({"allegro", "cosmos3", "hunyuan_video15_i2v", "skyreels_v2_df"})
"""Their encoder takes no single picture, or their steps are not made of all frames at once."""
FEW = {"num_inference_steps": 3, "width": 64, "height": 64}


@pytest.fixture
def backend() -> Iterator[DiffusersBackend]:
    backend = DiffusersBackend(directories={"embedded": embedded.directory()}, device="cpu")
    yield backend
    asyncio.run(backend.aclose())


def generate(
    backend: DiffusersBackend, model: str, folder: Path, *, previews: bool, **fields: Any
) -> tuple[GeneratedVideo, list[Progress]]:
    folder.mkdir()
    seen: list[Progress] = []
    request = ContractCase(model, fields.pop("task", Task.TEXT_TO_VIDEO), FEW).request(**fields)
    context = Context(folder, on_progress=seen.append, previews=previews)
    return asyncio.run(backend.generate(request, context)), seen


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_family_shows_something_and_makes_the_same_video(
    backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path, name: str
) -> None:
    model, task = f"local:{tiny_pipeline(name)}", TASKS[name][-1]
    plain, unseen = generate(backend, model, tmp_path / "plain", previews=False, task=task)
    shown, seen = generate(backend, model, tmp_path / "shown", previews=True, task=task)
    assert not [progress for progress in unseen if progress.preview]
    pictures = [progress for progress in seen if progress.preview]
    assert shown.path.read_bytes() == plain.path.read_bytes()
    if name in SHOW_NOTHING:
        return
    assert pictures[0].stage is Stage.DENOISING
    with Image.open(io.BytesIO(pictures[0].preview or b"")) as image:
        assert image.format == "WEBP"
        assert 64 <= max(image.size) <= 160


def test_the_picture_is_of_what_the_video_shows(backend: DiffusersBackend, tmp_path: Path) -> None:
    prompt = "a large red circle on a white background"
    given = {"prompt": prompt, "width": 256, "height": 256, "num_inference_steps": 20}
    _, seen = generate(backend, "embedded", tmp_path / "video", previews=True, **given)
    pictures = [progress.preview for progress in seen if progress.preview]
    with Image.open(io.BytesIO(pictures[-1])) as image:
        assert image.size == (160, 160)
        pixels = np.asarray(image.convert("RGB")).astype(int)
    red = (pixels[..., 0] > 120) & (pixels[..., 1] < 110) & (pixels[..., 2] < 130)
    white = pixels.min(axis=-1) > 220
    assert 0.02 < red.mean() < 0.7
    assert white.mean() > 0.3
    assert max(map(len, pictures)) < 8000


def test_the_matrix_is_fitted_once(
    backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[Any] = []

    def counting(pipeline: Any) -> Projection | None:
        fitted.append(pipeline)
        return fit_projection(pipeline)

    monkeypatch.setattr(glimpses, "fit_projection", counting)
    model = f"local:{tiny_pipeline('wan_t2v')}"
    generate(backend, model, tmp_path / "nobody", previews=False)
    assert not fitted
    for name in ("one", "two"):
        generate(backend, model, tmp_path / name, previews=True)
    assert len(fitted) == 1


class Steps:
    """A pipeline that makes steps of latents, and what shows them."""

    def __init__(self, folder: Path, *, previews: bool = True) -> None:
        space = LatentSpace(3, 8, torch.zeros(3), torch.ones(3))
        self.scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
        self.scheduler.set_timesteps(4)
        self.glimpses = Glimpses()
        self.glimpses._projections[self] = Projection(space, torch.cat([torch.eye(3), torch.zeros(1, 3)]))
        self.seen: list[Progress] = []
        self.contexts = [Context(folder, previews=previews, on_progress=self.seen.append)]

    def run(self, latents: torch.Tensor, *, size: tuple[int, int] = (64, 32)) -> torch.Tensor:
        self.glimpses.observer(self, self.contexts, size=size)(self.scheduler)
        for timestep in self.scheduler.timesteps:
            (latents,) = self.scheduler.step(latents * 0.1, timestep, latents, return_dict=False)
            for context in self.contexts:
                context.report(Stage.DENOISING, 0.5)
        return latents


def test_drawing_keeps_to_its_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glimpses, "LEAST_SECONDS", 0.0)
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    steps = Steps(tmp_path)
    drawn: list[float] = []

    def slowly(*_: object) -> bytes:
        clock[0] += 0.5  # as long as half a step
        drawn.append(clock[0])
        return b"picture"

    monkeypatch.setattr(glimpses, "_picture", slowly)
    steps.glimpses.observer(steps, steps.contexts, size=(64, 32))(steps.scheduler)
    latents = torch.zeros(1, 3, 1, 4, 8)
    for _ in range(100):
        steps.scheduler._step_index = None
        clock[0] += 1.0
        steps.scheduler.step(latents, steps.scheduler.timesteps[0], latents)
    assert len(drawn) * 0.5 <= SHARE * clock[0] + 0.5  # the first was free
    assert len(drawn) >= 5
    assert drawn[0] < 2


def test_copies_of_a_scheduler_step_for_themselves(tmp_path: Path) -> None:
    """As LTX-2 has one for its sound."""
    steps, latents = Steps(tmp_path), torch.rand(1, 3, 1, 4, 8)
    timesteps = steps.scheduler.timesteps
    steps.glimpses.observer(steps, steps.contexts, size=(64, 32))(steps.scheduler)
    other, sound = copy.deepcopy(steps.scheduler), latents.clone()
    for timestep in timesteps:
        (latents,) = steps.scheduler.step(latents * 0.1, timestep, latents, return_dict=False)
        (sound,) = other.step(sound * 0.1, timestep, sound, return_dict=False)
    assert torch.equal(latents, sound)
    assert (steps.scheduler.step_index, other.step_index) == (4, 4)


def test_several_videos_of_a_run_are_shown_to_those_who_would_look(tmp_path: Path) -> None:
    steps = Steps(tmp_path)
    seen: list[list[Progress]] = [[], [], []]
    steps.contexts = [
        Context(tmp_path, previews=previews, on_progress=each.append)
        for previews, each in zip((True, False, True), seen, strict=True)
    ]
    latents = torch.stack([torch.full((3, 1, 4, 8), value) for value in (0.2, 0.5, 0.8)])
    steps.run(latents)
    shown = [[progress.preview for progress in each if progress.preview] for each in seen]
    assert [bool(pictures) for pictures in shown] == [True, False, True]
    with Image.open(io.BytesIO(shown[0][0] or b"")) as image:
        assert abs(image.convert("RGB").getpixel((30, 15))[0] - 51) < 20  # type: ignore[index]


@pytest.mark.parametrize(
    ("size", "shape"),
    [((1280, 720), (160, 90)), ((64, 32), (64, 32)), ((720, 1280), (90, 160)), ((4096, 16), (160, 1))],
)
def test_a_picture_has_the_shape_of_the_video_and_is_never_larger(
    size: tuple[int, int], shape: tuple[int, int]
) -> None:
    with Image.open(io.BytesIO(glimpses._picture(np.zeros((4, 8, 3), np.uint8), size))) as image:
        assert image.size == shape


ORDERS = {
    "channels, frames": (1, 3, 5, 4, 8),
    "frames, channels": (1, 5, 3, 4, 8),
    "channels last": (1, 5, 4, 8, 3),
    "as many frames as channels": (1, 3, 3, 4, 8),
    "frames as pictures": (5, 3, 4, 8),
    "tokens": (1, 5 * 4 * 8, 3),
}


@pytest.mark.parametrize("order", ORDERS)
def test_the_middle_frame_is_found_in_every_order(order: str) -> None:
    space = LatentSpace(3, 8, torch.zeros(3), torch.ones(3))
    (frame,) = middle_frames(torch.rand(ORDERS[order]), space, size=(64, 32), count=1, pipeline=None)
    assert frame.shape == (4, 8, 3)


def test_tokens_of_patches_become_what_they_were_made_of() -> None:
    pipeline = diffusers.LTXPipeline
    latents = torch.rand(2, 3, 5, 4, 8)
    tokens = pipeline._pack_latents(latents, patch_size=2, patch_size_t=1)

    class Patched:
        transformer_spatial_patch_size, transformer_temporal_patch_size = 2, 1

    space = LatentSpace(3, 8, torch.zeros(3), torch.ones(3))
    frames = middle_frames(tokens, space, size=(64, 32), count=2, pipeline=Patched())
    assert torch.equal(torch.stack(frames), latents[:, :, 2].permute(0, 2, 3, 1))


@pytest.mark.parametrize("shape", [(1, 7, 5, 4, 8), (1, 3, 5, 40, 80), (1, 31, 3), (2, 3, 5, 4, 8), (3,)])
def test_what_is_in_no_known_order_is_not_shown(shape: tuple[int, ...], tmp_path: Path) -> None:
    space = LatentSpace(3, 8, torch.zeros(3), torch.ones(3))
    assert middle_frames(torch.rand(shape), space, size=(64, 32), count=1, pipeline=None) == []
    if len(shape) == 5:
        steps = Steps(tmp_path)
        assert steps.run(torch.rand(shape)).shape == shape
        assert not [progress for progress in steps.seen if progress.preview]


def test_a_model_that_cannot_encode_shows_nothing_and_makes_its_video(
    backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no encoder")

    monkeypatch.setattr(diffusers.AutoencoderKLWan, "encode", broken)
    model = f"local:{tiny_pipeline('wan_t2v')}"
    video, seen = generate(backend, model, tmp_path / "video", previews=True)
    assert video.path.is_file()
    assert not [progress for progress in seen if progress.preview]


def test_what_the_embedded_models_encoder_saw_is_found_again() -> None:
    with quiet_libraries():
        pipeline = diffusers.DiffusionPipeline.from_pretrained(embedded.directory())
    before = torch.get_rng_state()
    projection = fit_projection(pipeline)
    assert projection is not None
    assert torch.equal(torch.get_rng_state(), before)
    colour = torch.tensor([0.9, 0.1, 0.2])
    picture = (colour.view(1, 3, 1, 1, 1) * 2 - 1).expand(1, 3, 1, 128, 128)
    with torch.inference_mode():
        latents = pipeline.vae.encode(picture).latent_dist.mode()[0, :, 0].permute(1, 2, 0)
    seen = projection.colours(projection.space.normalised(latents)) / 255
    assert np.abs(seen.mean(axis=(0, 1)) - colour.numpy()).max() < 0.15
