"""The model inside the package, with the weights that are shipped: it draws what it is told."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cinelet.backends import embedded
from cinelet.backends.diffusers import DiffusersBackend
from cinelet.backends.diffusers.card import read_card
from cinelet.domain.backend import Context, GeneratedVideo
from cinelet.domain.model import ModelReference
from cinelet.domain.request import Task, VideoRequest
from cinelet.testing import decoded_frames

MAX_BYTES = 15_000_000
SIDE = 192
Frames = NDArray[np.float64]


@pytest.fixture(scope="module")
def backend(one_thread: None) -> Iterator[DiffusersBackend]:  # noqa: ARG001
    backend = DiffusersBackend(directories={"embedded": embedded.directory()}, device="cpu")
    yield backend
    asyncio.run(backend.aclose())


def generate(backend: DiffusersBackend, folder: Path, **fields: Any) -> tuple[GeneratedVideo, Frames]:
    folder.mkdir()
    values = {"task": Task.TEXT_TO_VIDEO, "model": "embedded", "duration": 2, "fps": 8, "seed": 7}
    video = asyncio.run(backend.generate(VideoRequest(**{**values, **fields}), Context(folder)))
    return video, decoded_frames(video.path).astype(np.float64)


def redness(frames: Frames) -> Frames:
    """How much redder than green and blue each pixel is: [frames, height, width]."""
    red: Frames = np.clip(frames[..., 0] - np.maximum(frames[..., 1], frames[..., 2]) - 40, 0, None)
    return red


def horizontal_centres(weight: Frames) -> Frames:
    """The centre of what is seen, from 0 (left) to 1 (right), in each frame."""
    columns = weight.sum(axis=1)
    places = np.arange(columns.shape[1]) / columns.shape[1]
    centres: Frames = columns @ places / np.maximum(columns.sum(axis=1), 1e-9)
    return centres


def picture_of_a_red_circle() -> Image.Image:
    image = Image.new("RGB", (4 * SIDE, 4 * SIDE), "black")
    ImageDraw.Draw(image).ellipse((260, 260, 500, 500), fill=(225, 30, 30))
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def test_a_clip_shows_what_the_prompt_says(backend: DiffusersBackend, tmp_path: Path) -> None:
    moved = {}
    for word in ("left", "right"):
        prompt = f"a red circle moving {word} on a black background"
        video, frames = generate(backend, tmp_path / word, prompt=prompt)
        assert frames.shape == (16, SIDE, SIDE, 3)
        assert video.adjustments == ()
        red = redness(frames)
        share = (red > 0).mean(axis=(1, 2))
        assert 0.01 < share.max() < 0.5, "a circle is seen, and a background"
        centres = horizontal_centres(red)[share > 0.005]
        moved[word] = centres[-1] - centres[0]
    assert moved["left"] < -0.1
    assert moved["right"] > 0.1


def test_a_picture_is_the_first_frame_and_then_moves(backend: DiffusersBackend, tmp_path: Path) -> None:
    picture = picture_of_a_red_circle()
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    prompt = "a red circle moving right on a black background"
    task = Task.IMAGE_TO_VIDEO
    _, frames = generate(backend, tmp_path / "video", task=task, prompt=prompt, image=buffer.getvalue(), preset="high")
    error = ((frames[0] - np.asarray(picture)) ** 2).mean()
    assert 10 * np.log10(255**2 / error) >= 25, "decibels"
    centres = horizontal_centres(redness(frames))
    assert centres[-1] - centres[0] > 0.1


def test_a_long_clip_has_no_visible_jump_where_its_runs_are_joined(backend: DiffusersBackend, tmp_path: Path) -> None:
    prompt = "a blue square moving left on a white background"
    video, frames = generate(backend, tmp_path / "video", prompt=prompt, duration=10, preset="high")
    assert len(frames) == 80
    assert video.applied["windows"] == 2
    changes = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    join = slice(39, 50)  # the first run has 49 frames, of which the last 9 are faded
    elsewhere = np.delete(changes, np.arange(80 - 1)[join])
    assert changes[join].max() <= 1.2 * elsewhere.max()


def test_a_clip_at_another_rate_lasts_as_long(backend: DiffusersBackend, tmp_path: Path) -> None:
    video, frames = generate(backend, tmp_path / "video", prompt="a green ball", fps=24, num_inference_steps=2)
    assert len(frames) == 48
    assert [change.parameter for change in video.adjustments] == ["fps"]


def test_a_size_that_it_cannot_make_is_reported(backend: DiffusersBackend, tmp_path: Path) -> None:
    size = {"width": 640, "height": 360}
    video, frames = generate(backend, tmp_path / "video", prompt="a green ball", num_inference_steps=2, **size)
    assert frames.shape[1:3] == (SIDE, SIDE)
    assert [(change.parameter, change.applied) for change in video.adjustments] == [("size", "192x192")]


def test_words_that_it_does_not_know_are_listed(backend: DiffusersBackend, tmp_path: Path) -> None:
    prompt = "A red Circle rising over Paris 🗼, cinematic"
    video, _ = generate(backend, tmp_path / "video", prompt=prompt, num_inference_steps=2)
    (change,) = video.adjustments
    assert (change.parameter, change.requested) == ("prompt", "Paris, 🗼, cinematic")
    assert change.applied == "a red circle rising over"


def test_it_says_what_it_can_draw_and_knows_all_of_that(backend: DiffusersBackend) -> None:
    found = asyncio.run(backend.capabilities(ModelReference.parse("embedded")))
    assert found.tasks == set(Task)
    assert found.license == "Apache-2.0"
    assert (found.native_fps, found.default_size) == (8, (SIDE, SIDE))
    assert {"red", "circle", "left"} <= {word for words in found.vocabulary.values() for word in words}
    assert found.description


def test_what_it_can_do_is_known_without_pytorch(backend: DiffusersBackend) -> None:
    reference = ModelReference.parse("embedded")
    told = asyncio.run(backend.capabilities(reference))
    assert told == backend._introspected(reference)
    if not version("torch").endswith("+cpu"):
        pytest.skip("another build of PyTorch has to be asked which device there is")
    script = """
import asyncio, sys
from cinelet import VideoService

async def ask():
    async with VideoService() as service:
        assert (await service.capabilities("embedded")).examples

asyncio.run(ask())
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_its_examples_are_of_words_that_it_knows(backend: DiffusersBackend) -> None:
    examples = asyncio.run(backend.capabilities(ModelReference.parse("embedded"))).examples
    card = read_card(embedded.directory())
    assert len(set(examples)) == 12
    assert [card.readable(prompt) for prompt in examples] == [(prompt, None) for prompt in examples]


def test_it_is_small_enough_for_the_package() -> None:
    files = [file for file in embedded.directory().rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= MAX_BYTES
    assert {file.suffix for file in files} <= {".json", ".safetensors"}
