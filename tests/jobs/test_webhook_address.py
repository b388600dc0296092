"""Receivers inside a network: refused when they are given, and again at each attempt, before any connection."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cinelet.domain.errors import ValidationError
from cinelet.jobs.deliveries import DeliveryState
from cinelet.jobs.webhook_address import MAX_URL_CHARACTERS, webhook_address
from tests.jobs.conftest import WithLedger
from tests.jobs.post_office import BROKEN, open_post_office
from tests.transport.forbidden import URLS, loopback_or_public
from tests.transport.loopback import PUBLIC, Loopback, resolves_to

TO_A_NAME = "https://cdn.example#@127.0.0.1:PORT/"
"""To the parser the public host and a fragment."""
REFUSED = [url.replace("PORT", "8443") for url in URLS if url != TO_A_NAME]


@pytest.mark.parametrize("url", REFUSED, ids=lambda url: url.encode("unicode_escape").decode()[:50])
def test_what_is_plainly_wrong_is_refused_when_it_is_given(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        webhook_address(url, allow_private=False)
    assert list(refused.value.details) == ["webhook_url"]
    assert "password" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/hook",
        "https://example.org:8443/hook?token=x#y",
        f"https://{PUBLIC}/",
        "https://[2606:4700::1111]/",
        "https://bücher.example/hook",
        "https://example.org/" + "a" * (MAX_URL_CHARACTERS - 20),
    ],
)
def test_a_public_https_address_is_taken(url: str) -> None:
    assert str(webhook_address(url, allow_private=False).scheme) == "https"


@pytest.mark.parametrize(
    "url", ["https://example.org/" + "a" * MAX_URL_CHARACTERS, "https://intranet/", "https://a.localhost/"]
)
def test_what_no_public_host_can_be_called_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        webhook_address(url, allow_private=False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/hook", "http://receiver/hook", "https://10.0.0.1/"])
def test_inside_one_network_it_is_taken_where_that_is_allowed(url: str) -> None:
    with pytest.raises(ValidationError):
        webhook_address(url, allow_private=False)
    assert webhook_address(url, allow_private=True).host


@pytest.mark.parametrize(
    "url", ["ftp://10.0.0.1/", "file:///etc/passwd", "http://user@10.0.0.1/", "http://", "http://[::1/"]
)
def test_what_is_no_address_is_refused_there_too(url: str) -> None:
    with pytest.raises(ValidationError):
        webhook_address(url, allow_private=True)


def test_no_attempt_connects_to_one_that_came_in_another_way(with_ledger: WithLedger) -> None:
    seen: list[Loopback] = []

    async def opened(ledger, database):
        async with open_post_office(ledger, database, resolve=loopback_or_public, on_transport=seen.append) as post:
            made = [
                await post.ended(url=url.replace("PORT", str(post.server.port)))
                for url in URLS
                if url.isprintable() and url != TO_A_NAME
            ]
            return [await post.attempt(one) for one in made], post.server.connections

    deliveries, connections = with_ledger(opened)
    assert len(deliveries) >= 60
    assert (connections, seen[0].requests) == (0, [])
    assert {delivery.state for delivery in deliveries} == {DeliveryState.FAILED}
    assert {delivery.last_status for delivery in deliveries} == {None}


def test_a_name_that_becomes_private_later_is_connected_to_no_more(with_ledger: WithLedger) -> None:
    seen: list[Loopback] = []
    answers = [[PUBLIC], [PUBLIC, "10.0.0.7"]]

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return answers.pop(0)

    async def opened(ledger, database):
        async with open_post_office(ledger, database, BROKEN, resolve=resolve, on_transport=seen.append) as post:
            made = await post.ended()
            return await post.attempt(made), await post.attempt(made), post.server.connections

    first, second, connections = with_ledger(opened)
    assert (first.state, second.state) == (DeliveryState.PENDING, DeliveryState.FAILED)
    assert second.last_error == "Not a public address"
    assert (connections, seen[0].hosts) == (1, [PUBLIC]), "the address that was checked, and not its name"
    assert seen[0].requests[0].extensions["sni_hostname"] == "receiver.example"
    assert seen[0].requests[0].headers["host"] == "receiver.example"


def test_the_next_address_is_tried_where_one_does_not_answer(with_ledger: WithLedger) -> None:
    async def opened(ledger, database):
        async with open_post_office(ledger, database, resolve=resolves_to("1.1.1.1", PUBLIC)) as post:
            transport = post.courier._client._transport
            send, failed = transport.handle_async_request, []

            async def first_is_down(request):
                import httpx2

                if request.url.host == "1.1.1.1":
                    failed.append(request)
                    raise httpx2.ConnectError("down")
                return await send(request)

            transport.handle_async_request = first_is_down
            return await post.attempt(await post.ended()), len(failed)

    delivery, failed = with_ledger(opened)
    assert (delivery.state, delivery.attempts, failed) == (DeliveryState.DELIVERED, 1, 1)


def test_where_it_is_allowed_a_private_receiver_is_sent_to(with_ledger: WithLedger) -> None:
    async def opened(ledger, database):
        async with open_post_office(ledger, database, allow_private=True) as post:
            made = await post.ended(url=f"http://127.0.0.1:{post.server.port}/hook")
            return (await post.attempt(made)).state

    assert with_ledger(opened) is DeliveryState.DELIVERED
