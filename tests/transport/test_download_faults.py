from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from cinelet.clock import FakeClock, SystemClock
from cinelet.domain.backend import Context
from cinelet.domain.errors import (
    AuthenticationError,
    CapacityError,
    CineletError,
    DeadlineExceededError,
    FileSizeError,
    GenerationCancelledError,
    HuggingFaceAPIError,
    ProcessingError,
    RateLimitError,
)
from cinelet.transport.part_file import PartFile
from tests.transport.downloads import MIB, VIDEO, Downloads
from tests.transport.loopback import (
    MP4_HEAD,
    PUBLIC,
    Answer,
    Asked,
    close,
    hang,
    names,
    reply,
    reset,
    serve_file,
)

SHORT = reply(VIDEO[:5000], length=9000, then=close)
FAULTS: dict[str, tuple[Answer, type[CineletError], int]] = {
    "short body": (SHORT, ProcessingError, 3),
    "reset in the body": (reply(VIDEO[:5000], length=9000, then=reset), ProcessingError, 3),
    "hang in the body": (reply(VIDEO[:5000], length=9000, then=hang), ProcessingError, 3),
    "hang in the head": (reply(VIDEO[:10], length=9000, then=hang), ProcessingError, 3),
    "length beyond the body": (reply(VIDEO[:5000], length=10**6, then=close), ProcessingError, 3),
    "no reply": (hang, HuggingFaceAPIError, 3),
    "reset": (reset, HuggingFaceAPIError, 3),
    "close": (close, HuggingFaceAPIError, 3),
    "empty": (reply(b""), ProcessingError, 1),
    "compressed": (reply(VIDEO, content_encoding="gzip"), ProcessingError, 1),
    "announced as too large": (reply(VIDEO[:5000], length=10**12), FileSizeError, 1),
    "403": (reply(b"<Error/>", status=403), AuthenticationError, 1),
    "404": (reply(status=404), HuggingFaceAPIError, 1),
    "410": (reply(status=410), HuggingFaceAPIError, 1),
    "204": (reply(status=204, length=-1), HuggingFaceAPIError, 1),
    "206": (reply(VIDEO, status=206), HuggingFaceAPIError, 3),
    "redirect to nowhere": (reply(status=302), HuggingFaceAPIError, 1),
    "429": (reply(status=429), RateLimitError, 3),
    "500": (reply(status=500), HuggingFaceAPIError, 3),
    "503": (reply(status=503), HuggingFaceAPIError, 3),
}


