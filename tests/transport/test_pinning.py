"""With real TLS: the connection goes to the checked address, and the certificate must be the host's."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpcore2
import httpx2
import pytest

from cinelet.clock import FakeClock
from cinelet.domain.backend import Context
from cinelet.domain.errors import HuggingFaceAPIError
from cinelet.transport.client import Timeouts, make_client
from cinelet.transport.download import download
from tests.transport.loopback import MP4_HEAD, PUBLIC, resolves_to

OPENSSL = shutil.which("openssl")
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="the certificate is made by openssl")

Certificate = tuple[Path, Path]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Return a certificate for cdn.example that is its own authority, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    name = ["-subj", "/CN=cdn.example", "-addext", "subjectAltName=DNS:cdn.example"]
    command = [str(OPENSSL), "req", "-x509", *kind, *name, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


class Network(httpcore2.AsyncNetworkBackend):
    """Connects to one port on loopback, wherever to it is asked."""

    def __init__(self, port: int) -> None:
        self.connected_to: list[tuple[str, int]] = []
        self._port = port
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (the library's signature)
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self.connected_to.append((host, port))
        return await self._inner.connect_tcp("127.0.0.1", self._port, timeout, local_address, socket_options)


async def fetch(urls: list[str], folder: Path, certificate: Certificate) -> tuple[list[str | None], Network]:
    """Download each in turn from a TLS server; return the names that were asked for in TLS, and the network."""
    names: list[str | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # One connection serves many requests, for whatever host they are.
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(MP4_HEAD) + MP4_HEAD)
                await writer.drain()
        writer.close()

    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(*certificate)
    server_side.sni_callback = lambda _connection, name, _context: names.append(name)
    client_side = ssl.create_default_context(cafile=str(certificate[0]))
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_side)
    network = Network(server.sockets[0].getsockname()[1])
    transport = httpx2.AsyncHTTPTransport(verify=client_side)
    transport._pool._network_backend = network
    try:
        async with make_client(timeouts=Timeouts(), transport=transport) as client:
            for url in urls:
                await download(
                    url,
                    folder / "v.mp4",
                    client=client,
                    context=Context(folder),
                    clock=FakeClock(),
                    max_bytes=10_000,
                    resolve=resolves_to(PUBLIC),
                )
    finally:
        server.close()
        await server.wait_closed()
    return names, network


def test_the_connection_goes_to_the_address_and_tls_to_the_host(tmp_path: Path, certificate: Certificate) -> None:
    names, network = asyncio.run(fetch(["https://cdn.example/v.mp4"], tmp_path, certificate))
    assert network.connected_to == [(PUBLIC, 443)]
    assert names == ["cdn.example"]
    assert (tmp_path / "v.mp4").read_bytes() == MP4_HEAD


def test_a_certificate_of_another_host_is_refused(tmp_path: Path, certificate: Certificate) -> None:
    with pytest.raises(HuggingFaceAPIError, match="cannot be reached"):
        asyncio.run(fetch(["https://other.example/v.mp4"], tmp_path, certificate))


def test_a_checked_connection_does_not_serve_another_host_at_its_address(
    tmp_path: Path, certificate: Certificate
) -> None:
    with pytest.raises(HuggingFaceAPIError, match=r"other\.example cannot be reached"):
        asyncio.run(fetch(["https://cdn.example/v.mp4", "https://other.example/v.mp4"], tmp_path, certificate))
