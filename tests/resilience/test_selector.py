"""Which models are tried: found, sifted, ordered, explained, and refused before anything is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cinelet.clock import FakeClock
from cinelet.domain.backend import Capabilities, GeneratedVideo
from cinelet.domain.errors import AuthenticationError, ModelNotFoundError, NoModelFitsError
from cinelet.domain.model import ModelReference
from cinelet.domain.request import Task, VideoRequest
from cinelet.domain.selection import Selection
from cinelet.resilience import FallbackBackend
from cinelet.resilience.knowledge import Book
from cinelet.resilience.performance import Memory
from tests.resilience.doubles import (
    UNAVAILABLE,
    Known,
    ScriptedBackend,
    as_named,
    context,
    performance,
    request,
    selector,
)

A, B, C = "hf:org/a:fal-ai", "hf:org/b:together", "local:org/c"
AUTO = {Task.TEXT_TO_VIDEO: [A, B, C]}
SPEEDS = {A: performance(seconds=60), B: performance(seconds=10), C: performance(seconds=30)}
PRICES = {A: 0.5, B: 2.0, C: None}


def known(models: dict[str, Any]) -> Known:
    found = Known()
    found.models = models
    return found


def cost(model: ModelReference, *, video_seconds: float, seconds: float) -> float | None:  # noqa: ARG001
    return PRICES[str(model)]


def select(asked: VideoRequest, *, backend: Any = None, queue: str | None = None, **parts: Any) -> Selection:
    given = {"auto_models": AUTO, "knowledge": known(SPEEDS), **parts}
    return asyncio.run(selector(backend or ScriptedBackend(), **given).select(asked, queue=queue))


def names(selection: Selection) -> list[str]:
    return [str(one.model) for one in selection.order]


def reasons(selection: Selection) -> dict[str, str]:
    return {str(one.model): one.reason for one in selection.left_out}


class Choosy(ScriptedBackend):
    """Says of each model what a test wrote down."""

    def __init__(self, **said: Any) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.said = {{"a": A, "b": B, "c": C}[name]: facts for name, facts in said.items()}

    async def capabilities(self, model: ModelReference) -> Capabilities:
        self.asked.append(str(model))
        facts = self.said.get(str(model), {})
        if isinstance(facts, BaseException):
            raise facts
        return Capabilities(
            **{"model": str(model), "tasks": frozenset(Task), "runs_on": "", "parameters": frozenset(), **facts}
        )


def test_auto_has_the_order_of_the_strategy() -> None:
    assert names(select(request("auto"))) == [A, B, C]
    assert names(select(request("auto", prefer="fastest"))) == [B, C, A]
    assert names(select(request("auto"), strategy="fastest")) == [B, C, A]
    assert names(select(request("auto", prefer="ordered"), strategy="fastest")) == [A, B, C]


def test_a_named_model_stays_first_and_what_may_stand_in_is_ordered() -> None:
    fallbacks = {Task.TEXT_TO_VIDEO: [A, B, C]}
    assert names(select(request(A, prefer="fastest"), fallbacks=fallbacks)) == [A, B, C]
    assert names(select(request(A, prefer="fastest", fallback=False), fallbacks=fallbacks)) == [A]
    assert names(select(request(C, prefer="fastest"), fallbacks=fallbacks)) == [C]


def test_the_providers_of_a_named_model_are_ordered_where_it_names_none() -> None:
    ways = ["hf:org/a:fal-ai", "hf:org/a:together"]

    async def providers(model: ModelReference, _task: Task) -> Sequence[ModelReference]:
        return [ModelReference.parse(way) for way in ways] if model.provider is None else [model]

    speeds = known({ways[0]: performance(seconds=60), ways[1]: performance(seconds=6)})
    found = select(request("hf:org/a", prefer="fastest"), expand=providers, knowledge=speeds)
    assert names(found) == ways[::-1]


def test_what_is_expected_is_told_with_what_it_is_from() -> None:
    first, *_ = select(request("auto", prefer="cheapest", duration=2), cost=cost).order
    assert first.model == ModelReference.parse(A)
    assert first.seconds is not None
    assert first.seconds == pytest.approx(120, rel=0.3)
    assert (first.low or 0) < first.seconds < (first.high or 0)
    assert (first.cost, first.samples, first.explored) == (0.5, 30, False)
    assert first.why.startswith("cheapest: ")
    assert "s expected, 99% succeed, costs 0.5, 30 outcomes" in first.why


def test_nothing_known_is_said_to_be_so() -> None:
    first, *_ = select(request("auto", prefer="fastest"), knowledge=Known()).order
    assert (first.seconds, first.success, first.samples) == (None, None, 0)
    assert first.why == "fastest: no outcome known"


def test_an_exploration_says_that_it_is_one() -> None:
    from cinelet.resilience.selection import Rules

    first, *_ = select(request("auto", prefer="fastest"), rules=Rules(probe_every=1)).order
    assert first.explored
    assert first.why.endswith("tried to know it better")


def test_an_open_circuit_goes_last_and_says_so() -> None:
    *_, last = select(
        request("auto", prefer="fastest"), rests_seconds=lambda model: 19.2 if str(model) == B else 0.0
    ).order
    assert str(last.model) == B
    assert last.why.endswith("left alone for 20 s after failures")


@pytest.mark.parametrize(
    ("facts", "values", "reason"),
    [
        ({"tasks": frozenset({Task.IMAGE_TO_VIDEO})}, {}, "it does no text-to-video"),
        ({"parameters": frozenset({"prompt"})}, {"guidance_scale": 3}, "it does not honour guidance_scale"),
        ({"parameters": frozenset({"prompt"})}, {"duration": 9}, "it does not honour duration"),
        ({"size_multiple": 32}, {"width": 100, "height": 64}, "it makes sides in steps of 32, not 100x64"),
        (ModelNotFoundError("nobody has it"), {}, "nobody has it"),
    ],
)
def test_what_cannot_do_it_is_left_out_with_the_reason(facts: Any, values: dict[str, Any], reason: str) -> None:
    found = select(request("auto", **values), backend=Choosy(b=facts))
    assert names(found) == [A, C]
    assert reasons(found) == {B: reason}


def test_what_everybody_would_adjust_leaves_nobody_out() -> None:
    facts = {"parameters": frozenset({"prompt"})}
    found = select(request("auto", guidance_scale=3), backend=Choosy(a=facts, b=facts, c=facts))
    assert (names(found), reasons(found)) == ([A, B, C], {})


@pytest.mark.parametrize("facts", [{"tasks": frozenset()}, UNAVAILABLE, {"parameters": frozenset()}])
def test_what_nobody_knows_is_no_reason(facts: Any) -> None:
    assert names(select(request("auto", guidance_scale=3, seed=4), backend=Choosy(b=facts))) == [A, B, C]


def test_what_a_model_can_do_is_asked_once_in_a_while() -> None:
    backend, clock = Choosy(), FakeClock()
    chooser = selector(backend, auto_models=AUTO, clock=clock)
    for later in (0.0, 1.0, 400.0):
        clock.advance(later)
        asyncio.run(chooser.select(request("auto")))
    assert backend.asked == [A, B, C] * 2


def test_who_could_not_be_asked_is_asked_again_soon_and_not_each_time() -> None:
    backend, clock = Choosy(a=UNAVAILABLE), FakeClock()
    chooser = selector(backend, auto_models={Task.TEXT_TO_VIDEO: [A]}, clock=clock)
    for later in (0.0, 1.0, 40.0):
        clock.advance(later)
        asyncio.run(chooser.select(request("auto")))
    assert backend.asked == [A, A]


def test_an_unknown_or_higher_price_than_allowed_is_left_out() -> None:
    found = select(request("auto", max_cost=1), cost=cost)
    assert names(found) == [A]
    assert reasons(found) == {
        B: "it is expected to cost 2, and max_cost is 1",
        C: "its price is unknown, and max_cost is given",
    }


def test_what_takes_too_long_is_left_out_and_what_nobody_knows_comes_last() -> None:
    speeds = known({B: performance(seconds=90), C: performance(seconds=5)})
    found = select(request("auto", max_seconds=60, duration=1), knowledge=speeds)
    assert names(found) == [C, A]
    assert list(reasons(found)) == [B]


def test_nothing_that_fits_is_one_error_that_names_each_reason() -> None:
    with pytest.raises(NoModelFitsError, match="nothing was sent") as caught:
        select(request("auto", max_cost=0.1), cost=cost, backend=Choosy(a=ModelNotFoundError("nobody has it")))
    assert caught.value.to_dict()["models"] == {
        A: "nobody has it",
        B: "it is expected to cost 2, and max_cost is 0.1",
        C: "its price is unknown, and max_cost is given",
    }
    with pytest.raises(NoModelFitsError, match="CINELET_AUTO_MODELS"):
        select(request("auto"), auto_models={})


def test_who_cannot_be_found_is_left_out_with_the_reason() -> None:
    async def expand(model: ModelReference, _task: Task) -> Sequence[ModelReference]:
        if str(model) == A:
            raise AuthenticationError("no token")
        return [model]

    found = select(request("auto"), expand=expand)
    assert (names(found), reasons(found)) == ([B, C], {A: "no token"})


@pytest.mark.parametrize("error", [AuthenticationError("no token"), ModelNotFoundError("nobody has it")])
def test_who_names_a_model_is_told_what_is_wrong_with_it(error: Exception, tmp_path: Path) -> None:
    async def expand(model: ModelReference, _task: Task) -> Sequence[ModelReference]:
        if str(model) == "hf:org/named":
            raise error
        return [model]

    backend = ScriptedBackend()
    chooser = selector(backend, expand=expand, strategy="fastest")
    policy = FallbackBackend(backend, expand=expand, fallbacks={}, clock=FakeClock(), selector=chooser)
    with pytest.raises(type(error)):
        asyncio.run(policy.generate(request("hf:org/named"), context(tmp_path)))
    assert backend.calls == []


def test_a_worker_prefers_what_its_own_queue_runs() -> None:
    assert names(select(request("auto", prefer="fastest"), queue="local")) == [C, B, A]
    assert names(select(request("auto", prefer="fastest"), queue="remote")) == [B, A, C]


def test_auto_is_no_choice_of_its_own() -> None:
    assert names(select(request("auto"), auto_models={Task.TEXT_TO_VIDEO: ["auto", A]})) == [A]


def chain(backend: ScriptedBackend, **parts: Any) -> FallbackBackend:
    chooser = selector(backend, **{"auto_models": AUTO, "knowledge": known(SPEEDS), **parts})
    return FallbackBackend(backend, expand=as_named, fallbacks={}, clock=FakeClock(), selector=chooser)


def generate(
    backend: ScriptedBackend, asked: VideoRequest, folder: Path, *, handle: Any = None, **parts: Any
) -> GeneratedVideo:
    return asyncio.run(chain(backend, **parts).generate(asked, context(folder, handle=handle)))


def test_the_chain_goes_by_the_choice_and_tells_it(tmp_path: Path) -> None:
    backend = ScriptedBackend(script={B: UNAVAILABLE})
    video = generate(backend, request("auto", prefer="fastest"), tmp_path)
    assert backend.calls == [B, C]
    assert [str(attempt.why).partition(":")[0] for attempt in video.attempts] == ["fastest", "fastest"]
    (change,) = video.adjustments
    assert (change.parameter, change.requested, change.applied) == ("model", "auto", C)
    assert change.reason.startswith(f"{B} failed (The host is overloaded); fastest: ")
    assert change.reason.endswith(f"then {C}, {A}")


def test_nothing_is_sent_where_nothing_fits(tmp_path: Path) -> None:
    backend = ScriptedBackend()
    with pytest.raises(NoModelFitsError):
        generate(backend, request("auto", max_cost=0.01), tmp_path)
    assert backend.calls == []


@pytest.mark.parametrize("values", [{}, {"max_cost": 0.01}], ids=["still fits", "fits no more"])
def test_a_saved_handle_goes_on_with_its_own_model_whatever_would_be_chosen_now(
    values: dict[str, Any], tmp_path: Path
) -> None:
    backend = ScriptedBackend()
    video = generate(backend, request("auto", prefer="fastest", **values), tmp_path, handle={"model": A, "id": "1"})
    assert backend.calls == [A]
    assert video.attempts[0].why == "goes on with the job that was begun there"


def test_a_resumed_job_that_fails_is_followed_by_the_others_once(tmp_path: Path) -> None:
    backend = ScriptedBackend(script={A: UNAVAILABLE})
    generate(backend, request("auto", prefer="fastest"), tmp_path, handle={"model": A, "id": "1"})
    assert backend.calls == [A, B]


def test_a_named_model_that_is_left_out_is_reported(tmp_path: Path) -> None:
    parts = {"cost": cost, "fallbacks": {Task.TEXT_TO_VIDEO: [A]}}
    video = generate(ScriptedBackend(), request(B, max_cost=1), tmp_path, **parts)
    (change,) = video.adjustments
    assert change.reason == f"{B} was left out, so {A} was used: it is expected to cost 2, and max_cost is 1"


def test_a_request_without_a_choice_asks_nobody_beforehand(tmp_path: Path) -> None:
    backend = Choosy()
    video = generate(backend, request(A), tmp_path)
    assert backend.asked == []
    assert video.attempts[0].why is None


def test_a_library_learns_from_what_it_does(tmp_path: Path) -> None:
    book = Book(FakeClock(), Memory())
    backend = ScriptedBackend(script={A: UNAVAILABLE})
    policy = chain(backend, knowledge=book)
    asyncio.run(policy.generate(request("auto"), context(tmp_path)))
    found = asyncio.run(book.known([A, B, C], Task.TEXT_TO_VIDEO))
    assert {model: (page.successes, page.failures) for model, page in found.items()} == {A: (0, 1), B: (1, 0)}
    selection = asyncio.run(policy.select(request("auto", prefer="most_reliable")))
    assert names(selection)[0] != A


def test_auto_can_what_its_models_can() -> None:
    backend = Choosy(a={"parameters": frozenset({"seed"})}, b={"parameters": frozenset({"fps"})}, c=UNAVAILABLE)
    found = asyncio.run(chain(backend).capabilities(ModelReference.parse("auto")))
    assert (found.model, found.tasks) == ("auto", {Task.TEXT_TO_VIDEO})
    assert found.parameters == {"seed", "fps"}
