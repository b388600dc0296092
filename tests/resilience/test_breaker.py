from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cinelet.clock import FakeClock
from cinelet.domain.backend import Context
from cinelet.domain.errors import (
    AuthenticationError,
    CapacityError,
    CineletError,
    CircuitOpenError,
    DeadlineExceededError,
    GenerationCancelledError,
    HuggingFaceAPIError,
    ModelNotFoundError,
    ModelUnsupportedError,
    PaymentRequiredError,
    ProcessingError,
    RateLimitError,
    SubmissionUnknownError,
    ValidationError,
)
from cinelet.domain.model import ModelReference
from cinelet.domain.request import VideoRequest
from cinelet.resilience import BreakerBackend, CircuitRules, CircuitState, circuit_of
from cinelet.resilience import breaker as breaker_module
from tests.resilience.doubles import UNAVAILABLE, Outcome, ScriptedBackend, context, request

FIRST, SECOND = "hf:org/first:fal-ai", "hf:org/second:fal-ai"


class Breaker:
    """A breaker around a script, and a clock that the test moves."""

    def __init__(self, folder: Path, backend: ScriptedBackend, **parts: Any) -> None:
        self.folder = folder
        self.backend = backend
        self.clock = FakeClock()
        self.policy = BreakerBackend(backend, key=circuit_of, clock=self.clock, **parts)

    def ask(self, model: str = FIRST, **surroundings: Any) -> str:
        """Return the code of the error that a call ends with, or "made"."""
        try:
            asyncio.run(self.policy.generate(request(model), context(self.folder, self.clock, **surroundings)))
        except (CineletError, RuntimeError) as error:
            return getattr(error, "code", "unknown")
        return "made"

    def ask_often(self, times: int, model: str = FIRST) -> list[str]:
        return [self.ask(model) for _ in range(times)]


def opened(folder: Path, backend: ScriptedBackend | None = None) -> Breaker:
    breaker = Breaker(folder, backend or ScriptedBackend([UNAVAILABLE] * 5))
    breaker.ask_often(5)
    return breaker


def test_it_opens_after_five_failures_and_asks_no_more(tmp_path: Path) -> None:
    breaker = Breaker(tmp_path, ScriptedBackend(UNAVAILABLE))
    assert breaker.ask_often(7) == ["model_host_failed"] * 5 + ["circuit_open"] * 2
    assert len(breaker.backend.calls) == 5


def test_five_failures_in_more_than_thirty_seconds_do_not_open_it(tmp_path: Path) -> None:
    breaker = Breaker(tmp_path, ScriptedBackend(UNAVAILABLE))
    for _ in range(20):
        assert breaker.ask() == "model_host_failed"
        breaker.clock.advance(7.6)


def test_a_host_that_fails_now_and_then_is_not_down(tmp_path: Path) -> None:
    breaker = Breaker(tmp_path, ScriptedBackend([*[UNAVAILABLE] * 4, None] * 3))
    assert "circuit_open" not in breaker.ask_often(15)


def test_an_open_circuit_answers_within_fifty_milliseconds_and_says_when_to_come_back(tmp_path: Path) -> None:
    breaker = opened(tmp_path)
    breaker.clock.advance(4.5)
    began = time.perf_counter()
    assert breaker.ask_often(20) == ["circuit_open"] * 20
    assert (time.perf_counter() - began) / 20 < 0.05
    with pytest.raises(CircuitOpenError) as refused:
        asyncio.run(breaker.policy.generate(request(FIRST), context(tmp_path)))
    assert refused.value.retry_after == 25.5
    assert refused.value.provider == "fal-ai"
    assert refused.value.retryable
    assert "hf:org/first:fal-ai failed several times in a row" in str(refused.value)
    assert "try again in 26 s" in str(refused.value)


def test_another_model_of_the_same_provider_is_not_affected(tmp_path: Path) -> None:
    breaker = opened(tmp_path)
    assert (breaker.ask(SECOND), breaker.ask(FIRST)) == ("made", "circuit_open")


def test_it_closes_after_two_successful_probes(tmp_path: Path) -> None:
    breaker = opened(tmp_path)
    breaker.clock.advance(29.9)
    assert breaker.ask() == "circuit_open"
    breaker.clock.advance(0.2)
    assert breaker.ask() == "made"
    assert breaker.policy.states()[FIRST].state == "half_open"
    assert breaker.ask() == "made"
    assert breaker.policy.states() == {}


