from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cinelet
from cinelet import assembly
from cinelet.config import Config
from cinelet.domain.errors import (
    AuthenticationError,
    DeadlineExceededError,
    GenerationCancelledError,
    ModelNotFoundError,
    ModelUnsupportedError,
    ProcessingError,
    ValidationError,
)
from cinelet.domain.model import ModelReference
from cinelet.domain.progress import Progress, Stage
from cinelet.testing import FakeBackend, decoded_frames, example_image
from tests.doors import door_with


@pytest.fixture
def backend() -> Iterator[FakeBackend]:
    with door_with(FakeBackend()) as fake:
        yield fake


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.mark.usefixtures("backend")
def test_one_line_makes_and_saves_a_video(tmp_path: Path, temporary: Path) -> None:
    saved = cinelet.generate("a red circle", model="fake:x", duration=1).save(tmp_path / "out.mp4")
    assert decoded_frames(saved).shape == (8, 48, 64, 3)
    gc.collect()
    assert list(temporary.iterdir()) == []


@pytest.mark.usefixtures("backend")
def test_the_result_holds_its_file_while_it_is_held(temporary: Path) -> None:
    result = cinelet.generate("a red circle", model="fake:x", duration=1)
    gc.collect()
    assert result.read_bytes()
    result.close()
    assert list(temporary.iterdir()) == []


@pytest.mark.usefixtures("backend")
def test_it_works_inside_a_running_event_loop() -> None:
    async def cell() -> str:
        return cinelet.generate("a red circle", model="fake:x", duration=1).facts.codec

    assert asyncio.run(cell()) == "h264"


@pytest.mark.usefixtures("backend")
def test_threads_may_call_it_at_the_same_time() -> None:
    made: dict[int, int | None] = {}

    def work(seed: int) -> None:
        made[seed] = cinelet.generate("a", model="fake:x", duration=1, seed=seed).seed

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == {0: 0, 1: 1, 2: 2}


