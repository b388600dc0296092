"""The JSON body of a request. A picture of 20 MB is put into it piece by piece, so that nothing else has to wait."""

from __future__ import annotations

import binascii
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

_ENCODED_BYTES = 3 * 64 * 1024
"""Each piece is encoded, and later encrypted and sent, in one go; a multiple of 3, so that no padding is in between."""


@dataclass(frozen=True, slots=True)
class Body:
    """Pieces of a JSON text."""

    pieces: tuple[bytes, ...]

    def request(
        self, client: httpx2.AsyncClient, url: httpx2.URL | str, *, headers: Mapping[str, str]
    ) -> httpx2.Request:
        """Return a POST with this body, which can be sent once."""
        length = str(sum(map(len, self.pieces)))
        shared = {"content-type": "application/json", **headers, "content-length": length}
        return client.build_request("POST", url, headers=shared, content=self._stream())

    async def _stream(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece


def new_placeholder() -> str:
    """Return an address that occurs nowhere else, and that JSON writes as it is; it stands for a picture."""
    return f"https://image.invalid/{secrets.token_hex(16)}"


def json_body(payload: Mapping[str, Any]) -> Body:
    """Write JSON values."""
    return Body((_json(payload),))


def json_body_with_picture(payload: Mapping[str, Any], picture: bytes, *, placeholder: str, prefix: str = "") -> Body:
    """Write JSON values with a picture in base64, behind `prefix`, wherever `placeholder` stands; takes a while."""
    step = _ENCODED_BYTES
    encoded = [binascii.b2a_base64(picture[at : at + step], newline=False) for at in range(0, len(picture), step)]
    first, *rest = _json(payload).split(placeholder.encode())
    pieces = [first]
    for piece in rest:
        pieces += [prefix.encode(), *encoded, piece]
    return Body(tuple(filter(None, pieces)))


def _json(payload: Mapping[str, Any]) -> bytes:
    return json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
