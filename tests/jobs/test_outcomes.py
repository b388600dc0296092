"""How attempts at models end is written with the end of their generation, and what is learned of the models with it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from cinelet.clock import SystemClock
from cinelet.domain.errors import (
    CineletError,
    CircuitOpenError,
    GenerationCancelledError,
    HuggingFaceAPIError,
    ProcessingError,
    ValidationError,
)
from cinelet.domain.model import ModelReference
from cinelet.domain.result import Attempt
from cinelet.jobs.errors import ClaimLostError
from cinelet.jobs.outcomes import Outcome, Recorder, Tried, forget_outcomes
from cinelet.resilience import FallbackBackend
from cinelet.resilience.attempts import failed
from cinelet.resilience.performance import Memory, Performance, Trial
from cinelet.resilience.prices import PriceTable
from cinelet.testing import FakeBackend
from tests.jobs.shop import Shop

MODEL, OTHER = "hf:org/name:fal-ai", "hf:org/other:replicate"
REQUEST = {"task": "text-to-video", "prompt": "a gull \0", "duration": 2}
MEMORY = Memory(half_life_seconds=3600, outcomes=20)
WORKED = Outcome(MODEL, "fal-ai", succeeded=True, code=None, seconds=8.0, video_seconds=2.0)
BROKE = Outcome(OTHER, "replicate", succeeded=False, code="model_host_failed", seconds=3.0)


async def itself(model, _task):
    return [model]


def chain(**options):
    return FallbackBackend(FakeBackend(**options), expand=itself, fallbacks={}, clock=SystemClock())


async def rows(database, statement):
    async with database.connection() as connection:
        return await (await connection.execute(statement)).fetchall()


async def end(ledger, *outcomes, complete=True):
    made = (await ledger.insert(REQUEST, owner="me", requested_model="auto")).generation
    claim = (await ledger.claim(made.id, worker="w")).id, 1
    tried = Tried([{"model": one.model} for one in outcomes], outcomes, "text-to-video", MEMORY)
    if complete:
        await ledger.complete(*claim, model=MODEL, result={}, tried=tried)
    else:
        await ledger.fail(*claim, error={"code": "all_models_failed"}, tried=tried)
    return await ledger.get(made.id)


def test_each_attempt_is_an_outcome_with_its_generations_end(with_ledger):
    async def work(ledger, database):
        done = await end(ledger, BROKE, WORKED)
        return done, await rows(
            database,
            "SELECT generation_id, owner, requested_model, model, provider, task, succeeded, code, seconds,"
            " video_seconds, queue_seconds BETWEEN 0 AND 10 FROM outcomes ORDER BY id",
        )

    done, found = with_ledger(work)
    common = (done.id, "me", "auto")
    assert found == [
        (*common, OTHER, "replicate", "text-to-video", False, "model_host_failed", 3.0, None, True),
        (*common, MODEL, "fal-ai", "text-to-video", True, None, 8.0, 2.0, None),
    ]
    assert [attempt["model"] for attempt in done.attempts] == [OTHER, MODEL]


def test_who_has_lost_the_claim_tells_nothing(with_ledger):
    async def work(ledger, database):
        made = (await ledger.insert(REQUEST, owner="me", requested_model=MODEL)).generation
        await ledger.claim(made.id, worker="w")
        with pytest.raises(ClaimLostError):
            await ledger.complete(made.id, 7, model=MODEL, result={}, tried=Tried([], [WORKED], "text-to-video"))
        return await rows(database, "SELECT id FROM outcomes"), await rows(database, "SELECT model FROM performance")

    assert with_ledger(work) == ([], [])


def test_the_database_learns_as_the_arithmetic_does(with_ledger):
    steps = [
        (WORKED, 0.0),
        (replace(WORKED, seconds=20.0), 1800.0),
        (replace(BROKE, model=MODEL), 10.0),
        (replace(WORKED, seconds=1.0, video_seconds=10.0), 86_400.0),
        (replace(BROKE, model=MODEL, seconds=90.0), 0.0),
        (replace(BROKE, model=MODEL, seconds=1.0), 3600.0),
    ]

    async def work(ledger, database):
        found = []
        for outcome, later in steps:
            async with database.connection() as connection:
                await connection.execute(
                    "UPDATE performance SET updated_at = updated_at - make_interval(secs => %s)", [later]
                )
            await end(ledger, outcome)
            found += await rows(
                database,
                "SELECT successes, failures, log_rate, log_variance, failed_seconds, samples FROM performance",
            )
        return found

    known, now, expected = Performance(), 0.0, []
    for outcome, later in steps:
        now += later
        trial = Trial(bool(outcome.succeeded), outcome.seconds, outcome.video_seconds or 1.0)
        known = known.after(trial, now=now, memory=MEMORY)
        expected.append(
            (known.successes, known.failures, known.log_rate, known.log_variance, known.failed_seconds, known.samples)
        )
    assert [pytest.approx(row, rel=1e-2, abs=1e-6) for row in expected] == with_ledger(work)


def test_a_model_that_a_host_took_at_the_second_time_has_succeeded_and_took_longer():
    refused = replace(BROKE, model=MODEL, code="rate_limited", seconds=1.0)
    assert Tried(outcomes=[refused, WORKED], task="text-to-video").trials() == {MODEL: Trial(True, 9.0, 2.0)}


@pytest.mark.parametrize(
    "error",
    [
        GenerationCancelledError("stopped"),
        ValidationError("no such size"),
        CircuitOpenError("left alone"),
    ],
)
def test_what_says_nothing_about_the_model_is_told_and_teaches_nothing(error: CineletError, with_ledger):
    tried = Recorder().failed(REQUEST, [failed(ModelReference.parse(MODEL), error, seconds=1.0)], PriceTable())

    async def work(ledger, database):
        await end(ledger, *tried.outcomes, complete=False)
        return await rows(database, "SELECT succeeded, code FROM outcomes"), await rows(
            database, "SELECT model FROM performance"
        )

    assert with_ledger(work) == ([(None, error.code)], [])


@pytest.mark.parametrize("jump", ["+ interval '10 years'", "- interval '10 years'"])
def test_a_clock_that_jumps_neither_multiplies_evidence_nor_stops_learning(jump, with_ledger):
    async def work(ledger, database):
        await end(ledger, WORKED)
        async with database.connection() as connection:
            await connection.execute(f"UPDATE performance SET updated_at = updated_at {jump}".encode())
        for _ in range(3):
            await end(ledger, WORKED)
        return await rows(
            database,
            "SELECT successes, samples, abs(extract(epoch FROM clock_timestamp() - updated_at)) < 60 FROM performance",
        )

    ((successes, samples, is_now),) = with_ledger(work)
    assert 2.5 < successes <= 4
    assert (samples, is_now) == (4, True)


def test_evidence_that_has_faded_to_nothing_is_no_error(with_ledger):
    async def work(ledger, database):
        await end(ledger, replace(WORKED, seconds=2.0), replace(BROKE, seconds=0.0))
        for _ in range(15):  # each keeps one part in 10**30, and the smallest number has 308 zeros
            async with database.connection() as connection:
                await connection.execute("UPDATE performance SET updated_at = updated_at - interval '10 years'")
            await end(ledger, replace(WORKED, seconds=2.0), replace(WORKED, model=OTHER, seconds=2.0))
        return await rows(database, "SELECT model, successes, failures, log_variance FROM performance ORDER BY model")

    assert with_ledger(work) == [(MODEL, 1.0, 0.0, 0.0), (OTHER, 1.0, 0.0, 0.0)]


def test_generations_that_end_at_once_wait_for_each_other_in_one_order(with_ledger):
    async def work(ledger, database):
        both = [replace(WORKED, model=MODEL), replace(WORKED, model=OTHER)]
        await asyncio.gather(*(end(ledger, *both[:: (1, -1)[number % 2]]) for number in range(40)))
        return await rows(database, "SELECT samples FROM performance")

    assert with_ledger(work) == [(40,), (40,)]


def test_a_month_is_kept_and_forgotten_in_portions(with_ledger, monkeypatch):
    monkeypatch.setattr("cinelet.jobs.outcomes.FORGOTTEN_AT_ONCE", 2)

    async def work(ledger, database):
        for number in range(6):
            await end(ledger, replace(WORKED, model=f"fake:{number}"))
        async with database.connection() as connection:
            await connection.execute("UPDATE outcomes SET at = at - interval '31 days' WHERE model < 'fake:5'")
            await connection.execute("UPDATE performance SET updated_at = updated_at - interval '31 days'")
        forgotten = await forget_outcomes(database)
        return (
            forgotten,
            await rows(database, "SELECT model FROM outcomes"),
            await rows(database, "SELECT model FROM performance"),
        )

    assert with_ledger(work) == (11, [("fake:5",)], [])


def test_what_an_attempt_has_cost_is_told_where_it_is_known():
    prices = PriceTable.parse('currency = "EUR"\n[local]\nper_compute_second = 0.5')
    broken = ProcessingError("no", "decoding")
    attempts = [failed(ModelReference.parse(model), broken, seconds=4.0) for model in ("local:org/name", MODEL)]
    tried = Recorder().failed(REQUEST, attempts, prices)
    assert [(one.cost, one.currency) for one in tried.outcomes] == [(2.0, "EUR"), (None, None)]
    assert [attempt["cost"] for attempt in tried.attempts] == [2.0, None]


def test_what_a_plugin_calls_its_models_loses_no_video():
    tried = Recorder().failed(REQUEST, [Attempt("\0 \ud800", 1.0, error={"code": "its\0own"})], PriceTable())
    assert [(one.model, one.code) for one in tried.outcomes] == [(" ?", "itsown")]


def test_a_key_in_an_address_is_told_to_nobody():
    model = ModelReference.parse("https://host.example/run?key=secret")
    attempt = failed(model, ProcessingError("no", "decoding"), seconds=1.0)
    tried = Recorder().failed(REQUEST, [attempt], PriceTable())
    assert [(one.model, one.provider) for one in tried.outcomes] == [("https://host.example/run", "host.example")]


def test_a_worker_tells_how_its_attempts_ended_and_nothing_of_what_was_cached(with_shop):
    async def work(shop: Shop):
        async with shop.working():
            for _ in range(2):
                await shop.ended(await shop.submit(seed=5))
        return await rows(shop.jobs.database, "SELECT model, task, succeeded, video_seconds FROM outcomes")

    (found,) = with_shop(work, make_backend=chain, cache=True)
    assert found == ("hf:org/model:fal-ai", "text-to-video", True, 1.0)


def test_a_file_that_is_no_video_is_a_failure_of_its_model(with_shop):
    class Liar(FakeBackend):
        async def generate(self, request, context):
            video = await super().generate(request, context)
            video.path.write_bytes(b"<html>")
            return video

    async def work(shop: Shop):
        async with shop.working():
            await shop.ended(await shop.submit())
        return await rows(shop.jobs.database, "SELECT model, succeeded, code FROM outcomes")

    backend = FallbackBackend(Liar(), expand=itself, fallbacks={}, clock=SystemClock())
    found = with_shop(work, make_backend=lambda: backend)
    assert found == [("hf:org/model:fal-ai", False, "processing_failed")]


def test_a_worker_tells_what_has_failed(with_shop):
    error = HuggingFaceAPIError("it refused", status=500, provider="fal-ai")

    async def work(shop: Shop):
        async with shop.working():
            await shop.ended(await shop.submit())
        return await rows(shop.jobs.database, "SELECT model, succeeded, code FROM outcomes")

    found = with_shop(work, make_backend=lambda: chain(error=error))
    assert found == [("hf:org/model:fal-ai", False, "model_host_failed")]
