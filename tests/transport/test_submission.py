from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import httpx2
import pytest

from cinelet.domain.backend import Context
from cinelet.domain.errors import (
    AuthenticationError,
    CineletError,
    DeadlineExceededError,
    FileSizeError,
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
from cinelet.transport import replies
from cinelet.transport.client import Timeouts, make_client
from cinelet.transport.submission import submission_unknown, submit, submit_to_file
from tests.transport.loopback import (
    MP4_HEAD,
    Answer,
    Asked,
    Server,
    close,
    hang,
    json_reply,
    names,
    reply,
    reset,
    without_tls,
)

QUICK = Timeouts(connect_seconds=0.2, read_seconds=0.2, write_seconds=0.2)
Result = TypeVar("Result")


def serve(
    answer: Answer,
    work: Callable[[httpx2.AsyncClient, httpx2.Request], Awaitable[Result]],
    *,
    timeouts: Timeouts = QUICK,
) -> tuple[Result | BaseException, Server]:
    """Let the work send one POST to a server that answers so; return what came of it."""

    async def run() -> tuple[Result | BaseException, Server]:
        async with Server([answer]) as server, make_client(timeouts=timeouts, transport=without_tls()) as client:
            headers = {"Authorization": "Bearer secret-token"}
            request = client.build_request("POST", f"http://127.0.0.1:{server.port}/jobs", json={}, headers=headers)
            try:
                return await work(client, request), server
            except (CineletError, asyncio.CancelledError) as error:
                return error, server

    return asyncio.run(run())


def submitted(answer: Answer, *, timeout_seconds: float | None = None, context: Context | None = None):
    def work(client: httpx2.AsyncClient, request: httpx2.Request) -> Awaitable[httpx2.Response]:
        return submit(
            client, request, what="hf:org/model", provider="fal-ai", timeout_seconds=timeout_seconds, context=context
        )

    # A stop is noticed while the host is silent, and not because the silence has become too long.
    return serve(answer, work, timeouts=QUICK if context is None else Timeouts())


async def half_a_head(_asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")


async def drip(_asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


class TestSubmit:
    @pytest.mark.parametrize("status", [200, 201, 202])
    def test_a_success_is_returned_with_its_body(self, status: int) -> None:
        response, server = submitted(json_reply('{"id": "1"}', status=status))
        assert isinstance(response, httpx2.Response)
        assert response.json() == {"id": "1"}
        assert [asked.method for asked in server.asked] == ["POST"]

    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            *((400, ValidationError), (422, ValidationError), (401, AuthenticationError), (403, AuthenticationError)),
            *((402, PaymentRequiredError), (404, ModelNotFoundError), (429, RateLimitError)),
            *((409, ModelUnsupportedError), (405, ModelUnsupportedError), (307, ModelUnsupportedError)),
            (503, HuggingFaceAPIError),
        ],
    )
    def test_a_refusal_was_not_accepted(self, status: int, kind: type[CineletError]) -> None:
        error, server = submitted(json_reply('{"error": "because"}', status=status))
        assert type(error) is kind
        assert not getattr(error, "accepted", False)
        assert len(server.asked) == 1

    @pytest.mark.parametrize("status", [408, 500, 502, 504, 520, 524])
    def test_a_failing_host_may_have_accepted(self, status: int) -> None:
        error, server = submitted(json_reply("{}", status=status, x_request_id="r-9"))
        assert type(error) is SubmissionUnknownError
        assert (error.status, error.request_id, error.provider) == (status, "r-9", "fal-ai")
        assert not error.retryable
        assert len(server.asked) == 1

    @pytest.mark.parametrize(
        "answer",
        [hang, reset, close, half_a_head, reply(b'{"id"', length=100), reply(b"{", length=9, then=hang)],
        ids=["hang", "reset", "close", "half a head", "short body", "hanging body"],
    )
    def test_no_whole_reply_may_have_been_accepted(self, answer: Answer) -> None:
        error, server = submitted(answer)
        assert type(error) is SubmissionUnknownError
        assert len(server.asked) == 1

    def test_a_reply_that_drips_ends_with_its_time(self) -> None:
        error, _ = submitted(drip, timeout_seconds=0.3)
        assert type(error) is SubmissionUnknownError

    def test_a_reply_without_end_may_have_been_accepted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(replies.exchange, "__kwdefaults__", {"max_bytes": 100})
        error, _ = submitted(reply(b"x" * 200))
        assert type(error) is SubmissionUnknownError

    def test_a_refusal_whose_body_breaks_off_is_still_one(self) -> None:
        error, _ = submitted(reply(b'{"err', status=401, length=100))
        assert type(error) is AuthenticationError

    @pytest.mark.parametrize(
        "kind", [httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError]
    )
    def test_what_was_never_sent_was_not_accepted(self, kind: type[httpx2.TransportError]) -> None:
        def fails(request: httpx2.Request) -> httpx2.Response:
            raise kind("no", request=request)

        async def run() -> None:
            async with make_client(timeouts=QUICK, transport=httpx2.MockTransport(fails)) as client:
                request = client.build_request("POST", "https://host.example/")
                await submit(client, request, what="hf:org/model", provider="fal-ai")

        with pytest.raises(
            HuggingFaceAPIError, match=f"fal-ai cannot be reached for hf:org/model .{kind.__name__}"
        ) as it:
            asyncio.run(run())
        assert type(it.value) is HuggingFaceAPIError
        assert (it.value.accepted, it.value.retryable) == (False, True)

    @pytest.mark.parametrize(
        "kind",
        [httpx2.ReadTimeout, httpx2.WriteTimeout, httpx2.WriteError, httpx2.ReadError, httpx2.RemoteProtocolError],
    )
    def test_what_broke_while_it_was_sent_may_have_been_accepted(self, kind: type[httpx2.TransportError]) -> None:
        def fails(request: httpx2.Request) -> httpx2.Response:
            raise kind("no", request=request)

        async def run() -> None:
            async with make_client(timeouts=QUICK, transport=httpx2.MockTransport(fails)) as client:
                request = client.build_request("POST", "https://host.example/")
                await submit(client, request, what="hf:org/model", provider="fal-ai")

        with pytest.raises(SubmissionUnknownError):
            asyncio.run(run())

    def test_a_closed_port_was_not_accepted(self) -> None:
        async def run() -> None:
            async with Server([reply()]) as server:
                port = server.port
            async with make_client(timeouts=QUICK, transport=without_tls()) as client:
                request = client.build_request("POST", f"http://127.0.0.1:{port}/")
                await submit(client, request, what="hf:org/model", provider="fal-ai")

        with pytest.raises(HuggingFaceAPIError) as caught:
            asyncio.run(run())
        assert type(caught.value) is HuggingFaceAPIError

    def test_a_token_that_is_no_header_is_not_quoted(self) -> None:
        async def run() -> None:
            async with Server([reply()]) as server, make_client(timeouts=QUICK, transport=without_tls()) as client:
                headers = {"Authorization": "Bearer secret\nvalue"}
                url = f"http://127.0.0.1:{server.port}/"
                request = client.build_request("POST", url, headers=headers)
                await submit(client, request, what="hf:org/model", provider="fal-ai")

        with pytest.raises(HuggingFaceAPIError) as caught:
            asyncio.run(run())
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None

    def test_the_hosts_words_are_quoted_without_the_token(self) -> None:
        async def run() -> None:
            answer = json_reply('{"error": "key k-1234 may not"}', status=403)
            async with Server([answer]) as server, make_client(timeouts=QUICK, transport=without_tls()) as client:
                request = client.build_request("POST", f"http://127.0.0.1:{server.port}/")
                await submit(client, request, what="hf:org/model", provider="fal-ai", secrets=["k-1234"])

        with pytest.raises(AuthenticationError, match=r"key \*\*\* may not"):
            asyncio.run(run())

    def test_a_cancel_and_a_deadline_end_the_wait(self, tmp_path: Path) -> None:
        context = Context(tmp_path, deadline_seconds=0.1)
        error, _ = submitted(hang, context=context)
        assert type(error) is DeadlineExceededError

        async def cancel(_asked: Asked, _writer: asyncio.StreamWriter) -> None:
            cancelled.cancel()
            await asyncio.Event().wait()

        cancelled = Context(tmp_path)
        error, _ = submitted(cancel, context=cancelled)
        assert type(error) is GenerationCancelledError

    def test_the_unknown_outcome_says_what_to_do_in_one_line(self) -> None:
        error = submission_unknown(what="hf:org/model", provider="fal-ai", why="the reply names no job")
        assert str(error) == (
            "Nobody knows whether fal-ai took the request for hf:org/model: the reply names no job; "
            "it may run and be billed, so it is not sent again: look into the account there"
        )


class TestSubmitToFile:
    CONTENT = MP4_HEAD + b"x" * 5000

    def submitted(self, answer: Answer, context: Context, *, max_bytes: int = 10_000, timeout_seconds: float = 2.0):
        def work(client: httpx2.AsyncClient, request: httpx2.Request) -> Awaitable[httpx2.Headers]:
            return submit_to_file(
                client,
                request,
                context.folder / "video.mp4",
                what="hf:org/model",
                provider="novita",
                max_bytes=max_bytes,
                context=context,
                timeout_seconds=timeout_seconds,
                check_head=self.check,
            )

        return serve(answer, work)

    @staticmethod
    def check(head: bytes) -> None:
        if not head.startswith(MP4_HEAD):
            raise ProcessingError(f"no video: {head[:20]!r}", "downloading")

    def test_the_body_becomes_the_file(self, tmp_path: Path) -> None:
        headers, server = self.submitted(reply(self.CONTENT, x_request_id="r-1"), Context(tmp_path))
        assert isinstance(headers, httpx2.Headers)
        assert headers["x-request-id"] == "r-1"
        assert (tmp_path / "video.mp4").read_bytes() == self.CONTENT
        assert server.asked[0].headers["accept-encoding"] == "identity"

    def test_a_host_may_work_longer_than_a_read_lasts(self, tmp_path: Path) -> None:
        async def works(asked: Asked, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(2 * QUICK.read_seconds)
            await reply(self.CONTENT)(asked, writer)

        headers, _ = self.submitted(works, Context(tmp_path))
        assert isinstance(headers, httpx2.Headers)

    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (json_reply("{}", status=500), SubmissionUnknownError),
            (json_reply("{}", status=503), HuggingFaceAPIError),
            (json_reply("{}", status=401), AuthenticationError),
            (reset, SubmissionUnknownError),
            (reply(CONTENT[:600], length=5000), SubmissionUnknownError),
            (reply(CONTENT[:600], length=5000, then=reset), SubmissionUnknownError),
            (reply(b"<html>sorry</html>"), ProcessingError),
            (reply(b""), ProcessingError),
            (reply(CONTENT, content_encoding="gzip"), ProcessingError),
            (reply(CONTENT * 3), FileSizeError),
            (reply(CONTENT * 3, length=-1), FileSizeError),
        ],
        ids=[
            *("500", "503", "401", "reset", "short body", "reset in the body", "page", "empty", "compressed"),
            *("announced as too large", "too large"),
        ],
    )
    def test_each_failure_is_an_error_of_its_kind_and_leaves_nothing(
        self, tmp_path: Path, answer: Answer, kind: type[CineletError]
    ) -> None:
        error, server = self.submitted(answer, context := Context(tmp_path))
        assert type(error) is kind
        assert len(server.asked) == 1
        assert names(context) == []

    def test_silence_beyond_its_time_is_an_unknown_outcome(self, tmp_path: Path) -> None:
        error, _ = self.submitted(hang, context := Context(tmp_path), timeout_seconds=0.1)
        assert type(error) is SubmissionUnknownError
        assert names(context) == []

    def test_a_deadline_ends_it(self, tmp_path: Path) -> None:
        answer = reply(self.CONTENT[:600], length=5000, then=hang)
        error, _ = self.submitted(answer, context := Context(tmp_path, deadline_seconds=0.1))
        assert type(error) is DeadlineExceededError
        assert names(context) == []
