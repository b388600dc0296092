"""Who may call: Hugging Face tokens, a key for each provider, and the hosts that may see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

HF_TOKEN = "hf_" + "aFakeTokenThatOpensNothingAtAll" + "0000"
OTHER_HF_TOKEN = "hf_" + "anotherFakeTokenOfSomebodyElse1" + "1111"
KEYS: Mapping[str, str] = {
    "fal-ai": "11111111-2222-3333-4444-555555555555:0123456789abcdef0123456789abcdef",
    "wavespeed": "wavespeed" + "fake1" * 11,
    "together": "tgp_v1_" + "fake2" * 8,
    "replicate": "r8_" + "Fake3" * 7,
    "novita": "sk_" + "fake4" * 8,
}
"""The key of each provider's own API."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A way to sign in. scheme: the first word of the header. refusal: the JSON body of a 401."""

    scheme: str
    secrets: frozenset[str]
    refusal: Mapping[str, object]

    def opens(self, authorization: str) -> bool:
        """Tell whether a header's value signs in; the scheme counts as well."""
        scheme, _, secret = authorization.partition(" ")
        return scheme == self.scheme and secret in self.secrets


HUGGING_FACE = Credential("Bearer", frozenset({HF_TOKEN, OTHER_HF_TOKEN}), {"error": "Invalid username or password."})


@dataclass(frozen=True, slots=True)
class Guarded:
    """An application that answers 401 to whoever does not sign in."""

    app: ASGIApp
    credential: Credential

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        received = scope["state"]["received"]
        if self.credential.opens(received.headers.get("authorization", "")):
            await self.app(scope, receive, send)
        else:
            refusal: Response = JSONResponse(dict(self.credential.refusal), 401)
            await refusal(scope, receive, send)
