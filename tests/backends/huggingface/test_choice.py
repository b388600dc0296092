"""Which provider runs a model: the Hub's order, the task, the status, the credentials, and a choice that is obeyed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cinelet.domain.backend import Backend, Capabilities, Expands
from cinelet.domain.errors import (
    AuthenticationError,
    CineletError,
    ModelNotFoundError,
    ModelUnsupportedError,
)
from cinelet.domain.model import ModelReference
from cinelet.domain.request import Task, VideoRequest
from tests.backends.huggingface.caller import PROMPT, Caller, video_request
from tests.fake_providers import HF_TOKEN, I2V_MODEL, KEYS, T2V_MODEL, FakeInternet

MODEL = "org/some-model"


def listed(task: str = "text-to-video", status: str = "live") -> dict[str, str]:
    return {"status": status, "providerId": "own/name", "task": task}


def expanded(caller: Caller, reference: str, task: Task = Task.TEXT_TO_VIDEO) -> list[str]:
    async def ask() -> list[str]:
        backend = caller.backend()
        try:
            return [str(found) for found in await backend.expand(ModelReference.parse(reference), task)]
        finally:
            await backend.aclose()

    return asyncio.run(ask())


def described(caller: Caller, reference: str) -> Capabilities:
    async def ask() -> Capabilities:
        backend = caller.backend()
        try:
            return await backend.capabilities(ModelReference.parse(reference))
        finally:
            await backend.aclose()

    return asyncio.run(ask())


def text_request(reference: str, **fields: Any) -> VideoRequest:
    return VideoRequest(task=Task.TEXT_TO_VIDEO, prompt=PROMPT, model=reference, **fields)


def refused(caller: Caller, expected: type[CineletError], reference: str, task: Task = Task.TEXT_TO_VIDEO) -> str:
    """Return the error's text, which asking, expanding and making have in common."""
    made = caller.generate(video_request(None, task, model=reference)).failed()
    assert type(made) is expected, made
    with pytest.raises(expected) as caught:
        expanded(caller, reference, task)
    assert str(caught.value) == str(made)
    return str(made)


def test_it_is_a_backend_that_expands(caller: Caller) -> None:
    assert isinstance(caller.backend(), Backend)
    assert isinstance(caller.backend(), Expands)


def test_a_model_expands_to_every_provider_in_the_hubs_order(caller: Caller) -> None:
    providers = ["fal-ai", "wavespeed", "together", "replicate", "novita"]
    for reference in (T2V_MODEL, f"hf:{T2V_MODEL}"):
        assert expanded(caller, reference) == [f"hf:{T2V_MODEL}:{name}" for name in providers]
    assert expanded(caller, I2V_MODEL, Task.IMAGE_TO_VIDEO) == [f"hf:{I2V_MODEL}:{name}" for name in providers[:3]]


def test_the_task_and_the_status_count_and_not_only_the_place(caller: Caller, internet: FakeInternet) -> None:
    internet.publish(
        MODEL,
        {
            "nscale": listed(),
            "novita": listed(status="error"),
            "fal-ai": listed("image-to-video"),
            "together": listed(status="staging"),
            "replicate": listed("text-to-image"),
            "wavespeed": listed(),
        },
    )
    assert expanded(caller, MODEL) == [f"hf:{MODEL}:wavespeed", f"hf:{MODEL}:together"]
    assert expanded(caller, MODEL, Task.IMAGE_TO_VIDEO) == [f"hf:{MODEL}:fal-ai"]
    assert caller.generate(text_request(MODEL)).made().provider == "wavespeed"


@pytest.mark.parametrize("task", ["image-to-video", "image-text-to-video"])
def test_both_tasks_with_an_image_make_a_video_of_one(caller: Caller, internet: FakeInternet, task: str) -> None:
    internet.publish(MODEL, {"fal-ai": {**listed(task), "providerId": "fal-ai/h3/image-to-video"}})
    video = caller.generate(video_request(None, Task.IMAGE_TO_VIDEO, model=MODEL)).made()
    assert video.model == f"hf:{MODEL}:fal-ai"
    (job,) = internet.jobs
    assert job.payload["image_url"].startswith("data:image/png;base64,")
    assert job.prompt == PROMPT


