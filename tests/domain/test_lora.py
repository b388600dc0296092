"""A LoRA by reference: what can be named, and what is refused before anything is looked for."""

from __future__ import annotations

import pytest

from cinelet.domain.errors import ValidationError
from cinelet.domain.lora import Lora, loras_of, parse_lora
from cinelet.domain.request import Limits, Task, VideoRequest


@pytest.mark.parametrize(
    ("text", "path", "scale"),
    [
        ("org/name", "org/name", 1),
        ("org/name=0.8", "org/name", 0.8),
        ("./a=b.safetensors=-1", "./a=b.safetensors", -1),
    ],
)
def test_a_lora_is_read_from_a_path_and_a_scale(text: str, path: str, scale: float) -> None:
    lora = parse_lora(text)
    assert (lora.path, lora.scale) == (path, scale)
    assert parse_lora(str(lora)) == lora


@pytest.mark.parametrize("text", ["", "org/name=strong", "org/name=nan", "org/name=9"])
def test_a_scale_that_is_no_number_of_the_range_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="PATH=SCALE"):
        parse_lora(text)


def test_a_file_of_the_hub_has_a_repository_and_a_name() -> None:
    assert Lora(path="org/name").hub_parts == ("org/name", None)
    assert Lora(path="org/name/v2/style.safetensors").hub_parts == ("org/name", "v2/style.safetensors")


@pytest.mark.parametrize(
    "path", ["name", "org/name/style.bin", "org/../x.safetensors", "./style.ckpt", "https://x/y", "org/na\nme", "a//b"]
)
def test_what_is_no_safetensors_of_the_hub_or_of_this_machine_is_refused(path: str) -> None:
    request = VideoRequest(task=Task.TEXT_TO_VIDEO, prompt="x", lora=(Lora(path=path),))
    with pytest.raises(ValidationError) as caught:
        request.check(Limits())
    assert "lora" in caught.value.details


@pytest.mark.parametrize("upscaler", ["hf:org/name", "https://x.y/z", "embedded", "", "openai:x@http://y/v1"])
def test_an_upscaler_runs_on_this_machine(upscaler: str) -> None:
    request = VideoRequest(task=Task.TEXT_TO_VIDEO, prompt="x", upscaler=upscaler)
    with pytest.raises(ValidationError) as caught:
        request.check(Limits())
    assert "upscaler" in caught.value.details


def test_more_loras_than_a_model_could_hold_are_refused() -> None:
    request = VideoRequest(task=Task.TEXT_TO_VIDEO, prompt="x", lora=tuple(Lora(path=f"a/b{n}") for n in range(9)))
    with pytest.raises(ValidationError, match="at most 8"):
        request.check(Limits())


def test_who_cannot_apply_them_refuses_them_by_name() -> None:
    request = VideoRequest(task=Task.TEXT_TO_VIDEO, prompt="x", lora=(Lora(path="org/name"),), upscaler="local:a/b")
    with pytest.raises(ValidationError, match="fal-ai takes no lora and no upscaler"):
        request.refuse_local_fields("fal-ai")
    VideoRequest(task=Task.TEXT_TO_VIDEO, prompt="x").refuse_local_fields("fal-ai")


@pytest.mark.parametrize("text", ["org/name", "[" * 100_000])
def test_a_text_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a JSON list"):
        loras_of(text)
