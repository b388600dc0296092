"""Where a webhook may be sent: what is plainly wrong is refused when it is given, the rest at each attempt."""

from __future__ import annotations

import re
import socket
from contextlib import suppress

import httpx2

from cinelet.domain.errors import ValidationError
from cinelet.transport.addresses import is_public
from cinelet.transport.pinning import port_of

WEBHOOK_URL = "webhook_url"
MAX_URL_CHARACTERS = 2000
_HOST = re.compile(r"[A-Za-z0-9._:-]+", re.ASCII)


def webhook_address(text: str, *, allow_private: bool) -> httpx2.URL:
    """Return the address of a receiver, or raise `ValidationError` that does not repeat it: it may hold a secret.

    allow_private: also plain http, and hosts inside a network.
    """
    if len(text) > MAX_URL_CHARACTERS or not text.isprintable():
        raise _refused(f"Must have at most {MAX_URL_CHARACTERS} printable characters")
    try:
        url = httpx2.URL(text)
        host = url.raw_host.decode("ascii")
    except (httpx2.InvalidURL, ValueError) as error:
        raise _refused("Must be an address, such as https://example.org/hook") from error
    if url.scheme != "https" and not (allow_private and url.scheme == "http"):
        raise _refused("Must begin with https://")
    if url.userinfo:
        raise _refused("Must hold no user")
    if not _HOST.fullmatch(host) or not 0 < port_of(url) < 65536:
        raise _refused("Must have a host, and a port that there is")
    if not allow_private and not _may_be_public(host):
        raise _refused("Must not lead into a network: its host is private")
    return url


def _may_be_public(host: str) -> bool:
    """Tell whether a host is public, as far as its name says it."""
    with suppress(OSError, UnicodeError):
        # Asks nobody. It understands the old ways to write an address, too: 2130706433, 0x7f.1.
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        return is_public(str(found[0][4][0]))
    name = host.rstrip(".").lower()
    return "." in name and not name.endswith(".localhost")


def _refused(why: str) -> ValidationError:
    return ValidationError(f"{WEBHOOK_URL}: {why}", {WEBHOOK_URL: why})
