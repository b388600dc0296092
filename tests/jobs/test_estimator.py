"""The ledger knows how long videos took, and how much waits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cinelet.domain.condition import Condition, LoadedModel
from cinelet.jobs.estimate import NOTHING, Wanted
from cinelet.jobs.estimator import MAX_SAMPLES, Estimator
from cinelet.jobs.ledger import JobLedger
from cinelet.jobs.roster import KnownWorker, WorkerReport
from cinelet.jobs.states import State
from tests.jobs.shop import Shop
from tests.jobs.test_estimate import stored

MODEL = "local:org/model"


async def completed(
    ledger: JobLedger, *, model: str = MODEL, asked: str = "", prompt: str = "x", **values: Any
) -> None:
    request, result = stored(**values)
    inserted = await ledger.insert({**request, "prompt": prompt}, owner="ada", requested_model=asked or model)
    claimed = await ledger.claim(inserted.generation.id, worker="w")
    assert claimed is not None
    await ledger.complete(claimed.id, claimed.attempt, model=model, result={**result, "asked": {"prompt": prompt}})


def test_an_estimate_is_of_the_latest_videos_that_the_model_made(with_ledger):
    async def work(ledger, database):
        for _ in range(3):
            await completed(ledger, slower=100)
        for number in range(MAX_SAMPLES):
            await completed(ledger, prompt="a\0b" if number % 2 else "x")
        await completed(ledger, cache="hit", slower=100)
        await completed(ledger, model="embedded", slower=100)
        await ledger.insert({}, owner="ada", requested_model=MODEL)
        return await Estimator(database, []).estimate(MODEL, Wanted(duration=2))

    found = with_ledger(work)
    request, result = stored()
    assert found.seconds == pytest.approx(sum(result["timings"].values()), rel=0.01)
    assert (found.samples, found.basis) == (50, "50 videos of this model here")
    assert request["duration"] == 2


def test_of_a_model_that_nobody_has_used_nothing_is_known(with_ledger):
    async def work(ledger, database):
        await completed(ledger)
        return await Estimator(database, []).estimate("local:org/other", Wanted())

    assert with_ledger(work) == NOTHING


def test_auto_takes_what_it_took_whatever_it_became(with_ledger):
    async def work(ledger, database):
        await completed(ledger, model="local:org/one", asked="auto")
        await completed(ledger, model="local:org/two", asked="auto")
        await completed(ledger, model="local:org/one", slower=100)
        return await Estimator(database, []).estimate("auto", Wanted(duration=2))

    found = with_ledger(work)
    assert found.samples == 2
    assert found.seconds == pytest.approx(sum(stored()[1]["timings"].values()), rel=0.01)


def test_a_model_is_found_by_the_name_that_it_was_asked_for_by(with_ledger):
    async def work(ledger, database):
        await completed(ledger, model="hf:org/model:fal-ai", asked="hf:org/model")
        await completed(ledger, model="hf:org/fallback:fal-ai", asked="hf:org/model")
        return await Estimator(database, []).estimate("hf:org/model", Wanted())

    assert with_ledger(work).samples == 1


def test_a_result_that_cannot_be_read_is_no_sample(with_ledger):
    async def work(ledger, database):
        await completed(ledger, resolution="large", applied={})
        await completed(ledger, timings={"denoising": "long"})
        await completed(ledger)
        return await Estimator(database, []).estimate(MODEL, Wanted())

    assert with_ledger(work).samples == 1


def a_worker(queue: str, *, at_once: int = 1, models: Sequence[str] = ()) -> KnownWorker:
    loaded = tuple(LoadedModel(model, "cpu") for model in models)
    report = WorkerReport("host", 1, {queue: at_once}, 0, 0, 0.0, 0, Condition(models=loaded))
    return KnownWorker("host:1", datetime.now(UTC), report)


async def ask(ledger: JobLedger, **values: Any) -> str:
    given = {"requested_model": MODEL, "queue": "local", **values}
    return (await ledger.insert({"duration": 2}, owner="ada", **given)).generation.id


def test_it_is_known_when_a_video_begins_where_what_is_ahead_is_known(with_ledger):
    async def work(ledger, database):
        assert await Estimator(database, []).waiting("local") is None, "no worker runs"
        assert await Estimator(database, [a_worker("remote")]).waiting("local") is None
        estimator = Estimator(database, [a_worker("local")])
        assert await estimator.waiting("local") == 0
        await completed(ledger)
        taken = sum(stored()[1]["timings"].values())
        await ledger.claim(await ask(ledger), worker="w")
        assert await estimator.waiting("local") == pytest.approx(taken)
        for priority in (0, 5):
            await ask(ledger, priority=priority)
        assert await estimator.waiting("local") == pytest.approx(3 * taken)
        assert await estimator.waiting("local", priority=1) == pytest.approx(2 * taken), "only what goes first"
        two = Estimator(database, [a_worker("local"), a_worker("local"), a_worker("remote")])
        assert await two.waiting("local") == pytest.approx(3 * taken / 2)
        assert await Estimator(database, [a_worker("local", at_once=4)]).waiting("local") == 0
        assert await two.waiting("remote") == 0
        await ask(ledger, requested_model="embedded")
        assert await estimator.waiting("local") is None, "nothing is known of the other model"

    with_ledger(work)


def test_what_is_not_due_or_waits_for_another_keeps_nobody_waiting(with_ledger):
    async def work(ledger, database):
        await completed(ledger)
        await ask(ledger, cache_key="k")
        await ask(ledger, cache_key="k")
        await ask(ledger, not_before=datetime.now(UTC) + timedelta(hours=1))
        return await Estimator(database, [a_worker("local")]).waiting("local")

    assert with_ledger(work) == pytest.approx(sum(stored()[1]["timings"].values()))


def test_a_model_that_a_worker_has_loaded_need_not_be_loaded(with_ledger):
    async def work(ledger, database):
        await completed(ledger, loading=7)
        workers = {"nobody": [], "cold": [a_worker("local")], "warm": [a_worker("local", models=["org/model"])]}
        found = {
            name: await Estimator(database, known).estimate(MODEL, Wanted(duration=2))
            for name, known in workers.items()
        }
        return {name: one.seconds for name, one in found.items()}

    seconds = with_ledger(work)
    assert seconds["nobody"] == seconds["cold"] == pytest.approx(seconds["warm"] + 7)


def test_what_a_real_worker_made_is_a_sample(with_shop):
    async def work(shop: Shop):
        async with shop.working():
            made = await shop.ended(await shop.submit())
            assert made.state is State.COMPLETED
            began = time.monotonic()
            found = await Estimator(shop.jobs.database, []).estimate(made.requested_model, Wanted(duration=1, fps=4))
            return found, time.monotonic() - began

    found, seconds = with_shop(work)
    assert (found.samples, found.basis) == (1, "1 video of this model, by their length")
    assert found.seconds > 0
    assert seconds < 1
