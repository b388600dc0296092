from __future__ import annotations

import asyncio
import logging

import httpx2
import pytest

from cinelet.transport.client import Timeouts, make_client
from tests.transport.loopback import Asked, Server, reply

QUICK = Timeouts(connect_seconds=1, read_seconds=1, write_seconds=1)


def test_a_redirect_is_returned_and_not_followed() -> None:
    async def run() -> None:
        async with Server([reply(status=302, location="/other")]) as server, make_client(timeouts=QUICK) as client:
            response = await client.get(f"http://127.0.0.1:{server.port}/")
            assert (response.status_code, len(server.asked)) == (302, 1)

    asyncio.run(run())


def test_no_cookie_is_kept() -> None:
    async def run() -> None:
        answers = [reply(set_cookie="session=abc; Path=/"), reply()]
        async with Server(answers) as server, make_client(timeouts=QUICK) as client:
            for _ in range(2):
                await client.get(f"http://127.0.0.1:{server.port}/")
            assert [asked.headers.get("cookie") for asked in server.asked] == [None, None]

    asyncio.run(run())


def test_requests_say_who_asks() -> None:
    async def run() -> None:
        async with Server([reply()]) as server, make_client(timeouts=QUICK) as client:
            await client.get(f"http://127.0.0.1:{server.port}/")
            assert server.asked[0].headers["user-agent"].startswith("cinelet/")

    asyncio.run(run())


def test_three_hundred_requests_are_served_at_the_same_time() -> None:
    async def run() -> None:
        everybody_is_here = asyncio.Barrier(300)

        async def wait_for_the_others(_asked: Asked, _writer: asyncio.StreamWriter) -> None:
            await everybody_is_here.wait()
            await reply()(_asked, _writer)

        async with (
            Server([wait_for_the_others]) as server,
            make_client(timeouts=Timeouts(connect_seconds=60)) as client,
        ):
            url = f"http://127.0.0.1:{server.port}/"
            replies = await asyncio.gather(*(client.get(url) for _ in range(300)))
            assert {response.status_code for response in replies} == {200}

    asyncio.run(run())


def test_the_timeouts_are_those_asked_for() -> None:
    timeouts = Timeouts(connect_seconds=1, read_seconds=2, write_seconds=3)
    assert make_client(timeouts=timeouts).timeout == httpx2.Timeout(connect=1, read=2, write=3, pool=1)


def test_what_signs_a_link_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        transport = httpx2.MockTransport(lambda _: httpx2.Response(200))
        async with make_client(timeouts=QUICK, transport=transport) as client:
            await client.get("https://cdn.example/v.mp4?signed=abcdef")

    with caplog.at_level(logging.DEBUG):
        asyncio.run(run())
    assert "https://cdn.example/v.mp4" in caplog.text
    assert "abcdef" not in caplog.text
