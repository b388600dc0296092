"""The backend as its callers see it, on tiny models: what the contract suite does not ask."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cinelet.backends.diffusers import DiffusersBackend, model_cache
from cinelet.backends.diffusers.model_cache import ModelCache
from cinelet.backends.diffusers.precision import Precision
from cinelet.domain.backend import Context, GeneratedVideo
from cinelet.domain.errors import GenerationCancelledError, ModelUnsupportedError, ValidationError
from cinelet.domain.model import ModelReference
from cinelet.domain.progress import Progress, Stage
from cinelet.domain.request import Task, VideoRequest
from cinelet.domain.result import Adjustment
from cinelet.testing import ContractCase, decoded_frames, example_image
from tests.conftest import TinyPipeline

FEW = {"num_inference_steps": 2}
SMALL = {**FEW, "width": 64, "height": 64}


@pytest.fixture
def backend() -> Iterator[DiffusersBackend]:
    backend = DiffusersBackend(device="cpu")
    yield backend
    asyncio.run(backend.aclose())


@pytest.fixture
def carded(tiny_pipeline: TinyPipeline, tmp_path: Path) -> Any:
    """Return a function that gives a copy of a tiny pipeline with a card."""

    def make(name: str, **card: Any) -> Path:
        folder = Path(shutil.copytree(tiny_pipeline(name), tmp_path / name))
        (folder / "cinelet.json").write_text(json.dumps(card))
        return folder

    return make


def generate(
    backend: DiffusersBackend, model: Path, folder: Path, seen: list[Progress] | None = None, **fields: Any
) -> GeneratedVideo:
    folder.mkdir()
    case = ContractCase(f"local:{model}", fields.pop("task", Task.TEXT_TO_VIDEO), SMALL)
    context = Context(folder, on_progress=None if seen is None else seen.append)
    return asyncio.run(backend.generate(case.request(**fields), context))


def changes(video: GeneratedVideo) -> dict[str, Adjustment]:
    return {adjustment.parameter: adjustment for adjustment in video.adjustments}


def test_a_long_clip_of_ltx_is_made_in_runs_that_count_as_one(
    backend: DiffusersBackend, carded: Any, tmp_path: Path
) -> None:
    model = carded("ltx", native_fps=8, max_frames=17, continuation_frames=9)
    seen: list[Progress] = []
    video = generate(backend, model, tmp_path / "video", seen, duration=5)
    frames = decoded_frames(video.path)
    assert len(frames) == 40
    assert video.applied["windows"] == 4
    assert "each going on from the last 9 frames" in changes(video)["duration"].reason
    steps = [progress.step for progress in seen if progress.stage is Stage.DENOISING]
    assert steps == list(range(1, 9))
    again = generate(backend, model, tmp_path / "again", duration=5)
    assert (decoded_frames(again.path) == frames).all()


def test_a_long_clip_of_wan_goes_on_from_its_last_picture(
    backend: DiffusersBackend, carded: Any, tmp_path: Path
) -> None:
    model = carded("wan_ti2v", native_fps=8, max_frames=9)
    video = generate(backend, model, tmp_path / "video", duration=2)
    assert video.applied["windows"] == 2
    assert len(decoded_frames(video.path)) == 16
    assert "from the last frame of the one before" in changes(video)["duration"].reason


def test_a_picture_goes_on_as_a_long_clip_as_well(backend: DiffusersBackend, carded: Any, tmp_path: Path) -> None:
    model = carded("ltx", native_fps=8, max_frames=9, continuation_frames=1)
    video = generate(backend, model, tmp_path / "video", duration=2, task=Task.IMAGE_TO_VIDEO)
    assert video.applied["windows"] == 2


def test_a_model_that_cannot_go_on_is_slowed_and_says_so(
    backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path
) -> None:
    video = generate(backend, tiny_pipeline("latte"), tmp_path / "video", duration=4)
    assert len(decoded_frames(video.path)) == 32
    assert changes(video)["duration"].applied == 0.5
    assert "slowed" in changes(video)["duration"].reason


@pytest.mark.parametrize("name", ["ltx", "text_to_video_sd"])
def test_a_prompt_that_is_too_long_is_cut_and_says_so(
    backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path, name: str
) -> None:
    video = generate(backend, tiny_pipeline(name), tmp_path / "long", prompt="a red circle " * 76)
    assert "the rest is cut off" in changes(video)["prompt"].reason
    video = generate(backend, tiny_pipeline(name), tmp_path / "short", prompt="a circle")
    assert "prompt" not in changes(video)


@pytest.mark.parametrize("prompt", ["🐉🔥", "Ein Löwe, 龍と蛇", "\u202eright to left", "x" * 1000, "\n"])
def test_any_text_is_a_prompt(
    backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path, prompt: str
) -> None:
    assert generate(backend, tiny_pipeline("ltx"), tmp_path / "video", prompt=prompt).path.is_file()


def test_words_outside_of_a_vocabulary_are_reported(backend: DiffusersBackend, carded: Any, tmp_path: Path) -> None:
    model = carded("ltx", vocabulary={"color": ["red"]}, filler_words=["a"])
    video = generate(backend, model, tmp_path / "video", prompt="a red dragon")
    assert changes(video)["prompt"].requested == "dragon"
    assert changes(video)["prompt"].applied == "a red"


def test_an_image_that_cannot_be_used_is_refused_before_the_model_is_looked_for(
    backend: DiffusersBackend, tmp_path: Path
) -> None:
    model = f"local:{tmp_path / 'nowhere'}"
    request = VideoRequest(task=Task.IMAGE_TO_VIDEO, model=model, image=example_image()[:-100], duration=1)
    with pytest.raises(ValidationError, match="damaged or cut off"):
        asyncio.run(backend.generate(request, Context(tmp_path)))


def test_a_pictures_shape_is_kept_where_no_size_is_asked(
    backend: DiffusersBackend, carded: Any, tmp_path: Path
) -> None:
    picture = example_image(width=400, height=100)
    (tmp_path / "video").mkdir()
    model = carded("ltx", native_fps=8, default_size=[64, 64])
    request = VideoRequest(
        task=Task.IMAGE_TO_VIDEO, model=f"local:{model}", image=picture, duration=1, num_inference_steps=2
    )
    video = asyncio.run(backend.generate(request, Context(tmp_path / "video")))
    assert decoded_frames(video.path).shape[1:3] == (32, 128)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("hunyuan_video15", {"guidance_scale": 1}),
        ("svd", {"guidance_scale": 9, "task": Task.IMAGE_TO_VIDEO}),
        ("hunyuan_video", {"negative_prompt": "blurry"}),
        ("wan_t2v", {"negative_prompt": "blurry"}),
    ],
)
def test_a_parameter_that_counts_changes_the_video(
    backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path, name: str, fields: dict[str, Any]
) -> None:
    task = fields.get("task", Task.TEXT_TO_VIDEO)
    model = tiny_pipeline(name)
    plain = generate(backend, model, tmp_path / "plain", task=task, width=32, height=32)
    changed = generate(backend, model, tmp_path / "changed", **{**fields, "width": 32, "height": 32})
    assert (decoded_frames(plain.path) != decoded_frames(changed.path)).any()


@pytest.mark.parametrize("name", ["wan_ti2v", "ltx"])
def test_the_other_task_leaves_shared_weights_in_half_precision_as_they_are(
    backend: DiffusersBackend,
    tiny_pipeline: TinyPipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setattr(model_cache, "precisions", lambda *_: (Precision("bfloat16"),))
    model = tiny_pipeline(name)
    before = decoded_frames(generate(backend, model, tmp_path / "before").path)
    assert backend._session is not None
    (pipeline,) = (loaded.pipeline for loaded in backend._session.models._models.values())
    dtypes = {key: value.dtype for key, value in pipeline.transformer.state_dict().items()}
    assert torch.bfloat16 in dtypes.values()
    generate(backend, model, tmp_path / "image", task=Task.IMAGE_TO_VIDEO)
    assert {key: value.dtype for key, value in pipeline.transformer.state_dict().items()} == dtypes
    after = decoded_frames(generate(backend, model, tmp_path / "after").path)
    assert (before == after).all()


def test_capabilities_need_no_weights(backend: DiffusersBackend, carded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = carded("ltx", license="MIT", description="Small.", default_steps=9, vocabulary={"color": ["red"]})
    for file in model.rglob("*.safetensors"):
        file.unlink()
    monkeypatch.setattr(ModelCache, "lease", lambda *_: pytest.fail("weights are loaded"))
    found = asyncio.run(backend.capabilities(ModelReference.parse(f"local:{model}")))
    assert found.tasks == set(Task)
    assert found.runs_on == "this machine (cpu)"
    assert (found.native_fps, found.default_size, found.default_steps) == (24, (704, 512), 9)
    assert (found.license, found.description, found.vocabulary) == ("MIT", "Small.", {"color": ("red",)})


def test_a_guiders_guidance_is_the_default(backend: DiffusersBackend, tiny_pipeline: TinyPipeline) -> None:
    reference = ModelReference.parse(f"local:{tiny_pipeline('hunyuan_video15')}")
    assert asyncio.run(backend.capabilities(reference)).default_guidance == 6.0


def test_a_named_directory_is_a_scheme_of_its_own(tiny_pipeline: TinyPipeline, tmp_path: Path) -> None:
    backend = DiffusersBackend(directories={"embedded": tiny_pipeline("ltx")}, device="cpu")
    request = ContractCase("embedded", fields=SMALL).request()
    video = asyncio.run(backend.generate(request, Context(tmp_path)))
    asyncio.run(backend.aclose())
    assert video.model == "embedded"


@pytest.mark.parametrize("reference", ["hf:org/name", "https://host.example/path", "other:thing", "embedded"])
def test_a_reference_to_elsewhere_is_refused(backend: DiffusersBackend, reference: str) -> None:
    with pytest.raises(ModelUnsupportedError, match="does not name a model that runs on this machine"):
        asyncio.run(backend.capabilities(ModelReference.parse(reference)))


def test_a_request_that_waits_for_the_device_can_be_cancelled(
    backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path
) -> None:
    waiting, free = Context(tmp_path), threading.Event()
    session = backend._opened_session()
    busy = threading.Thread(target=session._turns.call, args=[lambda: free.wait(30)])
    busy.start()
    threading.Timer(0.2, waiting.cancel).start()
    with pytest.raises(GenerationCancelledError):
        asyncio.run(backend.generate(ContractCase(f"local:{tiny_pipeline('ltx')}", fields=SMALL).request(), waiting))
    assert not free.is_set()
    free.set()
    busy.join(30)


def test_timings_cover_every_stage(backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path) -> None:
    video = generate(backend, tiny_pipeline("ltx"), tmp_path / "video")
    assert set(video.timings) == {"loading", "denoising", "decoding", "encoding"}
    assert all(seconds > 0 for seconds in video.timings.values())


def test_what_the_libraries_take_to_be_there_is_a_part_of_loading(
    backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def slowly_imported() -> Iterator[None]:
        time.sleep(0.5)
        yield

    generate(backend, tiny_pipeline("ltx"), tmp_path / "loaded")
    monkeypatch.setattr("cinelet.backends.diffusers.quiet.quiet_libraries", slowly_imported)
    video = generate(backend, tiny_pipeline("ltx"), tmp_path / "video")
    assert video.timings["loading"] >= 0.5


def test_the_first_picture_of_image_to_video_depends_on_the_image(
    backend: DiffusersBackend, tiny_pipeline: TinyPipeline, tmp_path: Path
) -> None:
    firsts = []
    for name, size in (("one", 64), ("other", 640)):
        image = example_image(width=size, height=64)
        video = generate(
            backend, tiny_pipeline("wan_i2v"), tmp_path / name, task=Task.IMAGE_TO_VIDEO, image=image, image_fit="pad"
        )
        firsts.append(decoded_frames(video.path)[0].astype(int))
    assert np.abs(firsts[0] - firsts[1]).max() > 0
