"""Pictures of what is being made: kept while it is, told of by number, and gone at the end."""

from __future__ import annotations

import asyncio

import pytest

from cinelet.clock import FakeClock
from cinelet.domain.backend import Context, GeneratedVideo
from cinelet.domain.progress import Progress, Stage
from cinelet.domain.request import VideoRequest
from cinelet.jobs.errors import ClaimLostError
from cinelet.jobs.glimpses import find_glimpse
from cinelet.jobs.reporter import Reporter
from cinelet.testing import FakeBackend
from tests.jobs.shop import SECONDS


def shown(picture: bytes | None, *, step: int = 1) -> Progress:
    return Progress(Stage.DENOISING, 0.5, step=step, steps=9, preview=picture)


def test_the_latest_picture_is_kept_and_counted(with_shop):
    async def work(shop):
        one = await shop.submit()
        await shop.ledger.claim(one.id, worker="w")
        found = []
        for picture in (None, b"first", None, b"second" * 3000):
            await shop.ledger.progress(one.id, 1, shown(picture))
            found.append(((await shop.ledger.get(one.id)).previews, await find_glimpse(shop.jobs.database, one.id)))
        return found

    assert with_shop(work) == [(0, None), (1, b"first"), (1, b"first"), (2, b"second" * 3000)]


@pytest.mark.parametrize("end", ["complete", "fail", "cancel", "release"])
def test_it_is_gone_when_it_is_no_longer_being_made(with_shop, end):
    async def work(shop):
        one = await shop.submit()
        await shop.ledger.claim(one.id, worker="w")
        await shop.ledger.progress(one.id, 1, shown(b"picture"))
        match end:
            case "complete":
                await shop.ledger.complete(one.id, 1, model="m", result={"sha256": "s"})
            case "fail":
                await shop.ledger.fail(one.id, 1, error={"code": "x"})
            case "cancel":
                await shop.ledger.cancel(one.id, 1)
            case _:
                await shop.ledger.release(one.id, 1)
        return (await shop.ledger.get(one.id)).previews, await find_glimpse(shop.jobs.database, one.id)

    assert with_shop(work) == (0, None)


def test_who_has_lost_the_claim_shows_nothing(with_shop):
    async def work(shop):
        one = await shop.submit()
        await shop.ledger.claim(one.id, worker="w")
        with pytest.raises(ClaimLostError):
            await shop.ledger.progress(one.id, 7, shown(b"late"))
        return await find_glimpse(shop.jobs.database, one.id)

    assert with_shop(work) is None


def test_what_is_no_id_has_none(with_shop):
    async def work(shop):
        return [await find_glimpse(shop.jobs.database, name) for name in ("gen_" + "a" * 26, "x\0", "")]

    assert with_shop(work) == [None, None, None]


def test_a_picture_is_not_lost_with_the_report_that_brought_it():
    async def run():
        written = []

        async def write(progress, _):
            written.append(progress)

        clock = FakeClock()
        reporter = Reporter(write, clock=clock)
        for progress in (shown(b"one"), shown(b"two", step=2), shown(None, step=3)):
            reporter._taken(progress)
        running = asyncio.create_task(reporter.run())
        await asyncio.sleep(0.01)
        running.cancel()
        return written

    assert [(progress.step, progress.preview) for progress in asyncio.run(run())] == [(3, b"two")]


class Showing(FakeBackend):
    """Shows pictures to whoever would look, and waits until somebody has seen one."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[bool] = []
        self.may_end = asyncio.Event()

    async def generate(self, request: VideoRequest, context: Context) -> GeneratedVideo:
        self.asked.append(context.previews)
        if context.previews:
            context.show(b"picture")
        context.report(Stage.DENOISING, 0.3, step=1, steps=4)
        while not self.may_end.is_set():
            await self.clock.pause_async(0.02, context=context)
        return await super().generate(request, context)


def test_a_worker_asks_for_pictures_and_everybody_hears_of_them(with_shop):
    backend = Showing()

    async def work(shop):
        async with shop.working(), asyncio.timeout(SECONDS):
            one = await shop.submit(seed=1)  # a seed, so that it is looked for in the cache
            numbers, picture = [], None
            async for event in shop.jobs.events.watch(one.id):
                numbers.append(event.previews)
                if event.previews:
                    picture = await find_glimpse(shop.jobs.database, one.id)
                    backend.may_end.set()
            return numbers, picture

    numbers, picture = with_shop(work, make_backend=lambda: backend)
    assert backend.asked == [True]
    assert 1 in numbers
    assert numbers[-1] == 0
    assert picture == b"picture"
