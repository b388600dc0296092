"""LoRAs in models: what they change, for whom, and what is left of one that does not fit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cinelet.backends.diffusers import DiffusersBackend, lora
from cinelet.backends.diffusers.lora import LoraShelf
from cinelet.backends.diffusers.lora_file import open_lora
from cinelet.backends.diffusers.model_folder import open_folder
from cinelet.backends.diffusers.placement import Offload, Placement, place
from cinelet.domain.backend import Context, GeneratedVideo
from cinelet.domain.errors import ModelUnsupportedError, ValidationError
from cinelet.domain.lora import Lora
from cinelet.domain.model import ModelReference
from cinelet.domain.request import Task
from cinelet.testing import ContractCase
from tests.backends.diffusers.tiny_lora import layers_of, write_lora
from tests.conftest import TinyPipeline
from tests.tiny_pipelines import ARCHITECTURES, TASKS

FEW = {"num_inference_steps": 2, "width": 64, "height": 64}
WITHOUT_LOADER = frozenset({
    "allegro", "cosmos3", "easyanimate", "hunyuan_video15", "hunyuan_video15_i2v", "i2vgen_xl", "kandinsky6", "latte",
    "motif", "motif_i2v", "svd", "text_to_video_sd",
})  # fmt: skip
"""diffusers has none for these, or none for the part of theirs that draws."""

Generate = Callable[..., GeneratedVideo]
Misfit = tuple[dict[str, tuple[int, ...]], str, str]
"""Layers, the part that they are said to be of, and words of the refusal."""


@pytest.fixture
def backend() -> Iterator[DiffusersBackend]:
    backend = DiffusersBackend(device="cpu")
    yield backend
    asyncio.run(backend.aclose())


@pytest.fixture
def generate(backend: DiffusersBackend, tmp_path: Path) -> Generate:
    folders = iter(range(100))

    def generate(model: Path, *loras: Lora, task: Task = Task.TEXT_TO_VIDEO, **fields: Any) -> GeneratedVideo:
        folder = tmp_path / f"video {next(folders)}"
        folder.mkdir()
        request = ContractCase(f"local:{model}", task, FEW).request(lora=loras, **fields)
        return asyncio.run(backend.generate(request, Context(folder)))

    return generate


@pytest.fixture
def wan(tiny_pipeline: TinyPipeline) -> Path:
    return tiny_pipeline("wan_t2v")


def style(model: Path, path: Path, *, scale: float = 1.0, **options: Any) -> Lora:
    return Lora(path=str(write_lora(path, layers_of(model), **{"strength": 2, **options})), scale=scale)


def content(video: GeneratedVideo) -> bytes:
    return video.path.read_bytes()


@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) - WITHOUT_LOADER))
def test_a_lora_changes_one_video_and_no_other(
    generate: Generate, tiny_pipeline: TinyPipeline, tmp_path: Path, name: str
) -> None:
    model, task = tiny_pipeline(name), TASKS[name][0]
    part = "unet" if (model / "unet").is_dir() else "transformer"
    path = write_lora(tmp_path / "style.safetensors", layers_of(model, part), part=part, strength=2)
    plain = content(generate(model, task=task))
    styled = generate(model, Lora(path=str(path)), task=task)
    assert content(styled) != plain
    (told,) = styled.applied["lora"]
    assert (told["path"], told["scale"], len(told["sha256"])) == (str(path), 1.0, 64)
    assert "lora" not in {adjustment.parameter for adjustment in styled.adjustments}
    assert content(generate(model, task=task)) == plain
    assert content(generate(model, Lora(path=str(path)), task=task)) == content(styled)


@pytest.mark.parametrize("name", sorted(WITHOUT_LOADER))
def test_a_model_without_a_loader_refuses_it_by_name(
    generate: Generate, backend: DiffusersBackend, tiny_pipeline: TinyPipeline, name: str
) -> None:
    model = tiny_pipeline(name)
    with pytest.raises(ModelUnsupportedError, match="takes no LoRA, diffusers has no loader for it"):
        generate(model, Lora(path="./not-even-looked-for.safetensors"), task=TASKS[name][0])
    assert "lora" not in asyncio.run(backend.capabilities(ModelReference.parse(f"local:{model}"))).parameters
    assert backend.condition().models == ()


def test_a_model_with_a_loader_says_so(backend: DiffusersBackend, wan: Path) -> None:
    assert "lora" in asyncio.run(backend.capabilities(ModelReference.parse(f"local:{wan}"))).parameters


def test_the_scale_counts_and_nothing_is_nothing(generate: Generate, wan: Path, tmp_path: Path) -> None:
    whole = style(wan, tmp_path / "style.safetensors")
    half = whole.model_copy(update={"scale": 0.5})
    plain = content(generate(wan))
    assert content(generate(wan, whole.model_copy(update={"scale": 0.0}))) == plain
    assert content(generate(wan, half)) not in {plain, content(generate(wan, whole))}
    # The same twice is the sum, whatever the file is called.
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(Path(whole.path).read_bytes())
    assert content(generate(wan, half, Lora(path=str(copy), scale=0.5))) == content(generate(wan, whole))


def test_several_are_weighed_against_each_other(generate: Generate, wan: Path, tmp_path: Path) -> None:
    one, other = (style(wan, tmp_path / f"{seed}.safetensors", seed=seed) for seed in range(2))
    alone = [content(generate(wan, lora)) for lora in (one, other)]
    both = content(generate(wan, one, other))
    assert len({*alone, both}) == 3
    assert [content(generate(wan, lora)) for lora in (one, other)] == alone


def test_the_strength_that_a_file_tells_of_counts(generate: Generate, wan: Path, tmp_path: Path) -> None:
    double = {"transformer.r": 2, "transformer.lora_alpha": 4}
    told = style(wan, tmp_path / "told.safetensors", strength=1, settings=double)
    meant = style(wan, tmp_path / "meant.safetensors", strength=2)
    assert content(generate(wan, told)) == content(generate(wan, meant))


def test_a_mixture_of_two_gets_it_into_both_or_where_its_name_says(
    generate: Generate, tiny_pipeline: TinyPipeline, tmp_path: Path
) -> None:
    model = tiny_pipeline("wan22_moe")
    names = ("style", "style_low_noise", "style-HighNoise")
    made = [content(generate(model, style(model, tmp_path / f"{name}.safetensors"))) for name in names]
    assert len({content(generate(model)), *made}) == 4
    apart = [style(model, tmp_path / f"{name}.safetensors", strength=2) for name in names[1:]]
    assert content(generate(model, *[apart[0]])) == made[1]


def pipeline_of(backend: DiffusersBackend, model: Path) -> Any:
    assert backend._session is not None
    with backend._session.models.lease(open_folder(model, f"local:{model}")) as loaded:
        return loaded.pipeline


def is_clean(pipeline: Any) -> bool:
    """Whether nothing of any LoRA is in a pipeline's modules."""
    names = [name for name, _ in pipeline.transformer.named_parameters()]
    kinds = {type(module).__module__.split(".")[0] for module in pipeline.transformer.modules()}
    return "peft" not in kinds and not any("lora" in name for name in names)


