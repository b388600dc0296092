"""The Hub's mapping of a model: in its order, as the caller's own token sees it, fetched once."""

from __future__ import annotations

import asyncio
import gc
import math
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx2
import pytest

from cinelet.backends.huggingface import mapping
from cinelet.backends.huggingface.mapping import FRESH_SECONDS, Catalog, Listing
from cinelet.clock import FakeClock
from cinelet.domain.backend import Context
from cinelet.domain.errors import (
    AuthenticationError,
    CineletError,
    GenerationCancelledError,
    HuggingFaceAPIError,
    ModelNotFoundError,
    RateLimitError,
)
from cinelet.transport.client import Timeouts, make_client
from tests.backends.huggingface.caller import Caller, video_request
from tests.fake_providers import HF_TOKEN, OTHER_HF_TOKEN, T2V_MODEL, FakeInternet

Answer = TypeVar("Answer")
LISTED = {"status": "live", "providerId": "own", "task": "text-to-video"}


def ask(
    transport: httpx2.AsyncBaseTransport,
    work: Callable[[Catalog], Awaitable[Answer]],
    *,
    token: str | None = HF_TOKEN,
    clock: FakeClock | None = None,
    endpoint: str | None = None,
) -> Answer:
    async def run() -> Answer:
        async with make_client(timeouts=Timeouts(2, 2, 2), transport=transport) as client:
            catalog = Catalog(client, endpoint=endpoint, token=token, clock=clock or FakeClock(), random=lambda: 0.5)
            try:
                return await work(catalog)
            finally:
                await catalog.aclose()

    return asyncio.run(run())


def listings(internet: FakeInternet, model: str = T2V_MODEL, **settings: Any) -> tuple[Listing, ...]:
    return ask(internet.transport(), lambda catalog: catalog.listings(model), **settings)


