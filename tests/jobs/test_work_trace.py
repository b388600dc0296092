"""What is asked for in one process and made in another is one trace."""

from __future__ import annotations

import json

from cinelet.domain.errors import ProcessingError
from cinelet.jobs.batch import SentLine
from cinelet.jobs.deliveries import DeliveryState
from cinelet.jobs.states import State
from cinelet.observability import tracing
from cinelet.testing import FakeBackend
from tests.jobs.shop import PaidBackend, Shop
from tests.spans import Spans, context_of, facts_of


def test_a_worker_goes_on_with_the_trace_of_the_request(with_shop, spans: Spans):
    async def work(shop: Shop):
        with tracing.span("request") as request:
            made = await shop.submit()
        assert made.trace_id == f"{request.get_span_context().trace_id:032x}"
        async with shop.working():
            return await shop.ended(made)

    done = with_shop(work)
    assert done.state is State.COMPLETED
    working, queue = spans.one("work"), spans.one("queue")
    assert {context_of(span).trace_id for span in spans.all} == {int(done.trace_id, 16)}
    assert spans.children(spans.one("request")) == ["queue", "work"]
    assert facts_of(spans.one("request"))["cinelet.generation"] == done.id
    assert spans.children(working) == ["generate", "store"]
    assert "probe" in spans.children(spans.one("generate"))
    assert queue.start_time == round(done.created_at.timestamp() * 1e9)
    assert queue.end_time == round(done.started_at.timestamp() * 1e9)
    assert facts_of(working)["cinelet.generation"] == done.id
    assert facts_of(working)["cinelet.attempt"] == 1
    assert "gull" not in spans.text()


def test_a_second_attempt_is_in_the_same_trace_and_names_the_first(with_shop, spans: Spans):
    backend = PaidBackend()

    async def work(shop: Shop):
        made = await shop.submit()
        async with shop.working(grace_seconds=0.1):
            await shop.until(made, lambda found: found.handle is not None and "id" in found.handle)
        backend.may_end.set()
        async with shop.working():
            return await shop.ended(made)

    done = with_shop(work, make_backend=lambda: backend)
    assert (done.state, done.attempt) == (State.COMPLETED, 2)
    first, second = sorted(spans.named("work"), key=lambda span: facts_of(span)["cinelet.attempt"])
    assert context_of(first).trace_id == context_of(second).trace_id == int(done.trace_id, 16)
    assert first.links == ()
    assert [link.context.span_id for link in second.links] == [context_of(first).span_id]
    assert len(spans.named("queue")) == 1
    # Nothing surrounded the request, so it is a span itself.
    assert spans.children(spans.one("accept")) == ["queue", "work", "work"]


def test_what_fails_and_is_tried_again_stays_in_its_trace(with_shop, spans: Spans):
    backend = FakeBackend(error=ProcessingError("The lens is cracked", "denoising"))

    async def work(shop: Shop):
        async with shop.working():
            failed = await shop.ended(await shop.submit())
            backend.error = None
            return failed, await shop.ended(await shop.queue.retry(failed))

    failed, done = with_shop(work, make_backend=lambda: backend)
    assert (failed.state, done.state) == (State.FAILED, State.COMPLETED)
    assert failed.trace_id == done.trace_id
    broken, well = sorted(spans.named("work"), key=lambda span: span.start_time or 0)
    assert facts_of(broken)["error.type"] == "processing_failed"
    assert "error.type" not in facts_of(well)


def test_the_lines_of_a_batch_are_in_its_trace(with_shop, spans: Spans):
    async def work(shop: Shop):
        lines = [SentLine(number, None, {"prompt": f"gull {number}", "duration": 1, "fps": 4}) for number in (1, 2)]
        with tracing.span("request"):
            batch, _ = await shop.jobs.batches.submit(lines, owner="shop", sent_hash=b"x")
        await shop.jobs.batches.ledger.make_generations()
        async with shop.working():
            made = [line.generation for line in await shop.jobs.batches.ledger.lines(batch)]
            return [await shop.ended(one) for one in made if one is not None]

    done = with_shop(work)
    accepted = context_of(spans.one("accept batch"))
    assert len(done) == 2
    assert {one.trace_id for one in done} == {f"{accepted.trace_id:032x}"}
    assert [span.parent.span_id for span in spans.named("work") if span.parent] == [accepted.span_id] * 2


def test_a_webhook_is_told_in_the_trace_without_its_address(with_shop, spans: Spans):
    options = {"webhook_url": "http://127.0.0.1:9/hook?sig=abc"}

    async def work(shop: Shop):
        made = await shop.submit(options=options)
        async with shop.working():
            await shop.ended(made)
            while not (await shop.jobs.deliveries.list()).deliveries[0].attempts:
                await shop.jobs.worker({"remote": 1})._clock.pause_async(0.02)
        (delivery,) = (await shop.jobs.deliveries.list()).deliveries
        return made, delivery

    made, delivery = with_shop(work, allow_private_webhooks=True)
    assert delivery.state is DeliveryState.PENDING
    told = spans.one("webhook")
    assert context_of(told).trace_id == int(made.trace_id, 16)
    assert facts_of(told)["cinelet.event"] == "video.completed"
    assert "no answer" in facts_of(told)["cinelet.refused"]
    assert "/hook" not in spans.text()


def test_what_nobody_traces_has_an_id_and_no_spans(with_shop):
    async def work(shop: Shop):
        made = await shop.submit()
        async with shop.working():
            return made, await shop.ended(made)

    made, done = with_shop(work)
    assert len(done.trace_id) == 32
    assert (made.traceparent, done.attempt_traceparent) == (done.traceparent, None)
    assert "trace" not in json.dumps(done.request)