@pytest.mark.parametrize("kind", ["bytes", "path", "text"])
def test_an_image_may_be_bytes_or_a_file(backend: FakeBackend, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(example_image())
    image: Any = {"bytes": example_image(), "path": path, "text": str(path)}[kind]
    cinelet.generate(image=image, model="fake:x", duration=1).close()
    assert backend.requests[0].image == example_image()
    assert backend.requests[0].prompt is None


@pytest.mark.usefixtures("backend")
def test_a_missing_image_is_named() -> None:
    with pytest.raises(ValidationError, match=r"nowhere\.png cannot be read: No such file"):
        cinelet.generate(image="nowhere.png", model="fake:x")


def test_every_parameter_reaches_the_backend(backend: FakeBackend) -> None:
    given: dict[str, Any] = {
        "negative_prompt": "blurry", "duration": 1.5, "fps": 4, "num_inference_steps": 3, "guidance_scale": 2.5,
        "seed": 9, "width": 64, "height": 32, "image_fit": "pad", "preset": "low", "codec": "vp9",
    }  # fmt: skip
    cinelet.generate("a", model="fake:x", **given).close()
    (request,) = backend.requests
    assert {name: getattr(request, name) for name in given} == given


@pytest.mark.usefixtures("backend")
def test_progress_is_heard() -> None:
    seen: list[Progress] = []
    cinelet.generate("a", model="fake:x", duration=1, on_progress=seen.append).close()
    assert (seen[0].stage, seen[-1].fraction) == (Stage.LOADING, 1.0)


def test_a_deadline_ends_it(backend: FakeBackend, temporary: Path) -> None:
    backend.step_seconds = 60
    with pytest.raises(DeadlineExceededError, match=r"0\.2 s"):
        cinelet.generate("a", model="fake:x", deadline_seconds=0.2)
    assert list(temporary.iterdir()) == []


def test_an_interrupt_stops_the_work_before_it_is_raised(
    backend: FakeBackend, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.step_seconds = 60
    stopped: list[type[BaseException]] = []
    generate = backend._generate

    def watched(*arguments: Any) -> Any:
        try:
            return generate(*arguments)
        except BaseException as error:
            stopped.append(type(error))
            raise

    def interrupted(_future: object) -> None:
        while not backend.requests:
            threading.Event().wait(0.005)
        raise KeyboardInterrupt

    monkeypatch.setattr(backend, "_generate", watched)
    monkeypatch.setattr("concurrent.futures.Future.result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cinelet.generate("a", model="fake:x")
    assert stopped == [GenerationCancelledError]
    assert list(temporary.iterdir()) == []


def test_an_error_of_the_backend_is_raised_here(backend: FakeBackend, temporary: Path) -> None:
    backend.error = RuntimeError("boom")
    with pytest.raises(ProcessingError, match="boom"):
        cinelet.generate("a", model="fake:x")
    assert list(temporary.iterdir()) == []


def test_a_service_needs_no_arguments_and_takes_its_settings_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("MAX_VIDEO_DURATION", "9")
    monkeypatch.setenv("VIDEO_QUALITY_PRESET", "low")
    monkeypatch.setenv("DEFAULT_TEXT_TO_VIDEO_MODEL", "fake:x")
    service = cinelet.VideoService()
    assert (service.limits.max_duration, service.preset) == (9, "low")
    assert service.default_models["text-to-video"] == "fake:x"  # type: ignore[index]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A machine without any credential, with an empty Hub cache that may not be filled, and without a cache."""
    for name in [*Config.model_fields, "hugging_face_hub_token", "hf_token_path"]:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("CINELET_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CINELET_CACHE_SIZE", "0")
    return monkeypatch


async def _dict(**values: Any) -> dict[str, Any]:
    async with assembly.VideoService() as service:
        return await service.generate_text_to_video("a red circle", duration=1, num_inference_steps=2, **values)


@pytest.mark.usefixtures("bare")
def test_an_invalid_model_falls_back_and_the_result_says_so() -> None:
    video = asyncio.run(_dict(model="invalid/model"))
    assert video["video_bytes"]
    assert (video["requested_model"], video["model"]) == ("invalid/model", "embedded")
    failed, made = video["attempts"]
    assert (failed["model"], failed["error"]["code"]) == ("invalid/model", "model_not_found")
    assert (made["model"], made["error"]) == ("embedded", None)
    assert "model" in [adjustment["parameter"] for adjustment in video["adjustments"]]


@pytest.mark.usefixtures("bare")
def test_an_invalid_model_is_an_error_where_no_fallback_is_wanted() -> None:
    with pytest.raises(ModelNotFoundError):
        asyncio.run(_dict(model="invalid/model", fallback=False))


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("model", ["hf:org/name", "hf:org/name:fal-ai"])
def test_without_a_token_a_remote_model_is_an_error_that_says_what_to_set(model: str) -> None:
    with pytest.raises(AuthenticationError, match="HF_TOKEN"):
        asyncio.run(_dict(model=model))


@pytest.mark.usefixtures("bare")
def test_an_unknown_model_is_answered_with_the_closest_configured_one(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("DEFAULT_TEXT_TO_VIDEO_MODEL", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers")
    with pytest.raises(ModelNotFoundError, match=r"Wan-AI/Wan2\.1-T2V-1\.3B-Diffusers"):
        asyncio.run(_dict(model="Wan-AI/Wan2.1-T2V-1.3B-Difusers", fallback=False))


@pytest.mark.usefixtures("bare")
def test_the_specifications_client_returns_the_bytes_of_a_video() -> None:
    async def clip() -> bytes:
        async with assembly.get_hf_client() as client:
            return await client.text_to_video("a red circle", duration=1, num_inference_steps=2)

    assert asyncio.run(clip())[4:8] == b"ftyp"


def test_a_service_has_the_specifications_client_on_its_own_backend() -> None:
    backend = FakeBackend()
    service = assembly.VideoService(backend=backend)
    asyncio.run(service.hf_client.image_to_video(example_image(), "fake:x", duration=1))
    assert backend.requests[0].model == "fake:x"


def test_no_credential_is_in_the_text_of_any_part(bare: pytest.MonkeyPatch) -> None:
    secrets = {"HF_TOKEN": "hf_abcdefghijkl", "FAL_KEY": "fal-secret", "CINELET_HOST_TOKENS": "a.example=host-secret"}
    for name, value in secrets.items():
        bare.setenv(name, value)
    registry = assembly.make_registry(Config())
    parts = [
        registry.backend_of(ModelReference.parse(model)) for model in ("hf:a/b", "a/b", "openai:m@https://a.example/v1")
    ]
    text = " ".join(repr(vars(part)) for part in (*parts, registry)) + repr(Config())
    for value in ("abcdefghijkl", "fal-secret"):
        assert value not in text


def test_this_machines_models_share_one_backend() -> None:
    registry = assembly.make_registry(Config())
    assert {"embedded", "local", "hub"} <= registry.schemes()


def test_without_torch_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "torch" else name)
    with pytest.raises(ModelUnsupportedError, match=r"needs torch; install with: pip install 'cinelet\[local\]'"):
        asyncio.run(assembly.VideoService().capabilities("embedded"))


def test_every_public_name_is_there_and_says_what_it_is() -> None:
    for name in cinelet.__all__:
        assert name == "__version__" or getattr(cinelet, name).__doc__
    assert set(cinelet.__all__) == set(dir(cinelet)) == {*cinelet._HOME_OF, "__version__"}
    with pytest.raises(AttributeError):
        _ = cinelet.no_such_name


@pytest.mark.parametrize("statement", ["import cinelet", "import cinelet.cli.app", "import cinelet.assembly"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    heavy = ("torch", "diffusers", "transformers", "av", "PIL")
    code = f"{statement}\nimport sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_device_that_was_to_share_a_generation_and_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def choose(wanted: str | None) -> str:
        if wanted == "cuda:1":
            raise ProcessingError("no such device", "loading")
        return wanted or "cuda"

    monkeypatch.setattr("cinelet.backends.diffusers.devices.choose_device", choose)
    assembly.check_device(Config(cinelet_context_parallel=1, cinelet_device="cuda"))
    with pytest.raises(ValidationError, match="there is no cuda:1 beside cuda; use fewer devices"):
        assembly.check_device(Config(cinelet_context_parallel=2, cinelet_device="cuda"))
