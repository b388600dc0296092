"""Who asks, and what he may do. Whatever is not open needs a key, before a byte of the body is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cinelet.api.errors import NotAllowedError, NotAuthenticatedError, reply_to
from cinelet.api.limits import Allowance, RequestLimits
from cinelet.api.loopback import is_loopback
from cinelet.api.scraper import METRICS_PATH, Scrapers
from cinelet.clock import Clock
from cinelet.domain.errors import CineletError
from cinelet.jobs.errors import DatabaseError
from cinelet.jobs.keys import Keys, Role
from cinelet.jobs.queue import LOCAL_OWNER, Admit

OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/openapi.json", "/docs"})
OPEN_FOLDERS = ("/docs/", "/web/")
"""For everybody; the page asks for a key itself."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. owner: of what he makes."""

    owner: str
    role: Role
    allowance: Allowance | None = None
    """What his key may use; None for no limit at all."""
    webhook_url: str | None = field(default=None, repr=False)
    """Who is told of what he makes, where he names nobody."""
    needs_key: bool = True
    """Whether he would be nobody here without a key."""
    key_is_valid: Callable[[], Awaitable[bool]] | None = field(default=None, repr=False, compare=False)
    """Asks again about his key; None where he has none."""

    @property
    def sees(self) -> str | None:
        """Whose generations he sees and changes: his own; None for everybody's."""
        return None if self.role is Role.ADMIN else self.owner

    async def is_still_let_in(self) -> bool:
        """Tell whether what he is told may go on: his key may have been revoked since he asked."""
        try:
            return self.key_is_valid is None or await self.key_is_valid()
        except DatabaseError:  # it is away, and tells nobody anything
            return True

    @property
    def admit(self) -> Admit | None:
        """What is to look at a generation of his while it is made, if anything."""
        return self.allowance.admit if self.allowance is not None and self.allowance.limits_generations else None

    @property
    def budget_currency(self) -> str | None:
        """What his budget is in, if he has one: then all that he asks for must have a cost that is known."""
        return None if self.allowance is None else self.allowance.limits.currency


ANYBODY = Caller(LOCAL_OWNER, Role.GENERATE, needs_key=False)
"""Whoever asks where everybody is served."""
WHOEVER_IS_HERE = Caller(LOCAL_OWNER, Role.ADMIN, needs_key=False)
"""Whoever asks on this machine while there is no key: he could make one of an administrator."""


class Access:
    """Lets a request in: with a valid key, or from this machine where there are no keys, or with `open_to_all`."""

    def __init__(self, app: ASGIApp, *, open_to_all: bool, clock: Clock | None = None) -> None:
        self._app = app
        self._open_to_all = open_to_all
        self._requests = RequestLimits(clock=clock)
        self._scrapers = Scrapers(self._caller)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its caller in its state, or answer why not."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or scope["path"].startswith(OPEN_FOLDERS):
            await self._app(scope, receive, send)
            return
        try:
            caller = await (self._scrapers if scope["path"] == METRICS_PATH else self._caller)(scope)
        except CineletError as error:
            await reply_to(error)(scope, receive, send)
            return
        allowance = caller.allowance

        async def told(message: Message) -> None:
            if allowance is not None and message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(allowance.headers())
            await send(message)

        if allowance is not None and allowance.refusal is not None:
            await reply_to(allowance.refusal)(scope, receive, told)
            return
        scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, told)

    async def _caller(self, scope: Scope) -> Caller:
        keys: Keys = scope["app"].state.keys
        if self._open_to_all:
            (_require_own_page if _came_to_loopback(scope) else _require_same_site)(Headers(scope=scope))
            return ANYBODY
        if _came_to_loopback(scope) and not await keys.exist():
            _require_own_page(Headers(scope=scope))
            return WHOEVER_IS_HERE
        scheme, _, secret = Headers(scope=scope).get("authorization", "").partition(" ")
        key = await keys.find(secret.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            raise NotAuthenticatedError

        async def is_valid() -> bool:
            return await keys.find(secret.strip()) is not None

        return Caller(key.owner, key.role, self._requests.counted(key), key.webhook_url, key_is_valid=is_valid)


class CallerWith(HTTPBearer):
    """Gives a route its caller, where he has a role or more, and tells OpenAPI that the route takes a key.

    A security scheme itself, and not a function that depends on one: FastAPI solves each step anew for every request.
    """

    def __init__(self, role: Role) -> None:
        description = "A key of `cinelet keys create`; on this machine none is needed until there is one."
        super().__init__(scheme_name="key", description=description)
        self._role = role

    async def __call__(self, request: Request) -> Caller:  # type: ignore[override]
        """Return who asks."""
        caller: Caller = request.state.caller
        if not caller.role.includes(self._role):
            raise NotAllowedError(f"This key has the role {caller.role}, and this needs {self._role}")
        return caller


caller_of = CallerWith(Role.READ)
"""For whoever may at least read."""


def _require_own_page(headers: Headers) -> None:
    """Raise `NotAllowedError` for what a page of some web site sends to this machine through its visitor's browser.

    Its name is in `Origin`, or in `Host` where a name server led that name here.
    """
    here = "localhost"
    for header, site in (("Host", f"//{headers.get('host', here)}"), ("Origin", headers.get("origin", f"//{here}"))):
        if not is_loopback(_host_of(site)):
            message = f"{header} names another site, and without a key only this machine is served"
            raise NotAllowedError(f"{message}; ask as localhost")


def _require_same_site(headers: Headers) -> None:
    """Raise `NotAllowedError` for what a page of another site sends where no key is needed: `Origin` names it."""
    origin = headers.get("origin")
    if origin is not None and _host_of(origin) != _host_of(f"//{headers.get('host', '')}"):
        message = "Origin names another site than Host does, and without keys only the service's own page may ask"
        raise NotAllowedError(f"{message}; serve with keys (cinelet keys create NAME) and without --no-auth for others")


def _host_of(site: str) -> str:
    """Return the host of a site; nothing where it names none."""
    try:
        return urlsplit(site).hostname or ""
    except ValueError:  # half an IPv6 address
        return ""


def _came_to_loopback(scope: Scope) -> bool:
    """Tell whether a connection was taken at an address that only this machine reaches."""
    server: Any = scope.get("server")
    return server is not None and is_loopback(str(server[0]))