@pytest.mark.parametrize(
    "case",
    [
        ({"blocks.0.attn1.to_q": (6, 7)}, "transformer", "size mismatch"),
        ({"nothing.such": (4, 4)}, "transformer", ""),
        ({"blocks.0.attn1.to_q": (24, 24)}, "text_model", "none of its layers is one of the model's"),
    ],
)
def test_one_that_fits_nothing_is_refused_and_leaves_nothing(
    generate: Generate, backend: DiffusersBackend, wan: Path, tmp_path: Path, case: Misfit
) -> None:
    layers, part, why = case
    plain = content(generate(wan))
    foreign = Lora(path=str(write_lora(tmp_path / "foreign.safetensors", layers, part=part)))
    with pytest.raises(ValidationError, match=r"does not fit this model \(WanPipeline\): ") as refused:
        generate(wan, foreign)
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.details == {"lora": "Does not fit the model"}
    assert is_clean(pipeline_of(backend, wan))
    assert content(generate(wan)) == plain
    good = style(wan, tmp_path / "good.safetensors")
    styled = content(generate(wan, good))
    with pytest.raises(ValidationError):
        generate(wan, good, foreign)
    assert content(generate(wan)) == plain
    assert content(generate(wan, good)) == styled


def test_layers_that_the_model_has_not_are_told_of(generate: Generate, wan: Path, tmp_path: Path) -> None:
    layers = layers_of(wan) | {"blocks.99.attn1.to_q": (24, 24), "blocks.98.attn1.to_q": (24, 24)}
    lora = Lora(path=str(write_lora(tmp_path / "larger.safetensors", layers)))
    for _ in range(2):  # also where it is loaded already
        (told,) = [each for each in generate(wan, lora).adjustments if each.parameter == "lora"]
        assert told.reason == "2 layers of it are none of the model's, and do not count"


