"""Which addresses may be connected to on a stranger's word: those of the public internet."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence

from cinelet.domain.errors import HuggingFaceAPIError, ValidationError

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Turns a host and a port into addresses; raises `OSError` if there is none."""

# Beyond what `is_global` knows, in some or all versions of Python: protocol assignments, a block for documentation, and
# relays and tunnels, whose packets end somewhere else.
_NOT_PUBLIC = tuple(
    map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20"))
)
_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class ForbiddenAddressError(ValidationError):
    """An address that is not fetched from: inside a network, without a safe scheme, or with a user in it."""

    code = "forbidden_address"


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """Ask the system, which also understands the old ways to write an address: 2130706433, 0x7f.1, 0177.0.0.1."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


async def public_address(host: str, port: int, *, resolve: Resolver = system_resolver) -> str:
    """Return an address to connect to; the first of `public_addresses`."""
    return (await public_addresses(host, port, resolve=resolve))[0]


async def public_addresses(host: str, port: int, *, resolve: Resolver = system_resolver) -> tuple[str, ...]:
    """Resolve a host once and return its addresses, in order: what is connected to is what was checked.

    Raises `ForbiddenAddressError` if any of them is not public, and `HuggingFaceAPIError` if there is none.
    """
    try:
        addresses = tuple(dict.fromkeys(await resolve(host, port)))
    except (OSError, UnicodeError) as error:
        # UnicodeError: a label of more than 63 characters.
        raise _unknown(host) from error
    if not addresses:
        raise _unknown(host)
    if not all(map(is_public, addresses)):
        message = f"{host[:100]!r} is an address inside a network, and videos are fetched from public ones only"
        raise ForbiddenAddressError(message, {"url": "Not a public address"})
    return addresses


def is_public(address: str) -> bool:
    """Tell whether an address is one of the public internet; an IPv6 one that holds an IPv4 one is judged by that."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or (ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None)
        if inner is None and ip not in _UNICAST:
            return False
        ip = inner or ip
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _NOT_PUBLIC)


def _unknown(host: str) -> HuggingFaceAPIError:
    return HuggingFaceAPIError(f"The host {host[:100]!r} has no address; check its name and the network", provider=host)
