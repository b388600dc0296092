"""How the values of settings are read from the text of a variable."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from cinelet.domain.errors import ValidationError
from cinelet.domain.model import ModelReference
from cinelet.storage.blobs import check_store_url

_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?B|B)?", re.ASCII | re.IGNORECASE)
_UNITS = {
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate("KMGT", 1)},
    **{f"{letter}IB": 1024**power for power, letter in enumerate("KMGT", 1)},
}


def _canonical(reference: str) -> str:
    try:
        return str(ModelReference.parse(reference))
    except ValidationError as error:
        # Pydantic collects ValueErrors only, and adds which variable it was.
        raise ValueError(error.message) from error


def _canonical_all(references: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_canonical, references))


def _listed(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _paired(value: object) -> object:
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in value.split(",") if part.strip()]
    if not all(host.strip() and equals and given.strip() for host, equals, given in pairs):
        # Without the value: it may hold secrets.
        raise ValueError("Input should be host=value, separated by commas")
    return {host.strip().lower(): given.strip() for host, _, given in pairs}


def _stripped(value: object) -> object:
    # A token from a file or a secret store often ends with a newline, which no header may hold.
    return value.strip() if isinstance(value, str) else value


def _byte_count(value: object) -> object:
    if not isinstance(value, str):
        return value
    found = _BYTES.fullmatch(value.strip())
    if found is None:
        raise ValueError("Input should be a number of bytes, such as 12GB, 800MB or 16GiB")
    return int(float(found[1]) * _UNITS[(found[2] or "B").upper()])


def _absolute(path: Path) -> Path:
    try:
        # Once and for all: a program that changes its folder must not look for its jobs elsewhere.
        return path.expanduser().absolute()
    except RuntimeError as error:
        raise ValueError("there is no such user; write the whole path") from error


def _store_url(url: str) -> str:
    try:
        check_store_url(url)
    except ValidationError as error:
        raise ValueError(error.message) from error
    return url


Reference = Annotated[str, AfterValidator(_canonical)]
"""A model reference."""
References = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed), AfterValidator(_canonical_all)]
"""Model references, separated by commas in the environment."""
HostTokens = Annotated[dict[str, SecretStr], NoDecode, BeforeValidator(_paired)]
"""Tokens by host, `host=token` separated by commas in the environment."""
HostLimits = Annotated[dict[str, Annotated[int, Field(ge=1)]], NoDecode, BeforeValidator(_paired)]
"""Numbers by host, `host=number` separated by commas in the environment."""
ByteCount = Annotated[int, BeforeValidator(_byte_count), Field(ge=1)]
"""Bytes, as a number or with a unit: 12GB is 12,000,000,000."""
Secret = Annotated[SecretStr, BeforeValidator(_stripped)]
"""A token, a key, an address with a password."""
Folder = Annotated[Path, AfterValidator(_absolute)]
"""A folder, absolute from here on; "~" is the user's."""
File = Folder
"""A file, in the same way."""
StoreUrl = Annotated[str, AfterValidator(_store_url)]
"""A place for videos, as `open_store` takes it."""
