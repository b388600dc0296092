"""One HTTP client for many hosts."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version

import httpx2

MAX_CONNECTIONS = 512
"""Each download and each held request has one of its own."""
MAX_KEPT_CONNECTIONS = 16
"""The pool looks at every idle connection twice a request, so many of them cost more than they save."""
KEEP_ALIVE_SECONDS = 3.0
"""Below the 5 s after which impatient servers hang up: a POST on a connection that is just being closed looks sent."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits of single steps, in seconds; the whole is limited by the context's deadline."""

    connect_seconds: float = 10
    read_seconds: float = 60
    write_seconds: float = 60


def make_client(*, timeouts: Timeouts, transport: httpx2.AsyncBaseTransport | None = None) -> httpx2.AsyncClient:
    """Return a client that follows no redirect and keeps no cookie; proxies and certificates as the environment says.

    transport: what sends instead, for tests; the environment's proxies are then not used.
    """
    logger = logging.getLogger("httpx2")
    if _WITHOUT_QUERIES not in logger.filters:
        logger.addFilter(_WITHOUT_QUERIES)
    limits = httpx2.Limits(
        max_connections=MAX_CONNECTIONS,
        max_keepalive_connections=MAX_KEPT_CONNECTIONS,
        keepalive_expiry=KEEP_ALIVE_SECONDS,
    )
    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(
            connect=timeouts.connect_seconds,
            read=timeouts.read_seconds,
            write=timeouts.write_seconds,
            # A full pool is waited for as a connection is.
            pool=timeouts.connect_seconds,
        ),
        limits=limits,
        transport=transport,
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        headers={"User-Agent": f"cinelet/{version('cinelet')}"},
    )


class _WithoutQueries(logging.Filter):
    """Takes the query out of the addresses that the library logs: it is what signs a link."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                value.copy_with(query=None) if isinstance(value, httpx2.URL) else value for value in record.args
            )
        return True


_WITHOUT_QUERIES = _WithoutQueries()
