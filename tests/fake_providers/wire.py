"""The way from a client to the fake: names, addresses, and transports that keep production URLs.

A transport sends a copy of each request to the loopback port, and refuses what a real network would refuse: a name that
does not exist, an address or a port where no such host is, a certificate for another name. Every host is https only.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import httpx2

HOSTS = (
    "huggingface.co",
    "router.huggingface.co",
    "queue.fal.run",
    "v3.fal.media",
    "api.wavespeed.ai",
    "d1q70pf5vjeyhc.cloudfront.net",
    "api.together.xyz",
    "api.together.ai",
    "together-outputs.s3.us-west-2.amazonaws.com",
    "api.replicate.com",
    "replicate.delivery",
    "api.novita.ai",
    "faas-output-video.s3.ap-southeast-1.amazonaws.com",
    "xyz.us-east-1.aws.endpoints.huggingface.cloud",
)


def _addresses() -> dict[str, list[str]]:
    return {host: [f"151.101.1.{number}"] for number, host in enumerate(HOSTS, 1)}


@dataclass(frozen=True, slots=True)
class Wire:
    """Where the fake listens, and what its names resolve to.

    addresses: by host; a test may change them, as somebody who controls a name server would. strays: every request
    that would have left for a host that is not here; none of them was sent.
    """

    port: int
    addresses: dict[str, list[str]] = field(default_factory=_addresses)
    strays: list[str] = field(default_factory=list)

    async def resolve(self, host: str, port: int) -> Sequence[str]:  # noqa: ARG002
        """Return the addresses of a name; an address is its own."""
        if host in self.addresses:
            return list(self.addresses[host])
        if _is_address(host):
            return [host]
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def transport(self, over: httpx2.AsyncBaseTransport | None = None) -> httpx2.AsyncBaseTransport:
        """Return a new transport for an `httpx2.AsyncClient`, which closes it. over: what carries the copies."""
        return _AsyncTransport(self, over or httpx2.AsyncHTTPTransport(verify=False, limits=httpx2.Limits()))

    def sync_transport(self, over: httpx2.BaseTransport | None = None) -> httpx2.BaseTransport:
        """Return a new transport for an `httpx2.Client`, which closes it. over: what carries the copies."""
        return _SyncTransport(self, over or httpx2.HTTPTransport(verify=False, limits=httpx2.Limits()))

    def copy(self, request: httpx2.Request) -> httpx2.Request:
        """Return what goes over the loopback instead of `request`, or raise as an unreachable host would."""
        asked = request.url.host
        named = request.headers["host"].partition(":")[0]
        extensions = dict(request.extensions)
        server_name = extensions.pop("sni_hostname", asked)
        address = asked if _is_address(asked) else next(iter(self.addresses.get(asked, ())), None)
        home = HOSTS.index(named) + 1 if named in HOSTS else None
        at_the_port = (request.url.scheme, request.url.port or 443) == ("https", 443)
        if home is None or address != f"151.101.1.{home}" or not at_the_port:
            self.strays.append(f"{request.method} {request.url.copy_with(query=None)}")
            raise httpx2.ConnectError(f"No host {asked} (named {named}) in this internet", request=request)
        if server_name != named:
            raise httpx2.ConnectError(f"The certificate is for {named}, not for {server_name}", request=request)
        url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self.port)
        return httpx2.Request(
            request.method, url, headers=request.headers, stream=request.stream, extensions=extensions
        )


class _AsyncTransport(httpx2.AsyncBaseTransport):
    def __init__(self, wire: Wire, loopback: httpx2.AsyncBaseTransport) -> None:
        self._wire = wire
        self._loopback = loopback

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await self._loopback.handle_async_request(self._wire.copy(request))

    async def aclose(self) -> None:
        await self._loopback.aclose()


class _SyncTransport(httpx2.BaseTransport):
    def __init__(self, wire: Wire, loopback: httpx2.BaseTransport) -> None:
        self._wire = wire
        self._loopback = loopback

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return self._loopback.handle_request(self._wire.copy(request))

    def close(self) -> None:
        self._loopback.close()


@cache
def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
