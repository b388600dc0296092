"""A request that goes to the address that was checked, whatever the host's name becomes meanwhile."""

from __future__ import annotations

from collections.abc import Mapping

import httpx2

from cinelet.transport.addresses import Resolver, public_addresses

MAX_ADDRESSES_TRIED = 4


async def pinned_requests(
    client: httpx2.AsyncClient,
    method: str,
    url: httpx2.URL,
    *,
    headers: Mapping[str, str],
    resolve: Resolver,
    content: bytes | None = None,
) -> tuple[httpx2.Request, ...]:
    """Resolve the host once and return the request for each of its addresses, in the order in which to try them.

    Raises `ForbiddenAddressError` if any address is not public, and `HuggingFaceAPIError` if there is none.
    """
    host = url.raw_host.decode("ascii")
    addresses = await public_addresses(host, port_of(url), resolve=resolve)
    # The library knows its connections by address. One whose certificate was checked for this host must not be used
    # again for another host at the same address.
    shared = {**headers, "Host": url.netloc.decode("ascii"), "Connection": "close"}
    return tuple(
        client.build_request(
            method, url.copy_with(host=address), headers=shared, content=content, extensions={"sni_hostname": host}
        )
        for address in addresses[:MAX_ADDRESSES_TRIED]
    )


def port_of(url: httpx2.URL) -> int:
    """Return the port, also where it is the scheme's own and not written; 0 where there is none."""
    return {"https": 443, "http": 80}.get(url.scheme, 0) if url.port is None else url.port
