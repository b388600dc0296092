"""Model references: the one string that names a model, parsed in one place.

```
org/name                        a Hub id: remote if a token is set, else local
hf:org/name                     remote, any inference provider
hf:org/name:provider            remote, that provider
local:org/name                  this machine, a Hub id
local:./directory               this machine, a directory
https://host/path               a dedicated Inference Endpoint
openai:name@https://host/v1     another engine that serves /v1/videos
embedded                        the small model inside the package
auto                            the best of some models, by how they perform
scheme:anything                 a plugin's scheme (entry point group cinelet.backends)
```
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from cinelet.domain.errors import ValidationError

MAX_REFERENCE_CHARACTERS = 500
BUILT_IN_SCHEMES = ("hub", "hf", "local", "endpoint", "openai", "embedded", "auto")

_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_HUB_ID = re.compile(rf"{_NAME}/{_NAME}")
_PROVIDER = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_SCHEME = re.compile(r"[a-z][a-z0-9_-]{0,29}")
_GRAMMAR = (
    "use org/name, hf:org/name[:provider], local:org/name, local:./directory, https://endpoint, "
    "openai:name@https://host/v1, embedded or auto"
)


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A parsed reference. `str()` gives the canonical text, which parses to an equal value.

    scheme: one of `BUILT_IN_SCHEMES` or a plugin's. name: Hub id, directory, remote model name, or a plugin's text.
    url: of an endpoint or an engine. provider: of `hf:`. is_directory: `local:` with a path.
    """

    scheme: str
    name: str
    provider: str | None = None
    url: str | None = None
    is_directory: bool = False

    @classmethod
    @functools.lru_cache(maxsize=1000)  # one request asks several times
    def parse(cls, text: str) -> ModelReference:
        """Parse a reference, or raise `ValidationError` that quotes it and gives the grammar."""
        reference = text.strip()
        if not reference or len(reference) > MAX_REFERENCE_CHARACTERS or not reference.isprintable():
            raise _refused(reference, "it is empty, too long or not printable")
        if reference in {"embedded", "auto"}:
            return cls(reference, reference)
        if reference.startswith(("https://", "http://")):
            return cls("endpoint", reference, url=_checked_url(reference, reference))
        if _HUB_ID.fullmatch(reference):
            return cls("hub", _checked_hub_id(reference, reference))
        if reference.startswith((".", "/", "~")) or re.match(r"[A-Za-z]:[\\/]", reference):
            raise _refused(reference, f"a directory is written local:{reference}")
        scheme, colon, rest = reference.partition(":")
        if not colon or not _SCHEME.fullmatch(scheme):
            raise _refused(reference, "it is neither a Hub id nor a scheme")
        if not rest:
            raise _refused(reference, f"nothing follows {scheme}:")
        match scheme:
            case "hf":
                hub_id, separator, provider = rest.partition(":")
                if separator and not _PROVIDER.fullmatch(provider):
                    raise _refused(reference, "the provider is not a name such as fal-ai")
                return cls("hf", _checked_hub_id(hub_id, reference), provider=provider or None)
            case "local":
                if rest.startswith((".", "/", "~")) or re.match(r"[A-Za-z]:[\\/]", rest) or not _HUB_ID.fullmatch(rest):
                    return cls("local", rest, is_directory=True)
                return cls("local", _checked_hub_id(rest, reference))
            case "openai":
                name, at, url = rest.partition("@")
                if not name or not at:
                    raise _refused(reference, "an engine is written openai:name@https://host/v1")
                return cls("openai", name, url=_checked_url(url, reference))
            case "hub" | "endpoint" | "embedded" | "auto":
                raise _refused(reference, f"{scheme}: is not a scheme")
            case _:
                return cls(scheme, rest)

    def __str__(self) -> str:
        match self.scheme:
            case "hub" | "endpoint" | "embedded" | "auto":
                return self.name
            case "hf":
                return f"hf:{self.name}:{self.provider}" if self.provider else f"hf:{self.name}"
            case "openai":
                return f"openai:{self.name}@{self.url}"
            case _:
                return f"{self.scheme}:{self.name}"


AUTO = ModelReference("auto", "auto")
"""Stands for the models that may be chosen among."""


def _refused(reference: str, why: str) -> ValidationError:
    shown = reference if len(reference) <= 80 else reference[:77] + "..."
    return ValidationError(f"{shown!r} is not a model reference: {why}; {_GRAMMAR}", {"model": why})


def _checked_hub_id(hub_id: str, reference: str) -> str:
    if not _HUB_ID.fullmatch(hub_id) or "--" in hub_id or ".." in hub_id:
        raise _refused(reference, "a Hub id is org/name, without -- and ..")
    return hub_id


def _checked_url(url: str, reference: str) -> str:
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError as error:
        raise _refused(reference, f"the address is broken ({error})") from error
    if parts.scheme not in {"https", "http"} or not parts.hostname or not port_is_valid:
        raise _refused(reference, "the address needs https:// and a host")
    if parts.username or parts.password:
        raise _refused("(address with a password)", "the address must hold no user and password")
    return url
