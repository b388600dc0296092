"""The way to a provider, and the only place that decides which host sees a credential."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx2

from cinelet.backends.huggingface.providers import PROVIDERS, Provider
from cinelet.domain.errors import AuthenticationError, CineletError

ROUTER_HOST = "router.huggingface.co"
HF_PREFIX = "hf_"
"""How every Hugging Face token begins, and nothing else that is sent to a provider."""
BILL_TO_HEADER = "x-hf-bill-to"


class ForeignAddressError(CineletError):
    """An address that is neither the router's nor the provider's own; it gets no credential."""

    code = "foreign_address"


@dataclass(frozen=True, slots=True)
class Access:
    """A provider, reached through the router with a Hugging Face token, or directly with the provider's own key."""

    provider: Provider
    secret: str = field(repr=False)
    routed: bool
    bill_to: str | None = None

    def headers(self) -> dict[str, str]:
        """Return what signs a question about a job, and says who pays."""
        if self.routed:
            return {"authorization": f"Bearer {self.secret}", **self.billing()}
        return {"authorization": f"{self.provider.scheme} {self.secret}"}

    def billing(self) -> dict[str, str]:
        """Return the header that names the organisation that pays; only the router knows it."""
        return {BILL_TO_HEADER: self.bill_to} if self.routed and self.bill_to else {}

    def url(self, given: str) -> httpx2.URL:
        """Return where to send what belongs to an address that the provider gave: to itself, or through the router.

        Raises `ForeignAddressError` for any other host, and for a path that could lead out of the provider's own.
        """
        path = self._own_path(given)
        if self.routed:
            query = self.provider.router_query.encode() or None
            return httpx2.URL(f"https://{ROUTER_HOST}/{self.provider.name}{path}").copy_with(query=query)
        return httpx2.URL(given).copy_with(query=None, fragment=None)

    def require_own(self, address: str) -> None:
        """Raise `ForeignAddressError` for an address that the secret is not for; whatever built it is not trusted."""
        url = httpx2.URL(address)
        home = {ROUTER_HOST} if self.routed else self.provider.hosts
        if url.scheme != "https" or url.port is not None or url.userinfo or url.host not in home:
            message = f"A request for {self.provider.name} was built for {url.host[:100]!r}, which is not its own"
            raise ForeignAddressError(
                f"{message}; it is not sent: install the huggingface_hub that cinelet was tested with"
            )

    def _own_path(self, given: str) -> str:
        """Return the path of an address that is the provider's own, without what the router puts before it."""
        try:
            url = httpx2.URL(given)
        except (httpx2.InvalidURL, ValueError) as error:
            raise ForeignAddressError("not an address") from error
        raw_path = url.raw_path.decode("ascii").partition("?")[0]
        plain = url.scheme == "https" and url.port is None and not url.userinfo
        # The library takes dots out of a path; what it leaves is written in another way, to be read by somebody else.
        if not plain or "%" in raw_path or "\\" in given or "/.." in given:
            raise ForeignAddressError("not a plain https address")
        if url.host == ROUTER_HOST and self.routed and raw_path.startswith(f"/{self.provider.name}/"):
            return raw_path.removeprefix(f"/{self.provider.name}")
        if url.host not in self.provider.hosts:
            raise ForeignAddressError(f"{url.host[:100]!r} is no host of {self.provider.name}")
        return raw_path


class Keyring:
    """The credentials that there are. A provider's own key is preferred: it was set for that provider alone."""

    def __init__(self, *, token: str | None, provider_keys: Mapping[str, str], bill_to: str | None) -> None:
        self.token = token or None
        self._provider_keys = {provider: key for provider, key in provider_keys.items() if key}
        self._bill_to = bill_to or None

    def __repr__(self) -> str:
        return f"Keyring({', '.join(['hub'] * bool(self.token) + sorted(self._provider_keys))})"

    def is_empty(self) -> bool:
        """Tell whether there is nothing to call any provider with."""
        return not self.token and not self._provider_keys

    def access(self, provider: Provider, *, routed: bool | None = None) -> Access:
        """Return the way to a provider; routed: the way that a job was sent. Raises `AuthenticationError`."""
        why_not = self.why_not(provider, routed=routed)
        if why_not:
            raise AuthenticationError(f"{provider.name} cannot be used: {why_not}", provider=provider.name)
        key = self._provider_keys.get(provider.name)
        if key is not None and routed is not True:
            return Access(provider, key, routed=False)
        return Access(provider, self.token or "", routed=True, bill_to=self._bill_to)

    def why_not(self, provider: Provider, *, routed: bool | None = None) -> str:
        """Say what is missing for a provider, and what to do; empty if nothing is."""
        key = self._provider_keys.get(provider.name)
        if key is not None and routed is not True:
            # The library would take it for a token and send it to the router.
            if key.startswith(HF_PREFIX):
                return (
                    f"{provider.key_variable} is a Hugging Face token (it begins with {HF_PREFIX}); set it as HF_TOKEN"
                )
            return "" if _is_header_text(key) else f"{provider.key_variable} holds what no key does; correct it"
        if routed is False:
            return f"the job was sent with {provider.name}'s own key; set {provider.key_variable} again"
        if self.token is None:
            return f"it needs a credential; set HF_TOKEN, or {provider.key_variable}"
        # The library would send it to the provider.
        if not self.token.startswith(HF_PREFIX) or not _is_header_text(self.token):
            return f"HF_TOKEN is no Hugging Face token (they begin with {HF_PREFIX}); correct it"
        return ""

    def nothing_to_call_with(self, what: str) -> AuthenticationError:
        """Return the error for a keyring that is empty. what: the model."""
        names = ", ".join(provider.key_variable for provider in PROVIDERS.values())
        message = f"{what} runs remotely, and there is no token"
        return AuthenticationError(
            f"{message}; set HF_TOKEN (see https://huggingface.co/settings/tokens), or a provider's own key ({names})"
        )


def _is_header_text(secret: str) -> bool:
    return secret.isascii() and secret.isprintable() and " " not in secret
