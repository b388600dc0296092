"""Which addresses only this machine reaches."""

from __future__ import annotations

import functools
import ipaddress


@functools.lru_cache(maxsize=100)  # a request asks three times
def is_loopback(host: str) -> bool:
    """Tell whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