def answering(*replies: httpx2.Response) -> tuple[httpx2.MockTransport, list[httpx2.Request]]:
    """Return a transport that answers so, in turn, the last one again and again; and what it was asked."""
    left, asked = list(replies), []

    def handle(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return left.pop(0) if len(left) > 1 else left[0]

    return httpx2.MockTransport(handle), asked


def refused(internet: FakeInternet, expected: type[CineletError], model: str = T2V_MODEL, **settings: Any) -> str:
    with pytest.raises(expected) as caught:
        listings(internet, model, **settings)
    assert type(caught.value) is expected
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_whole_mapping_comes_in_its_order(internet: FakeInternet) -> None:
    internet.publish("org/m", {"novita": LISTED, "fal-ai": {**LISTED, "status": "staging"}, "nscale": LISTED})
    assert listings(internet, "org/m") == (
        Listing("novita", "text-to-video", "live", "own"),
        Listing("fal-ai", "text-to-video", "staging", "own"),
        Listing("nscale", "text-to-video", "live", "own"),
    )
    (request,) = internet.requests
    assert (request.path, request.query) == ("/api/models/org/m", "expand=inferenceProviderMapping")


def test_a_mapping_as_a_list_is_read_as_well() -> None:
    entries = [
        {"provider": "fal-ai", **LISTED, "adapterWeightsPath": "x.safetensors"},
        {"provider": "novita", **LISTED},
    ]
    transport, _ = answering(httpx2.Response(200, json={"id": "org/m", "inferenceProviderMapping": entries}))
    found = ask(transport, lambda catalog: catalog.listings("org/m"))
    assert [(item.provider, item.adapter_weights_path) for item in found] == [
        ("fal-ai", "x.safetensors"),
        ("novita", None),
    ]


@pytest.mark.parametrize("mapping", [{}, [], None, {"fal-ai": None}, {"fal-ai": {"task": 7}}, [1], [{"task": "x"}]])
def test_what_is_no_entry_is_left_out(mapping: Any) -> None:
    transport, _ = answering(httpx2.Response(200, json={"inferenceProviderMapping": mapping}))
    assert ask(transport, lambda catalog: catalog.listings("org/m")) == ()


def test_the_callers_own_token_is_used_and_no_other(internet: FakeInternet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", OTHER_HF_TOKEN)
    internet.publish("org/private", {"fal-ai": LISTED}, private_to=HF_TOKEN)
    assert len(listings(internet, "org/private")) == 1
    refused(internet, ModelNotFoundError, "org/private", token=OTHER_HF_TOKEN)
    assert "set HF_TOKEN" not in refused(internet, ModelNotFoundError, "org/private", token=None)
    assert [request.authorization for request in internet.requests] == [
        f"Bearer {HF_TOKEN}",
        f"Bearer {OTHER_HF_TOKEN}",
        "",
    ]


def test_an_unknown_model_is_not_found(internet: FakeInternet) -> None:
    assert "check the spelling" in refused(internet, ModelNotFoundError, "org/missing")
    assert "HF_TOKEN" in refused(internet, ModelNotFoundError, "org/missing", token=None)
    assert len(internet.requests) == 2


def test_a_wrong_token_is_not_authenticated(internet: FakeInternet) -> None:
    assert "HF_TOKEN" in refused(internet, AuthenticationError, token="hf_wrong")
    assert len(internet.requests) == 1


def test_a_gated_model_says_where_its_terms_are() -> None:
    transport, _ = answering(httpx2.Response(403, headers={"x-error-code": "GatedRepo"}))
    with pytest.raises(AuthenticationError, match=r"accept its terms at https://huggingface\.co/org/m"):
        ask(transport, lambda catalog: catalog.listings("org/m"))


def test_a_model_that_was_renamed_is_found_under_its_new_name() -> None:
    transport, asked = answering(
        httpx2.Response(307, headers={"location": "/api/models/new/m?expand=inferenceProviderMapping"}),
        httpx2.Response(200, json={"inferenceProviderMapping": {"fal-ai": LISTED}}),
    )
    assert len(ask(transport, lambda catalog: catalog.listings("old/m"))) == 1
    assert str(asked[1].url) == "https://huggingface.co/api/models/new/m?expand=inferenceProviderMapping"
    assert asked[1].headers["authorization"] == f"Bearer {HF_TOKEN}"


@pytest.mark.parametrize("elsewhere", ["https://attacker.example/x", "http://huggingface.co/x", "//attacker.example/x"])
def test_a_redirect_to_another_host_is_not_followed(elsewhere: str) -> None:
    transport, asked = answering(httpx2.Response(302, headers={"location": elsewhere}))
    with pytest.raises(CineletError):
        ask(transport, lambda catalog: catalog.listings("org/m"))
    assert len(asked) == 1


def test_redirects_have_an_end() -> None:
    transport, asked = answering(httpx2.Response(307, headers={"location": "/api/models/a/b"}))
    with pytest.raises(CineletError):
        ask(transport, lambda catalog: catalog.listings("org/m"))
    assert len(asked) == 4


def test_a_mirror_is_asked_instead_of_the_hub() -> None:
    transport, asked = answering(httpx2.Response(200, json={"inferenceProviderMapping": {}}))
    ask(transport, lambda catalog: catalog.listings("org/m"), endpoint="https://mirror.example/hf/")
    assert str(asked[0].url) == "https://mirror.example/hf/api/models/org/m?expand=inferenceProviderMapping"


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 503}, {"kind": "reset"}, {"html": True}], ids=str)
def test_a_hub_that_stumbles_is_asked_again(internet: FakeInternet, fault: dict[str, Any]) -> None:
    internet.fail("mapping", **fault, times=2)
    clock = FakeClock()
    assert len(listings(internet, clock=clock)) == 5
    assert clock.pauses_seconds == [0.5, 1.0]


def test_a_hub_that_is_down_is_asked_three_times(internet: FakeInternet) -> None:
    internet.fail("mapping", status=500, times=math.inf)
    assert "status 500" in refused(internet, HuggingFaceAPIError)
    assert len(internet.requests) == 3
    internet.wire.addresses.pop("huggingface.co")
    assert "cannot be reached" in refused(internet, HuggingFaceAPIError)


