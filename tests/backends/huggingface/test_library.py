"""The contract with the private part of `huggingface_hub`. If it fails after an update, correct `library.py`."""

from __future__ import annotations

import inspect
from dataclasses import fields
from importlib.metadata import version
from typing import Any

import pytest
from huggingface_hub import constants
from huggingface_hub.hf_api import InferenceProviderMapping
from huggingface_hub.inference import _common, _providers
from huggingface_hub.inference._providers import _common as providers_common
from huggingface_hub.inference._providers import get_provider_helper

from cinelet.backends.huggingface.access import ROUTER_HOST
from cinelet.backends.huggingface.library import build, supports
from cinelet.backends.huggingface.mapping import Listing
from cinelet.backends.huggingface.providers import PROVIDERS
from cinelet.domain.request import Task
from tests.backends.huggingface.caller import OFFERS
from tests.fake_providers import HF_TOKEN, KEYS

MODEL = "org/model"
OWN_NAMES = {
    "fal-ai": "fal-ai/wan/v2.2-5b/text-to-video",
    "wavespeed": "wavespeed-ai/wan-2.2/t2v-480p",
    "together": "Wan-AI/Wan2.2-T2V-A14B",
    "replicate": "wan-video/wan-2.2-t2v-fast",
    "novita": "wan-t2v",
}
PATHS = {
    "fal-ai": "/fal-ai/wan/v2.2-5b/text-to-video",
    "wavespeed": "/api/v3/wavespeed-ai/wan-2.2/t2v-480p",
    "together": "/v2/videos",
    "replicate": "/v1/models/wan-video/wan-2.2-t2v-fast/predictions",
    "novita": "/v3/hf/wan-t2v",
}
BASES = {
    "fal-ai": "https://queue.fal.run",
    "wavespeed": "https://api.wavespeed.ai",
    "together": "https://api.together.xyz",
    "replicate": "https://api.replicate.com",
    "novita": "https://api.novita.ai",
}
GIVEN = {"num_frames": 81, "num_inference_steps": 30, "guidance_scale": 5.0, "seed": 7, "negative_prompt": "blurry"}
SENT: dict[tuple[str, Task], Any] = {
    ("fal-ai", Task.TEXT_TO_VIDEO): {"prompt": "a cat", **GIVEN},
    ("fal-ai", Task.IMAGE_TO_VIDEO): {"image_url": "PICTURE", "prompt": "a cat", **GIVEN},
    ("wavespeed", Task.TEXT_TO_VIDEO): {"prompt": "a cat", **GIVEN},
    ("wavespeed", Task.IMAGE_TO_VIDEO): {"image": "PICTURE", "prompt": "a cat", **GIVEN},
    ("together", Task.TEXT_TO_VIDEO): {
        "prompt": "a cat",
        "model": "Wan-AI/Wan2.2-T2V-A14B",
        "num_frames": 81,
        "steps": 30,
        "guidance_scale": 5.0,
        "seed": 7,
        "negative_prompt": "blurry",
    },
    ("together", Task.IMAGE_TO_VIDEO): {
        "model": "Wan-AI/Wan2.2-T2V-A14B",
        "frame_images": [{"input_image": "PICTURE", "frame": "first"}],
        "prompt": "a cat",
        "num_frames": 81,
        "steps": 30,
        "guidance_scale": 5.0,
        "seed": 7,
        "negative_prompt": "blurry",
    },
    ("replicate", Task.TEXT_TO_VIDEO): {"input": {"prompt": "a cat", **GIVEN}},
    ("novita", Task.TEXT_TO_VIDEO): {"prompt": "a cat", **GIVEN},
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("The library tried to reach the network or a saved token")

    monkeypatch.setattr(providers_common, "_fetch_inference_provider_mapping", refuse)
    monkeypatch.setattr(providers_common, "get_token", refuse)
    for module in (_common, _providers.fal_ai, _providers.novita, _providers.replicate, _providers.together):
        monkeypatch.setattr(module, "get_session", refuse)


def built(provider: str, task: Task, secret: str, **changes: Any):
    listing = Listing(provider, task.value, "live", changes.pop("provider_model", OWN_NAMES[provider]))
    arguments = {"prompt": "a cat", "parameters": GIVEN, "headers": {}, **changes}
    return build(listing, model=MODEL, task=task, secret=secret, **arguments)


def marked(value: Any, placeholder: str | None) -> Any:
    """Return JSON values with PICTURE where the picture belongs."""
    match value:
        case dict():
            return {key: marked(item, placeholder) for key, item in value.items()}
        case list():
            return [marked(item, placeholder) for item in value]
        case _:
            return "PICTURE" if placeholder is not None and value == placeholder else value


def test_the_version_is_one_whose_private_part_was_read() -> None:
    assert version("huggingface_hub").split(".")[:2] == ["2", "4"]


def test_the_signatures_are_those_that_are_called() -> None:
    assert list(inspect.signature(get_provider_helper).parameters) == ["provider", "task", "model"]
    helper = get_provider_helper("fal-ai", task="text-to-video", model=MODEL)
    parameters = inspect.signature(helper.prepare_request).parameters
    assert set(parameters) == {"inputs", "parameters", "headers", "model", "api_key", "extra_payload"}
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters.values())
    assert list(inspect.signature(helper._prepare_mapping_info).parameters) == ["model"]