def test_a_provider_that_is_named_is_obeyed_whatever_its_status(caller: Caller, internet: FakeInternet) -> None:
    internet.publish(MODEL, {"fal-ai": listed(), "wavespeed": listed(status="error")})
    assert caller.generate(text_request(f"hf:{MODEL}:wavespeed")).made().provider == "wavespeed"
    assert expanded(caller, f"hf:{MODEL}:wavespeed") == [f"hf:{MODEL}:wavespeed"]


def test_a_model_that_nobody_serves_can_be_run_here(caller: Caller, internet: FakeInternet) -> None:
    internet.publish(MODEL, {})
    message = refused(caller, ModelUnsupportedError, MODEL)
    assert message.startswith(f"No provider serves {MODEL} for text-to-video; ")
    assert f"local:{MODEL}" in message


def test_a_model_that_is_served_for_something_else_says_for_what(caller: Caller, internet: FakeInternet) -> None:
    internet.publish(MODEL, {"fal-ai": listed("image-to-video"), "nscale": listed(), "novita": listed(status="error")})
    message = refused(caller, ModelUnsupportedError, MODEL)
    assert "fal-ai serves it for image-to-video" in message
    assert "nscale (this version does not speak to it)" in message
    assert "novita (its status at the Hub is error)" in message


def test_a_named_provider_that_does_not_serve_it_names_those_that_do(caller: Caller, internet: FakeInternet) -> None:
    internet.publish(MODEL, {"fal-ai": listed(), "wavespeed": listed("image-to-video")})
    for named in ("novita", "wavespeed"):
        error = caller.generate(text_request(f"hf:{MODEL}:{named}")).failed()
        assert isinstance(error, ModelUnsupportedError)
        assert f"{named} does not serve {MODEL} for text-to-video" in str(error)
        assert "fal-ai does" in str(error)
    assert internet.posts == 0


def test_a_named_provider_that_we_do_not_speak_to_is_refused(caller: Caller, internet: FakeInternet) -> None:
    internet.publish(MODEL, {"nscale": listed()})
    error = caller.generate(text_request(f"hf:{MODEL}:nscale")).failed()
    assert isinstance(error, ModelUnsupportedError)
    assert "does not speak to it" in str(error)


def test_a_model_that_is_not_on_the_hub_is_not_found(caller: Caller) -> None:
    assert "org/missing" in refused(caller, ModelNotFoundError, "hf:org/missing")


@pytest.mark.parametrize("reference", [T2V_MODEL, f"hf:{T2V_MODEL}", f"hf:{T2V_MODEL}:fal-ai"])
def test_without_any_credential_nothing_is_asked_and_the_error_says_what_to_set(
    caller: Caller, internet: FakeInternet, reference: str
) -> None:
    caller.settings = {"token": None}
    error = caller.generate(text_request(reference)).failed()
    assert isinstance(error, AuthenticationError)
    assert "HF_TOKEN" in str(error)
    assert "FAL_KEY" in str(error)
    with pytest.raises(AuthenticationError):
        described(caller, reference)
    assert internet.requests == ()


def test_a_key_for_one_provider_makes_that_one_usable(caller: Caller, internet: FakeInternet) -> None:
    caller.settings = {"token": None, "provider_keys": {"together": KEYS["together"]}}
    assert expanded(caller, T2V_MODEL) == [f"hf:{T2V_MODEL}:together"]
    offers = {offer.provider: offer.why_not for offer in described(caller, T2V_MODEL).offers}
    assert offers["together"] == ""
    assert "FAL_KEY" in offers["fal-ai"]
    error = caller.generate(text_request(f"hf:{T2V_MODEL}:fal-ai")).failed()
    assert isinstance(error, AuthenticationError)
    assert "FAL_KEY" in str(error)
    assert internet.posts == 0