def test_the_hubs_wish_to_wait_is_obeyed_up_to_a_minute(internet: FakeInternet) -> None:
    clock = FakeClock()
    internet.fail("mapping", status=429, headers={"ratelimit": '"api";r=0;t=55'})
    assert len(listings(internet, clock=clock)) == 5
    assert clock.pauses_seconds == [55]
    internet.fail("mapping", status=429, headers={"retry-after": "61"})
    refused(internet, RateLimitError, clock=clock)
    assert clock.pauses_seconds == [55]


def test_a_mapping_is_kept_for_ten_minutes(internet: FakeInternet) -> None:
    clock = FakeClock()

    async def three_times(catalog: Catalog) -> None:
        await catalog.listings(T2V_MODEL)
        clock.advance(FRESH_SECONDS - 1)
        await catalog.listings(T2V_MODEL)
        assert len(internet.requests) == 1
        clock.advance(1)
        await catalog.listings(T2V_MODEL)

    ask(internet.transport(), three_times, clock=clock)
    assert len(internet.requests) == 2


def test_an_empty_mapping_is_kept_and_an_error_is_not(internet: FakeInternet) -> None:
    internet.publish("org/empty", {})

    async def work(catalog: Catalog) -> None:
        assert await catalog.listings("org/empty") == ()
        assert await catalog.listings("org/empty") == ()
        for _ in range(2):
            with pytest.raises(ModelNotFoundError):
                await catalog.listings("org/missing")

    ask(internet.transport(), work)
    assert len(internet.requests) == 3


def test_the_number_of_kept_mappings_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "MAX_MODELS", 3)
    transport, asked = answering(httpx2.Response(200, json={"inferenceProviderMapping": {}}))

    async def many(catalog: Catalog) -> None:
        for number in range(4):
            await catalog.listings(f"org/m{number}")
        await catalog.listings("org/m1")
        assert len(asked) == 4
        await catalog.listings("org/m0")

    ask(transport, many)
    assert len(asked) == 5


def test_a_hundred_at_once_are_one_request(internet: FakeInternet) -> None:
    async def together(catalog: Catalog) -> None:
        answers = await asyncio.gather(*(catalog.listings(T2V_MODEL) for _ in range(100)))
        assert len({id(answer) for answer in answers}) == 1

    ask(internet.transport(), together)
    assert len(internet.requests) == 1


def test_who_leaves_does_not_take_the_answer_from_the_others(internet: FakeInternet) -> None:
    internet.fail("mapping", seconds=0.1)

    async def one_leaves(catalog: Catalog) -> None:
        leaving = asyncio.ensure_future(catalog.listings(T2V_MODEL))
        staying = asyncio.ensure_future(catalog.listings(T2V_MODEL))
        await asyncio.sleep(0)
        leaving.cancel()
        assert len(await staying) == 5
        assert leaving.cancelled()

    ask(internet.transport(), one_leaves)
    assert len(internet.requests) == 1


def test_an_error_that_nobody_waits_for_is_not_complained_about(internet: FakeInternet) -> None:
    internet.fail("mapping", status=404, seconds=0.05)
    complaints: list[Any] = []

    async def all_leave(catalog: Catalog) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, facts: complaints.append(facts))
        leaving = asyncio.ensure_future(catalog.listings(T2V_MODEL))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait(catalog._underway.values())
        await asyncio.sleep(0)
        assert catalog._underway == {}
        gc.collect()

    ask(internet.transport(), all_leave)
    assert complaints == []


def test_a_cancelled_context_ends_the_wait(caller: Caller, internet: FakeInternet) -> None:
    internet.fail("mapping", "hang")
    contexts: list[Context] = []
    internet.on_request(lambda _received: contexts[0].cancel())
    outcome = caller.generate(video_request("fal-ai"), on_context=contexts.append)
    assert isinstance(outcome.failed(), GenerationCancelledError)
    assert len(internet.requests) == 1
