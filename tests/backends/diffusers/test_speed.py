"""What a generation is to have, from what the operator set and what is asked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cinelet.backends import embedded
from cinelet.backends.diffusers import DiffusersBackend, SpeedSettings
from cinelet.backends.diffusers.speed import Speed, choose_speed
from cinelet.domain.errors import ValidationError
from cinelet.domain.model import ModelReference

CHANGED: dict[str, Any] = {
    "quality": "fast",
    "compile": "on",
    "step_cache": "pab",
    "attention": "math",
    "channels_last": "off",
    "quantization": "int8",
    "quantize_balanced": True,
}


def chosen(
    asked: Any, /, *, device: str = "cuda", steps: int | None = 50, name: str = "org/model", **set_: Any
) -> Speed:
    return choose_speed(SpeedSettings(**set_), asked, device=device, steps=steps, reference=name)


def test_exact_has_nothing_whatever_the_operator_set() -> None:
    assert chosen("exact", **CHANGED) == Speed("exact", asked=True)


def test_balanced_on_a_processor_has_nothing_either() -> None:
    assert chosen("balanced", device="cpu") == Speed("balanced", asked=True)


def test_balanced_on_a_gpu_is_compiled_and_caches_no_step() -> None:
    speed = chosen("balanced")
    assert (speed.compile, speed.channels_last, speed.step_cache) == (True, True, None)
    assert not speed.insisted


def test_fast_caches_steps_as_well() -> None:
    assert chosen("fast").step_cache == "auto"
    assert chosen("fast", device="cpu").step_cache == "auto"


@pytest.mark.parametrize(
    "few", [{"steps": 14}, {"name": "org/LTX-Video-0.9.8-13B-distilled"}, {"name": "a/wan-Lightning"}]
)
def test_few_steps_are_not_cached(few: dict[str, Any]) -> None:
    assert chosen("fast", **few).step_cache is None


def test_a_cache_that_the_operator_names_is_used_for_balanced_and_few_steps_too() -> None:
    assert chosen("balanced", steps=8, step_cache="first-block").step_cache == "first-block"
    assert chosen("fast", step_cache="off").step_cache is None


def test_a_request_that_names_no_quality_has_the_operators() -> None:
    assert chosen(None).quality == "balanced"
    assert chosen(None, quality="fast").quality == "fast"
    assert not chosen(None).asked


def test_weights_are_quantized_for_fast_and_for_balanced_only_where_that_is_set() -> None:
    assert chosen("fast", quantization="int8").quantization == "int8"
    assert chosen("balanced", quantization="int8").quantization is None
    assert chosen("balanced", quantization="int8", quantize_balanced=True).quantization == "int8"


def test_loras_are_applied_to_plain_weights_and_the_result_says_so() -> None:
    settings = SpeedSettings(quantization="int8")
    speed = choose_speed(settings, "fast", device="cuda", steps=50, reference="a/b", has_loras=True)
    assert speed.quantization is None
    assert [change.parameter for change in speed.declined] == ["quantization"]


@pytest.mark.parametrize("name", CHANGED)
def test_every_setting_gives_a_models_videos_another_name(name: str) -> None:
    settings = SpeedSettings(**{name: CHANGED[name]})
    assert settings.tagged("commit") not in {"commit", None}
    assert settings.tagged(None) is None
    assert SpeedSettings().tagged("commit") == "commit"


def test_the_backend_tells_the_name() -> None:
    model = ModelReference.parse("embedded")

    def revision(**settings: Any) -> str | None:
        backend = DiffusersBackend(
            directories={"embedded": embedded.directory()}, device="cpu", speed=SpeedSettings(**settings)
        )
        return asyncio.run(backend.revision(model))

    plain = revision()
    assert plain is not None
    assert "+" not in plain
    assert revision(step_cache="pab") == f"{plain}+{SpeedSettings(step_cache='pab').tag}"


@pytest.mark.parametrize(
    ("settings", "name", "why"),
    [
        ({"attention": "sage"}, "CINELET_ATTENTION", "sageattention is not installed"),
        ({"quantization": "int8"}, "CINELET_QUANTIZATION", "torchao is not installed"),
        ({"context_parallel": 2}, "CINELET_CONTEXT_PARALLEL", "on Linux only"),
    ],
)
def test_what_cannot_be_here_is_refused_by_the_variables_name_before_anything_runs(
    settings: dict[str, Any], name: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(ValidationError, match=why) as refused:
        DiffusersBackend(device="cpu", speed=SpeedSettings(**settings))
    assert name in str(refused.value)
    assert refused.value.details.keys() == {name}
