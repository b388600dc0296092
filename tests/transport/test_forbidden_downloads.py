"""Addresses that a hostile host may give: none is connected to, counted on a real listener and on the transport."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from cinelet.clock import FakeClock
from cinelet.domain.backend import Context
from cinelet.domain.errors import CineletError, HuggingFaceAPIError, ProcessingError
from cinelet.transport.addresses import ForbiddenAddressError, Resolver
from cinelet.transport.client import Timeouts, make_client
from cinelet.transport.download import download
from tests.transport.forbidden import URLS, loopback_or_public
from tests.transport.loopback import (
    MP4_HEAD,
    PUBLIC,
    Answer,
    Asked,
    Loopback,
    Server,
    close,
    names,
    reply,
    resolves_to,
    serve_file,
)

VIDEO = MP4_HEAD + bytes(5000)
CDN = "https://cdn.example/v.mp4"


def fits_in_a_header(url: str) -> bool:
    """Tell whether a redirect can hold this address, and leads away with it."""
    leads_away = "://" in url and url != "https://" and "example#" not in url
    return leads_away and url.isascii() and url.isprintable() and len(url) < 2000


def outcome(
    url: str,
    folder: Path,
    *,
    answers: list[Answer] | None = None,
    resolve: Resolver = loopback_or_public,
    headers: dict[str, str] | None = None,
    allow_private: bool = False,
) -> tuple[BaseException | None, Server, Loopback, Context]:
    """Download from a server that stands for the whole internet; PORT in the address becomes its own."""

    async def run() -> tuple[BaseException | None, Server, Loopback, Context]:
        context = Context(folder)
        async with Server(answers or [serve_file(VIDEO)]) as server:
            transport = Loopback(server.port)
            async with make_client(timeouts=Timeouts(), transport=transport) as client:
                try:
                    await download(
                        url.replace("PORT", str(server.port)),
                        folder / "v.mp4",
                        client=client,
                        context=context,
                        clock=FakeClock(),
                        max_bytes=10**6,
                        resolve=resolve,
                        headers=headers,
                        allow_private=allow_private,
                    )
                except CineletError as error:
                    return error, server, transport, context
                return None, server, transport, context

    return asyncio.run(run())


def test_there_are_enough_of_them() -> None:
    assert len(set(URLS)) >= 60


@pytest.mark.parametrize("url", URLS, ids=lambda url: url.encode("unicode_escape").decode()[:50])
def test_no_connection_is_made(tmp_path: Path, url: str) -> None:
    error, server, transport, context = outcome(url, tmp_path)
    if url == "https://cdn.example#@127.0.0.1:PORT/":
        # To the parser, and to this resolver, that is the public host and a fragment.
        assert (error, transport.hosts) == (None, [PUBLIC])
        return
    assert isinstance(error, (ForbiddenAddressError, HuggingFaceAPIError))
    assert (server.connections, transport.requests) == (0, [])
    assert "password" not in str(error)
    assert names(context) == []


@pytest.mark.parametrize("url", [url for url in URLS if fits_in_a_header(url)])
def test_no_redirect_leads_there(tmp_path: Path, url: str) -> None:
    async def redirect(asked: Asked, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        await reply(status=302, location=url.replace("PORT", str(port)))(asked, writer)

    error, server, transport, context = outcome(CDN, tmp_path, answers=[redirect])
    assert isinstance(error, (ForbiddenAddressError, HuggingFaceAPIError))
    # Only the first address was connected to: once, or once a try where the name of the second is unknown.
    assert set(transport.hosts) == {PUBLIC}
    assert {request.headers["host"] for request in transport.requests} == {"cdn.example"}
    assert server.connections == len(transport.requests) <= 3
    assert names(context) == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_every_kind_of_redirect_is_checked(tmp_path: Path, status: int) -> None:
    answers = [reply(status=status, location="https://169.254.169.254/latest/meta-data")]
    error, server, transport, _ = outcome(CDN, tmp_path, answers=answers)
    assert type(error) is ForbiddenAddressError
    assert (server.connections, transport.hosts) == (1, [PUBLIC])


class Rebinding:
    """A resolver whose answer changes after the first time."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, _host: str, _port: int) -> Sequence[str]:
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


def test_what_is_connected_to_is_what_was_checked(tmp_path: Path) -> None:
    resolve = Rebinding([PUBLIC], ["127.0.0.1"])
    error, _, transport, _ = outcome(CDN, tmp_path, resolve=resolve)
    assert error is None
    assert (resolve.asked, transport.hosts) == (1, [PUBLIC])
    (request,) = transport.requests
    assert request.headers["host"] == "cdn.example"
    assert request.extensions["sni_hostname"] == "cdn.example"


