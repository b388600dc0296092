from __future__ import annotations

import asyncio
import tracemalloc
from pathlib import Path

import httpx2
import pytest

from cinelet.clock import FakeClock
from cinelet.domain.backend import Context
from cinelet.domain.errors import (
    ProcessingError,
)
from cinelet.transport.client import make_client
from cinelet.transport.download import download
from tests.transport.downloads import CDN, MIB, QUICK, VIDEO, Downloads
from tests.transport.loopback import (
    MP4_HEAD,
    PUBLIC,
    Answer,
    Asked,
    names,
    reply,
    resolves_to,
    serve_file,
)


class TestWhole:
    def test_the_file_is_what_was_served(self, tmp_path: Path) -> None:
        run = Downloads(tmp_path, serve_file(VIDEO))
        run.run()
        assert run.path.read_bytes() == VIDEO
        assert names(run.context) == ["v.mp4"]
        assert run.asked[0].target == "/v.mp4?signature=abcdef"
        assert run.asked[0].headers["accept-encoding"] == "identity"

    def test_a_body_without_a_length_is_read_to_its_end(self, tmp_path: Path) -> None:
        run = Downloads(tmp_path, reply(VIDEO, length=-1))
        run.run()
        assert run.path.read_bytes() == VIDEO
        assert run.reports[-1] == (len(VIDEO), None)

    def test_a_chunked_body_is_put_together(self, tmp_path: Path) -> None:
        async def chunked(_asked: Asked, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for start in range(0, len(VIDEO), 100_000):
                chunk = VIDEO[start : start + 100_000]
                writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            writer.write(b"0\r\n\r\n")

        run = Downloads(tmp_path, chunked)
        run.run()
        assert run.path.read_bytes() == VIDEO

    def test_progress_is_told_each_mebibyte_and_at_the_end(self, tmp_path: Path) -> None:
        content = MP4_HEAD + bytes(3 * MIB)
        run = Downloads(tmp_path, serve_file(content))
        run.run()
        assert 3 <= len(run.reports) <= 4
        assert run.reports == sorted(run.reports)
        assert run.reports[-1] == (len(content), len(content))

    def test_an_address_that_does_not_answer_gives_way_to_the_next(self, tmp_path: Path) -> None:
        class FirstIsDown(httpx2.AsyncBaseTransport):
            hosts: list[str] = []  # noqa: RUF012

            async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
                self.hosts.append(request.url.host)
                if request.url.host == "2606:4700::1111":
                    raise httpx2.ConnectError("no route", request=request)
                return httpx2.Response(200, stream=httpx2.ByteStream(VIDEO))

        async def run() -> None:
            transport = FirstIsDown()
            async with make_client(timeouts=QUICK, transport=transport) as client:
                await download(
                    CDN,
                    tmp_path / "v.mp4",
                    client=client,
                    context=Context(tmp_path),
                    clock=FakeClock(),
                    max_bytes=10 * MIB,
                    resolve=resolves_to("2606:4700::1111", PUBLIC),
                )
            assert transport.hosts == ["2606:4700::1111", PUBLIC]

        asyncio.run(run())

    def test_a_body_that_has_not_its_announced_length_is_never_taken_for_whole(self, tmp_path: Path) -> None:
        # The library sees to that as well; another transport may not.
        def short(_request: httpx2.Request) -> httpx2.Response:
            return httpx2.Response(200, headers={"Content-Length": "9999999"}, stream=httpx2.ByteStream(VIDEO))

        run = Downloads(tmp_path)
        run.transport = httpx2.MockTransport(short)
        assert "broke off" in str(run.fails(ProcessingError))

    def test_a_long_file_does_not_pass_through_memory(self, tmp_path: Path) -> None:
        async def long(_asked: Asked, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (24 * MIB) + MP4_HEAD)
            rest = 24 * MIB - len(MP4_HEAD)
            while rest:
                writer.write(bytes(min(rest, MIB)))
                await writer.drain()
                rest -= min(rest, MIB)

        run = Downloads(tmp_path, long)
        tracemalloc.start()
        try:
            run.run()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert run.path.stat().st_size == 24 * MIB
        assert peak < 6 * MIB


class TestTakenUpAgain:
    @pytest.mark.parametrize("etag", ["", 'W/"weak"', '"strong"'])
    def test_a_short_body_is_made_whole(self, tmp_path: Path, etag: str) -> None:
        run = Downloads(tmp_path, serve_file(VIDEO, etag=etag, break_off_after=300_000), serve_file(VIDEO, etag=etag))
        run.run()
        assert run.path.read_bytes() == VIDEO
        assert [asked.headers.get("range") for asked in run.asked] == [
            None,
            "bytes=300000-" if etag == '"strong"' else None,
        ]

    def test_only_the_rest_of_the_same_file_is_taken(self, tmp_path: Path) -> None:
        other = MP4_HEAD + b"y" * 500_000
        run = Downloads(tmp_path, serve_file(VIDEO, etag='"1"', break_off_after=1000), serve_file(other, etag='"2"'))
        run.run()
        assert run.path.read_bytes() == other

    @pytest.mark.parametrize(
        "rest",
        [
            reply(VIDEO[900:], status=206, etag='"1"', content_range=f"bytes 900-{len(VIDEO) - 1}/{len(VIDEO)}"),
            reply(VIDEO[1000:], status=206, etag='"2"', content_range=f"bytes 1000-{len(VIDEO) - 1}/{len(VIDEO)}"),
            reply(VIDEO[1000:], status=206, etag='"1"'),
            reply(status=416),
        ],
        ids=["another place", "another version", "no place", "no such range"],
    )
    def test_a_rest_that_does_not_fit_is_not_taken(self, tmp_path: Path, rest: Answer) -> None:
        broken = serve_file(VIDEO, etag='"1"', break_off_after=1000)
        run = Downloads(tmp_path, broken, rest, serve_file(VIDEO, etag='"1"'))
        run.run()
        assert run.path.read_bytes() == VIDEO
        assert [asked.headers.get("range") for asked in run.asked] == [None, "bytes=1000-", None]

    def test_a_busy_host_does_not_cost_what_has_arrived(self, tmp_path: Path) -> None:
        broken = serve_file(VIDEO, etag='"1"', break_off_after=1000)
        run = Downloads(tmp_path, broken, reply(status=503), serve_file(VIDEO, etag='"1"'))
        run.run()
        assert run.path.read_bytes() == VIDEO
        assert [asked.headers.get("range") for asked in run.asked] == [None, "bytes=1000-", "bytes=1000-"]

    def test_the_pauses_grow_and_the_host_may_name_them_up_to_a_minute(self, tmp_path: Path) -> None:
        run = Downloads(tmp_path, reply(status=500), reply(status=502), serve_file(VIDEO))
        run.run()
        assert run.clock.pauses_seconds == [1, 2]
        run = Downloads(
            tmp_path, reply(status=429, retry_after="7"), reply(status=503, retry_after="900"), serve_file(VIDEO)
        )
        run.run()
        assert run.clock.pauses_seconds == [7, 60]