def test_keys_for_none_of_the_providers_of_a_model_are_named(caller: Caller) -> None:
    caller.settings = {"token": None, "provider_keys": {"novita": KEYS["novita"]}}
    message = refused(caller, AuthenticationError, I2V_MODEL, Task.IMAGE_TO_VIDEO)
    assert all(variable in message for variable in ("FAL_KEY", "WAVESPEED_API_KEY", "TOGETHER_API_KEY", "HF_TOKEN"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"token": "sk-not-a-hugging-face-token"}, "HF_TOKEN is no Hugging Face token"),
        ({"token": "hf_with a space"}, "HF_TOKEN is no Hugging Face token"),
        ({"token": None, "provider_keys": {"fal-ai": HF_TOKEN}}, "FAL_KEY is a Hugging Face token"),
        ({"token": None, "provider_keys": {"fal-ai": "two\nlines"}}, "FAL_KEY holds what no key does"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_credential_in_the_wrong_place_goes_nowhere(
    caller: Caller, internet: FakeInternet, settings: dict[str, Any], words: str
) -> None:
    caller.settings = settings
    error = caller.generate(text_request(f"hf:{T2V_MODEL}:fal-ai")).failed()
    assert isinstance(error, AuthenticationError)
    assert words in str(error)
    assert internet.requests == ()


def test_a_providers_own_key_goes_before_the_router(caller: Caller, internet: FakeInternet) -> None:
    caller.settings = {"provider_keys": {"fal-ai": KEYS["fal-ai"]}}
    caller.generate(text_request(T2V_MODEL)).made()
    assert {request.host for request in internet.requests if request.stage == "submit"} == {"queue.fal.run"}


def test_capabilities_tell_what_the_first_provider_can_do(caller: Caller) -> None:
    found = described(caller, T2V_MODEL)
    assert (found.model, found.runs_on, found.tasks) == (T2V_MODEL, "fal-ai", {Task.TEXT_TO_VIDEO})
    assert {"prompt", "seed", "duration", "fps", "width", "height"} <= found.parameters
    assert found.parameters.isdisjoint({"task", "model", "fallback", "codec", "preset", "image"})
    assert found.frame_rule is not None
    assert found.frame_rule.at_least(50) == 53
    assert [(offer.provider, offer.status, offer.why_not) for offer in found.offers][:2] == [
        ("fal-ai", "live", ""),
        ("wavespeed", "live", ""),
    ]
    named = described(caller, f"hf:{T2V_MODEL}:wavespeed")
    assert (named.runs_on, named.native_fps) == ("wavespeed", 16)
    assert "image" in described(caller, I2V_MODEL).parameters


def test_capabilities_say_why_an_offer_is_of_no_use(caller: Caller, internet: FakeInternet) -> None:
    internet.publish(
        MODEL,
        {
            "nscale": listed(),
            "novita": listed("image-to-video"),
            "replicate": listed("text-to-image"),
            "together": listed(status="error"),
            "fal-ai": listed(),
        },
    )
    assert [(offer.provider, offer.why_not) for offer in described(caller, MODEL).offers] == [
        ("nscale", "this version does not speak to it"),
        ("novita", "it takes no requests for image-to-video"),
        ("replicate", "its task is text-to-image"),
        ("fal-ai", ""),
        ("together", "its status at the Hub is error"),
    ]


def test_capabilities_fail_as_making_does(caller: Caller, internet: FakeInternet) -> None:
    internet.publish(MODEL, {"fal-ai": listed("text-to-image")})
    with pytest.raises(ModelUnsupportedError, match="serves it for text-to-image"):
        described(caller, MODEL)
    with pytest.raises(ModelNotFoundError):
        described(caller, "org/missing")


@pytest.mark.parametrize("reference", ["local:org/name", "embedded"])
def test_a_model_of_this_machine_is_not_ours(caller: Caller, internet: FakeInternet, reference: str) -> None:
    with pytest.raises(ModelUnsupportedError):
        described(caller, reference)
    assert isinstance(caller.generate(text_request(reference)).failed(), ModelUnsupportedError)
    assert internet.requests == ()


def test_secrets_are_in_no_repr(caller: Caller) -> None:
    from cinelet.backends.huggingface.access import Access, Keyring
    from cinelet.backends.huggingface.endpoint import Endpoint
    from cinelet.backends.huggingface.providers import PROVIDERS

    keyring = Keyring(token=HF_TOKEN, provider_keys=KEYS, bill_to=None)
    backend = caller.backend(provider_keys=KEYS)
    shown = repr((keyring, backend, vars(backend), Endpoint("https://x.example", HF_TOKEN, KEYS)))
    shown += repr([keyring.access(provider) for provider in PROVIDERS.values()])
    shown += repr(Access(PROVIDERS["fal-ai"], HF_TOKEN, routed=True))
    assert not any(secret in shown for secret in (HF_TOKEN, *KEYS.values()))