def test_a_name_that_becomes_private_before_the_second_try_is_refused(tmp_path: Path) -> None:
    answers = [reply(VIDEO[:100], length=5000, then=close), serve_file(VIDEO)]
    error, server, transport, context = outcome(
        CDN, tmp_path, answers=answers, resolve=Rebinding([PUBLIC], ["127.0.0.1"])
    )
    assert type(error) is ForbiddenAddressError
    assert (server.connections, transport.hosts) == (1, [PUBLIC])
    assert names(context) == []


def test_a_name_that_becomes_private_before_a_redirect_to_itself_is_refused(tmp_path: Path) -> None:
    answers = [reply(status=302, location="/again"), serve_file(VIDEO)]
    error, server, _, _ = outcome(CDN, tmp_path, answers=answers, resolve=Rebinding([PUBLIC], ["10.0.0.1"]))
    assert type(error) is ForbiddenAddressError
    assert server.connections == 1


@pytest.mark.parametrize("inner", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1", "::ffff:192.168.0.1"])
def test_a_name_with_a_public_and_an_inner_address_is_refused(tmp_path: Path, inner: str) -> None:
    for addresses in ([PUBLIC, inner], [inner, PUBLIC]):
        error, server, transport, _ = outcome(CDN, tmp_path, resolve=resolves_to(*addresses))
        assert type(error) is ForbiddenAddressError
        assert (server.connections, transport.requests) == (0, [])


@pytest.mark.parametrize(("redirects", "kind"), [(5, type(None)), (6, ProcessingError)])
def test_five_redirects_are_followed_and_six_are_not(tmp_path: Path, redirects: int, kind: type) -> None:
    hop = reply(status=302, location="/next")
    error, server, _, context = outcome(CDN, tmp_path, answers=[*[hop] * redirects, serve_file(VIDEO)])
    assert type(error) is kind
    assert server.connections == 6
    assert names(context) == ([] if error else ["v.mp4"])


class TestCredentials:
    KEY = {"Authorization": "Bearer secret"}  # noqa: RUF012

    def sent(self, transport: Loopback) -> list[tuple[str, str | None]]:
        return [(request.headers["host"], request.headers.get("authorization")) for request in transport.requests]

    def test_they_stay_with_the_origin(self, tmp_path: Path) -> None:
        answers = [reply(status=302, location="/other"), serve_file(VIDEO)]
        _, _, transport, _ = outcome(CDN, tmp_path, answers=answers, headers=self.KEY)
        assert self.sent(transport) == [("cdn.example", "Bearer secret")] * 2

    @pytest.mark.parametrize(
        "location",
        ["https://evil.example/", "https://cdn.example.evil.example/", "https://cdn.example:444/", "//e.example"],
    )
    def test_they_do_not_follow_to_another(self, tmp_path: Path, location: str) -> None:
        answers = [reply(status=302, location=location), serve_file(VIDEO)]
        error, _, transport, _ = outcome(CDN, tmp_path, answers=answers, headers=self.KEY)
        assert error is None
        assert [key for _, key in self.sent(transport)] == ["Bearer secret", None]

    def test_they_are_not_sent_again_to_an_origin_that_another_leads_back_to(self, tmp_path: Path) -> None:
        answers = [
            reply(status=302, location="https://evil.example/"),
            reply(status=302, location="https://cdn.example/delete"),
            serve_file(VIDEO),
        ]
        _, _, transport, _ = outcome(CDN, tmp_path, answers=answers, headers=self.KEY)
        assert [key for _, key in self.sent(transport)] == ["Bearer secret", None, None]


class TestOperatorsOwnHost:
    def test_it_may_be_private_and_plain(self, tmp_path: Path) -> None:
        error, server, transport, _ = outcome("http://127.0.0.1:PORT/v", tmp_path, allow_private=True)
        assert (error, server.connections, transport.hosts) == (None, 1, ["127.0.0.1"])

    @pytest.mark.parametrize(
        "location", ["http://127.0.0.1:1/", "https://127.0.0.1/", "http://169.254.169.254/", "http://cdn.example/"]
    )
    def test_what_it_redirects_to_may_not(self, tmp_path: Path, location: str) -> None:
        answers = [reply(status=302, location=location), serve_file(VIDEO)]
        url, key = "http://127.0.0.1:PORT/v", {"Authorization": "Bearer secret"}
        error, server, _, _ = outcome(url, tmp_path, answers=answers, headers=key, allow_private=True)
        assert type(error) is ForbiddenAddressError
        assert server.connections == 1

    def test_it_may_redirect_to_a_public_host_which_gets_no_credentials(self, tmp_path: Path) -> None:
        answers = [reply(status=302, location=CDN), serve_file(VIDEO)]
        url, key = "http://127.0.0.1:PORT/v", {"Authorization": "Bearer secret"}
        error, _, transport, _ = outcome(url, tmp_path, answers=answers, headers=key, allow_private=True)
        assert error is None
        assert transport.hosts == ["127.0.0.1", PUBLIC]
        assert "authorization" not in transport.requests[1].headers