class TestFaults:
    @pytest.mark.parametrize("fault", FAULTS)
    def test_each_is_an_error_of_its_kind_after_its_tries_and_leaves_nothing(self, tmp_path: Path, fault: str) -> None:
        answer, kind, tries = FAULTS[fault]
        run = Downloads(tmp_path, answer)
        error = run.fails(kind)
        assert len(run.asked) == tries
        if isinstance(error, HuggingFaceAPIError):
            assert error.accepted, "the work was done, and asking for it again may be billed again"
            assert error.provider == "cdn.example"

    def test_a_file_without_end_is_stopped_at_the_limit(self, tmp_path: Path) -> None:
        async def endless(_asked: Asked, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(128):  # 8 MiB: without end as far as the limit is concerned
                writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
                await writer.drain()

        run = Downloads(tmp_path, endless)
        run.max_bytes = MIB
        error = run.fails(FileSizeError)
        assert isinstance(error, FileSizeError)
        assert MIB < error.size <= 2 * MIB
        assert (error.kind, error.limit) == ("video", MIB)

    def test_the_limit_itself_is_allowed(self, tmp_path: Path) -> None:
        run = Downloads(tmp_path, serve_file(VIDEO))
        run.max_bytes = len(VIDEO)
        run.run()
        run = Downloads(tmp_path, serve_file(VIDEO))
        run.path.unlink()
        run.max_bytes = len(VIDEO) - 1
        run.fails(FileSizeError)

    @pytest.mark.parametrize("content", [b"<!doctype html><h1>Sorry</h1>", b"<html>" + b" " * 10**6, b""])
    def test_what_is_no_video_is_refused_by_its_head(self, tmp_path: Path, content: bytes) -> None:
        heads: list[bytes] = []

        def check(head: bytes) -> None:
            heads.append(head)
            raise ProcessingError(f"no video: {head[:20]!r}", "downloading")

        run = Downloads(tmp_path, reply(content))
        run.options["check_head"] = check
        run.fails(ProcessingError)
        assert heads == [content[:4096]]
        assert len(run.asked) == 1

    def test_a_head_is_looked_at_before_the_rest_has_arrived(self, tmp_path: Path) -> None:
        def check(_head: bytes) -> None:
            raise ProcessingError("no video", "downloading")

        run = Downloads(tmp_path, reply(b"<" * 4096, length=10**6, then=hang))
        run.options["check_head"] = check
        run.fails(ProcessingError)

    def test_a_name_that_cannot_be_resolved_is_asked_again(self, tmp_path: Path) -> None:
        asked = []

        async def resolve(_host: str, _port: int) -> Sequence[str]:
            asked.append(True)
            if len(asked) < 3:
                raise OSError("Temporary failure in name resolution")
            return [PUBLIC]

        run = Downloads(tmp_path, serve_file(VIDEO))
        run.options["resolve"] = resolve
        run.run()
        assert len(asked) == 3

    def test_a_transfer_that_only_drips_is_given_up(self, tmp_path: Path) -> None:
        clock = FakeClock()

        async def drips(_asked: Asked, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + MP4_HEAD)
            while True:
                await writer.drain()
                await asyncio.sleep(0.005)
                clock.advance(10)
                writer.write(b"x")

        run = Downloads(tmp_path, drips)
        run.clock = clock
        run.context = Context(tmp_path, deadline_seconds=30)  # if it is not given up
        error = run.fails(ProcessingError)
        assert "broke off" in str(error)

    def test_a_folder_that_is_gone_is_an_error_of_ours(self, tmp_path: Path) -> None:
        run = Downloads(tmp_path, serve_file(VIDEO))
        run.path = tmp_path / "gone" / "v.mp4"
        run.fails(ProcessingError)

    def test_no_room_on_the_disk_is_a_lack_of_capacity(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write = PartFile.write

        def write_where_there_is_no_room(part: PartFile, chunk: bytes) -> None:
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, part._file.fileno())
            os.close(full)
            write(part, chunk)

        monkeypatch.setattr(PartFile, "write", write_where_there_is_no_room)
        Downloads(tmp_path, serve_file(VIDEO)).fails(CapacityError)


class TestStopped:
    @pytest.mark.parametrize(
        "answer",
        [
            hang,
            reply(VIDEO[:5000], length=9000, then=hang),
            reply(status=503, retry_after="50"),
            reply(status=302, location="https://other.example/", then=hang),
        ],
        ids=["no reply", "hanging body", "long pause", "redirects"],
    )
    def test_nothing_hangs_past_the_deadline(self, tmp_path: Path, answer: Answer) -> None:
        run = Downloads(tmp_path, answer)
        run.clock = SystemClock()
        run.context = Context(tmp_path, deadline_seconds=0.15)
        began = run.clock.monotonic()
        with pytest.raises((DeadlineExceededError, ProcessingError)):
            run.run()
        assert run.clock.monotonic() - began < 1.15
        assert names(run.context) == []

    def test_a_resolver_that_hangs_ends_at_the_deadline(self, tmp_path: Path) -> None:
        async def resolve(_host: str, _port: int) -> Sequence[str]:
            await asyncio.Event().wait()
            return []

        run = Downloads(tmp_path, serve_file(VIDEO))
        run.context = Context(tmp_path, deadline_seconds=0.05)
        run.options["resolve"] = resolve
        run.fails(DeadlineExceededError)

    def test_a_drip_ends_at_the_deadline(self, tmp_path: Path) -> None:
        async def drips(_asked: Asked, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + MP4_HEAD)
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)

        run = Downloads(tmp_path, drips)
        run.context = Context(tmp_path, deadline_seconds=0.15)
        run.fails(DeadlineExceededError)

    def test_a_cancel_ends_it(self, tmp_path: Path) -> None:
        async def cancels(asked: Asked, writer: asyncio.StreamWriter) -> None:
            await reply(VIDEO[:5000], length=9000)(asked, writer)
            run.context.cancel()
            await hang(asked, writer)

        run = Downloads(tmp_path, cancels)
        run.fails(GenerationCancelledError)

    def test_cancelling_the_task_leaves_nothing(self, tmp_path: Path) -> None:
        broken_off = asyncio.Event()

        async def tell(asked: Asked, writer: asyncio.StreamWriter) -> None:
            broken_off.set()
            await hang(asked, writer)

        run = Downloads(tmp_path, reply(VIDEO[:5000], length=9000, then=tell))

        async def cancelled() -> None:
            task = asyncio.ensure_future(run._run())
            await broken_off.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancelled())
        assert names(run.context) == []
