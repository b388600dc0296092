"""Addresses that nothing may be connected to on a stranger's word."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from tests.transport.loopback import PUBLIC

# PORT is the listener's: a connection to any form of loopback would be counted there.
HOSTS = [
    *("127.0.0.1", "127.0.0.2", "127.1.2.3", "127.255.255.254", "127.1", "127.0.1"),
    *("localhost", "LOCALHOST", "localhost."),
    *("2130706433", "0x7f000001", "0x7F.0.0.1", "0x7f.1", "0177.0.0.1", "017700000001", "0177.1", "127.0.0.01"),
    *("0.0.0.0", "0", "0x0", "00.0", "[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::127.0.0.1]"),
    *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:0001]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"),
    *("169.254.169.254", "[::ffff:169.254.169.254]", "2852039166", "0xa9fea9fe", "[fd00:ec2::254]", "169.254.0.1"),
    *("10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255", "167772161"),
    *("100.64.0.1", "100.127.255.255", "198.18.0.1", "192.0.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1"),
    *("[fc00::1]", "[fdff:ffff::1]", "[fe80::1]", "[fec0::1]", "[ff02::1]", "[2001::1]", "[::ffff:10.0.0.1]"),
    *("127。0。0。1", "\uff11\uff12\uff17.0.0.1", "ⓛocalhost", "①②⑦.0.0.1", "127.0.0.1%00", "%31%32%37.0.0.1"),
]
URLS = [
    *(f"https://{host}:PORT/v.mp4" for host in HOSTS),
    "http://127.0.0.1:PORT/v.mp4",
    "http://cdn.example:PORT/v.mp4",
    "https://user:password@127.0.0.1:PORT/v.mp4",
    "https://cdn.example@127.0.0.1:PORT/v.mp4",
    "https://cdn.example:443@127.0.0.1:PORT/",
    "https://cdn.example\\@127.0.0.1:PORT/",
    "https://cdn.example#@127.0.0.1:PORT/",
    "https://127.0.0.1:PORT#@cdn.example/",
    "https://127.0.0.1:PORT\\@cdn.example/",
    "file:///etc/passwd",
    "file://127.0.0.1:PORT/v.mp4",
    "gopher://127.0.0.1:PORT/_GET",
    "ftp://127.0.0.1:PORT/v.mp4",
    "ws://127.0.0.1:PORT/",
    "dict://127.0.0.1:PORT/",
    "unix:///var/run/docker.sock",
    "data:video/mp4;base64,AAAA",
    "javascript:alert(1)",
    "//127.0.0.1:PORT/v.mp4",
    "127.0.0.1:PORT/v.mp4",
    "https:/127.0.0.1:PORT/",
    "https:127.0.0.1:PORT",
    "https://",
    "https://:PORT/",
    "https://[::1/",
    "https://127.0.0.1:99999/",
    "https://127.0.0.1:-1/",
    "https://127.0.0.1:0/",
    "https://127.0.0.1:PORT\r\nHost: cdn.example/",
    "\thttps://127.0.0.1:PORT/",
    "https://" + "a" * 70_000,
    "",
]


async def loopback_or_public(host: str, port: int) -> Sequence[str]:
    """Resolve as the system does what needs no network, and give every name a public address."""
    if host.endswith(".example"):
        return [PUBLIC]
    known = {"localhost": "127.0.0.1", "localhost.": "127.0.0.1"}
    found = socket.getaddrinfo(known.get(host, host), port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return [str(address[0]) for *_, address in found]