def test_one_probe_runs_at_a_time(tmp_path: Path) -> None:
    async def probe_meanwhile() -> list[str]:
        entered, leave = asyncio.Event(), asyncio.Event()

        async def wait(_: VideoRequest, __: Context) -> None:
            entered.set()
            await leave.wait()

        breaker.backend.always = wait
        probe = asyncio.ensure_future(breaker.policy.generate(request(FIRST), context(tmp_path)))
        await entered.wait()
        async with asyncio.timeout(10):  # a second probe would hang as well
            results = await asyncio.gather(
                *(breaker.policy.generate(request(FIRST), context(tmp_path)) for _ in range(10)), return_exceptions=True
            )
        leave.set()
        await probe
        return [type(result).__name__ for result in results]

    breaker = opened(tmp_path)
    breaker.clock.advance(30)
    assert asyncio.run(probe_meanwhile()) == ["CircuitOpenError"] * 10
    assert len(breaker.backend.calls) == 6


def test_a_failed_probe_opens_it_for_twice_as_long_up_to_five_minutes(tmp_path: Path) -> None:
    breaker = opened(tmp_path, ScriptedBackend(UNAVAILABLE))
    waits = []
    for _ in range(6):
        waits.append(breaker.policy.states()[FIRST].open_seconds)
        breaker.clock.advance(waits[-1])
        assert breaker.ask() == "model_host_failed"
    assert waits == [30, 60, 120, 240, 300, 300]


def test_a_probe_that_is_cancelled_leaves_room_for_the_next(tmp_path: Path) -> None:
    backend = ScriptedBackend([*[UNAVAILABLE] * 5, GenerationCancelledError("stop"), RuntimeError("bug")])
    breaker = opened(tmp_path, backend)
    breaker.clock.advance(30)
    assert breaker.ask_often(4) == ["cancelled", "unknown", "made", "made"]


def test_a_probe_whose_task_is_cancelled_leaves_room_for_the_next(tmp_path: Path) -> None:
    async def cancel_the_probe() -> None:
        entered = asyncio.Event()

        async def hang(_: VideoRequest, __: Context) -> None:
            entered.set()
            await asyncio.Event().wait()

        breaker.backend.always = hang
        probe = asyncio.ensure_future(breaker.policy.generate(request(FIRST), context(tmp_path)))
        await entered.wait()
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        breaker.backend.always = None

    breaker = opened(tmp_path)
    breaker.clock.advance(30)
    asyncio.run(cancel_the_probe())
    assert breaker.ask() == "made"


@pytest.mark.parametrize(
    "error",
    [
        HuggingFaceAPIError("no connection"),
        HuggingFaceAPIError("down", status=408),
        HuggingFaceAPIError("down", status=500),
        HuggingFaceAPIError("failed minutes later", status=502, accepted=True),
        HuggingFaceAPIError("the job failed", accepted=True),
        SubmissionUnknownError("who knows", status=504),
        SubmissionUnknownError("no reply"),
    ],
    ids=lambda error: f"{error.code}-{error.status}-{error.accepted}",
)
def test_what_speaks_of_the_hosts_health_counts(error: CineletError, tmp_path: Path) -> None:
    breaker = Breaker(tmp_path, ScriptedBackend(error))
    assert breaker.ask_often(6) == [error.code] * 5 + ["circuit_open"]


@pytest.mark.parametrize(
    "error",
    [
        ValidationError("wrong"),
        AuthenticationError("no", status=401),
        AuthenticationError("no token"),
        PaymentRequiredError("no credit", status=402),
        ModelNotFoundError("none", status=404),
        RateLimitError("slow down", status=429),
        RateLimitError("the quota is used up"),
        HuggingFaceAPIError("the job was refused", status=422, accepted=True),
        ModelUnsupportedError("no", FIRST),
        CapacityError("no room"),
        ProcessingError("no video", "downloading"),
        DeadlineExceededError("the caller's was short"),
        GenerationCancelledError("stop"),
        RuntimeError("a bug"),
    ],
    ids=lambda error: f"{type(error).__name__}-{getattr(error, 'status', None)}",
)
def test_what_is_the_callers_fault_does_not_count(error: Exception, tmp_path: Path) -> None:
    breaker = Breaker(tmp_path, ScriptedBackend(error))
    assert "circuit_open" not in breaker.ask_often(12)
    assert breaker.policy.states() == {}


@pytest.mark.parametrize(("lasts_seconds", "is_opened"), [(600, True), (599.9, True), (5, False)])
def test_an_attempts_whole_deadline_counts_and_a_callers_shorter_one_does_not(
    lasts_seconds: float, is_opened: bool, tmp_path: Path
) -> None:
    async def until_the_deadline(_: VideoRequest, __: Context) -> None:
        breaker.clock.advance(lasts_seconds)
        raise DeadlineExceededError("The deadline is over")

    breaker = Breaker(
        tmp_path, ScriptedBackend(until_the_deadline), attempt_seconds=600, rules=CircuitRules(window_seconds=10_000)
    )
    assert (breaker.ask_often(6)[-1] == "circuit_open") is is_opened