def test_a_built_request_has_the_fields_that_are_read() -> None:
    assert {field.name for field in fields(_common.RequestParameters)} >= {"url", "json", "headers"}


def test_a_mapping_is_made_from_the_hubs_names() -> None:
    mapping = InferenceProviderMapping(
        provider="fal-ai", hf_model_id=MODEL, providerId="own", status="live", task="t", adapterWeightsPath="w"
    )
    assert (mapping.provider_id, mapping.adapter_weights_path, mapping.task) == ("own", "w", "t")


def test_the_router_is_where_it_was() -> None:
    assert constants.INFERENCE_PROXY_TEMPLATE.format(provider="x") == f"https://{ROUTER_HOST}/x"


def test_the_library_offers_what_we_offer_and_nothing_more() -> None:
    assert {(name, task) for name in PROVIDERS for task in Task if supports(name, task)} == set(OFFERS)
    # A sixth provider of videos in the library is a reason to write its file.
    with_videos = {
        name for name, tasks in _providers.PROVIDERS.items() if {"text-to-video", "image-to-video"} & set(tasks)
    }
    assert with_videos == set(PROVIDERS)


def test_the_library_does_not_know_the_task_image_text_to_video_yet() -> None:
    assert not any("image-text-to-video" in tasks for tasks in _providers.PROVIDERS.values())
    assert not supports("hf-inference", Task.TEXT_TO_VIDEO)
    assert not supports("nobody", Task.TEXT_TO_VIDEO)


@pytest.mark.parametrize(("provider", "task"), OFFERS)
def test_a_hugging_face_token_makes_a_request_to_the_router(provider: str, task: Task) -> None:
    request = built(provider, task, HF_TOKEN, headers={"x-hf-bill-to": "my-org"})
    query = "?_subdomain=queue" if provider == "fal-ai" else ""
    assert request.url == f"https://router.huggingface.co/{provider}{PATHS[provider]}{query}"
    assert request.headers == {
        "authorization": f"Bearer {HF_TOKEN}",
        "content-type": "application/json",
        "x-hf-bill-to": "my-org",
    }


@pytest.mark.parametrize(("provider", "task"), OFFERS)
def test_a_providers_own_key_makes_a_request_to_the_provider(provider: str, task: Task) -> None:
    request = built(provider, task, KEYS[provider])
    scheme = "Key" if provider == "fal-ai" else "Bearer"
    assert request.url == BASES[provider] + PATHS[provider]
    assert request.headers == {"authorization": f"{scheme} {KEYS[provider]}", "content-type": "application/json"}


@pytest.mark.parametrize(("provider", "task"), OFFERS)
def test_the_payload_has_the_providers_shape(provider: str, task: Task) -> None:
    request = built(provider, task, HF_TOKEN)
    assert marked(request.payload, request.placeholder) == SENT[provider, task]
    assert (request.placeholder is None) == (task is Task.TEXT_TO_VIDEO)


@pytest.mark.parametrize(("provider", "task"), [offer for offer in OFFERS if offer[1] is Task.IMAGE_TO_VIDEO])
def test_a_prompt_that_is_not_given_is_not_sent(provider: str, task: Task) -> None:
    assert "prompt" not in built(provider, task, HF_TOKEN, prompt=None).payload


def test_the_parameters_stay_as_they_were() -> None:
    parameters = dict(GIVEN)
    for provider, task in OFFERS:
        built(provider, task, HF_TOKEN, parameters=parameters)
    assert parameters == GIVEN


def test_a_version_of_replicate_goes_into_the_payload() -> None:
    request = built("replicate", Task.TEXT_TO_VIDEO, HF_TOKEN, provider_model="owner/name:0123abc")
    assert request.url == "https://router.huggingface.co/replicate/v1/predictions"
    assert request.payload["version"] == "0123abc"


def test_an_adapter_becomes_a_lora_at_fal() -> None:
    listing = Listing("fal-ai", "text-to-video", "live", "fal-ai/wan-t2v-lora", "style.safetensors")
    request = build(
        listing, model=MODEL, task=Task.TEXT_TO_VIDEO, prompt="a cat", parameters={}, secret=HF_TOKEN, headers={}
    )
    assert request.payload["loras"] == [
        {"path": f"{constants.ENDPOINT}/{MODEL}/resolve/main/style.safetensors", "scale": 1}
    ]


def test_two_requests_at_the_same_time_do_not_share_a_mapping() -> None:
    first = built("fal-ai", Task.TEXT_TO_VIDEO, HF_TOKEN, provider_model="one")
    second = built("fal-ai", Task.TEXT_TO_VIDEO, HF_TOKEN, provider_model="two")
    assert (first.url, second.url) == tuple(
        f"https://router.huggingface.co/fal-ai/{name}?_subdomain=queue" for name in ("one", "two")
    )
    assert "_prepare_mapping_info" not in vars(get_provider_helper("fal-ai", task="text-to-video", model=MODEL))


def test_a_secret_is_not_shown() -> None:
    assert HF_TOKEN not in repr(built("fal-ai", Task.TEXT_TO_VIDEO, HF_TOKEN))
    assert "a cat" not in repr(built("fal-ai", Task.TEXT_TO_VIDEO, HF_TOKEN))