def test_the_last_few_stay_and_the_last_of_all_takes_everything_along(
    generate: Generate, backend: DiffusersBackend, wan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lora, "KEPT", 2)
    loras = [style(wan, tmp_path / f"{seed}.safetensors", seed=seed) for seed in range(4)]
    for each in loras:
        generate(wan, each)
    pipeline = pipeline_of(backend, wan)
    files = [open_lora(Path(each.path), each.path) for each in loras]
    there = {name.rpartition("_")[0] for name in pipeline.transformer.peft_config}
    assert there == {file.adapter for file in files[2:]}
    monkeypatch.setattr(lora, "KEPT", 0)
    generate(wan, loras[3])
    assert is_clean(pipeline)


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processor be one, which diffusers asks for when it has loaded a LoRA into weights that wait outside."""
    monkeypatch.setattr("diffusers.pipelines.pipeline_utils.get_device", lambda: "cpu:0")


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize("offload", [Offload.MODEL, Offload.SEQUENTIAL])
def test_a_model_whose_weights_wait_outside_of_the_device_takes_one_lora_after_another(
    backend: DiffusersBackend, generate: Generate, wan: Path, tmp_path: Path, offload: Offload
) -> None:
    folder = open_folder(wan, f"local:{wan}")
    models = backend._opened_session().models
    with models.lease(folder) as loaded:
        place(loaded.pipeline, Placement(offload), device="cpu")
    one, other = (style(wan, tmp_path / f"{seed}.safetensors", seed=seed) for seed in range(2))
    plain, styled = content(generate(wan)), content(generate(wan, one))
    assert content(generate(wan, one)) == styled
    assert len({plain, styled, content(generate(wan, other))}) == 3
    assert content(generate(wan)) == plain


def test_a_failed_run_leaves_the_lora_silent(wan: Path, tmp_path: Path) -> None:
    import diffusers

    pipeline = diffusers.WanPipeline.from_pretrained(wan)
    lora = style(wan, tmp_path / "style.safetensors")
    inputs = {
        "hidden_states": torch.ones(1, pipeline.transformer.config.in_channels, 1, 8, 8),
        "timestep": torch.ones(1),
        "encoder_hidden_states": torch.ones(1, 4, pipeline.transformer.config.text_dim),
        "return_dict": False,
    }
    seen = []

    def cut_short() -> None:
        with LoraShelf().applied(pipeline, [(lora, open_lora(Path(lora.path), lora.path))]):
            seen.append(pipeline.transformer(**inputs)[0])
            raise RuntimeError("cut")

    with torch.inference_mode():
        (plain,) = pipeline.transformer(**inputs)
        with pytest.raises(RuntimeError, match="cut"):
            cut_short()
        (after,) = pipeline.transformer(**inputs)
    assert not torch.equal(seen[0], plain)
    assert torch.equal(after, plain)