def test_a_saved_job_is_asked_after_although_the_circuit_is_open(tmp_path: Path) -> None:
    breaker = opened(tmp_path)
    assert breaker.ask(handle={"model": FIRST, "id": "1"}) == "made"
    assert breaker.ask() == "circuit_open"


def test_jobs_in_doubt_after_a_restart_do_not_open_it(tmp_path: Path) -> None:
    breaker = Breaker(tmp_path, ScriptedBackend(SubmissionUnknownError("it was being sent")))
    for _ in range(8):
        assert breaker.ask(handle={"model": FIRST, "submitting": True}) == "submission_unknown"
    assert breaker.policy.states() == {}


@pytest.mark.parametrize("error", [None, UNAVAILABLE], ids=["made", "failed"])
def test_calls_that_began_before_it_opened_change_neither_it_nor_its_probe(
    error: CineletError | None, tmp_path: Path
) -> None:
    async def end_late() -> list[CircuitState]:
        leave_early, leave_late, leave_probe = asyncio.Event(), asyncio.Event(), asyncio.Event()

        def until(leave: asyncio.Event, then: CineletError | None) -> Outcome:
            async def wait(_: VideoRequest, __: Context) -> None:
                await leave.wait()
                if then is not None:
                    raise then

            return wait

        async def begin() -> asyncio.Future[Any]:
            call = asyncio.ensure_future(breaker.policy.generate(request(FIRST), context(tmp_path)))
            await asyncio.sleep(0)
            return call

        breaker.backend.always = [
            until(leave_early, error),
            until(leave_late, error),
            *[UNAVAILABLE] * 5,
            until(leave_probe, None),
        ]
        early, late = await begin(), await begin()
        for _ in range(5):
            await asyncio.gather(await begin(), return_exceptions=True)
        breaker.clock.advance(12)
        leave_early.set()
        await asyncio.gather(early, return_exceptions=True)
        states = [breaker.policy.states()[FIRST]]
        breaker.clock.advance(18)
        probe = await begin()
        leave_late.set()
        await asyncio.gather(late, return_exceptions=True)
        states.append(breaker.policy.states()[FIRST])
        with pytest.raises(CircuitOpenError):
            await (await begin())
        leave_probe.set()
        await probe
        return states

    breaker = Breaker(tmp_path, ScriptedBackend())
    assert asyncio.run(end_late()) == [CircuitState("open", 5, 18), CircuitState("half_open", 5, 0)]


def test_states_tell_what_a_metric_needs(tmp_path: Path) -> None:
    breaker = Breaker(tmp_path, ScriptedBackend(script={FIRST: UNAVAILABLE, SECOND: UNAVAILABLE}))
    breaker.ask_often(5, FIRST)
    breaker.ask_often(2, SECOND)
    breaker.clock.advance(10)
    assert breaker.policy.states() == {FIRST: CircuitState("open", 5, 20), SECOND: CircuitState("closed", 2, 0)}
    breaker.clock.advance(21)
    assert breaker.policy.states() == {FIRST: CircuitState("half_open", 5, 0), SECOND: CircuitState("closed", 0, 0)}


def test_models_on_this_machine_have_no_circuit(tmp_path: Path) -> None:
    breaker = Breaker(tmp_path, ScriptedBackend(UNAVAILABLE))
    assert breaker.ask_often(8, "local:org/name") == ["model_host_failed"] * 8


def test_only_so_many_circuits_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker_module, "MAX_KEYS", 3)
    breaker = Breaker(tmp_path, ScriptedBackend(UNAVAILABLE))
    breaker.ask_often(5)
    for number in range(9):
        breaker.ask(f"https://host-{number}.example/")
        assert breaker.ask() == "circuit_open"
    assert len(breaker.policy.states()) == 3


def test_calls_from_many_threads_are_all_counted(tmp_path: Path) -> None:
    breaker = Breaker(tmp_path, ScriptedBackend(UNAVAILABLE), rules=CircuitRules(failures=200))
    threads = [threading.Thread(target=breaker.ask_often, args=(25,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert breaker.policy.states()[FIRST] == CircuitState("open", 200, 30)


def test_everything_else_is_the_backends(tmp_path: Path) -> None:
    breaker = opened(tmp_path)

    async def ask_and_close() -> str:
        capabilities = await breaker.policy.capabilities(ModelReference.parse(FIRST))
        await breaker.policy.aclose()
        return capabilities.model

    assert asyncio.run(ask_and_close()) == FIRST
    assert breaker.backend.closed
