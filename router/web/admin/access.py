"""Decide whether a request may reach the admin API (pure, except for the ASGI wrapper).

The Host must name this machine: a page of another site whose name resolves to 127.0.0.1 (DNS rebinding) still sends
that name. An Origin must be the API's own. Every path but `OPEN_PATHS` needs the token.
"""

import hmac
import re
from collections.abc import Iterable
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, Final

from attrs import frozen
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

OPEN_PATHS: Final = frozenset({"/healthz"})
"""Paths that need no token."""
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]/@]+))(?::\d{1,5})?")


@frozen(kw_only=True)
class Refusal:
    """The status code and the message for a request that may not reach the API."""

    status: int
    message: str


@frozen(kw_only=True)
class AccessPolicy:
    """The token and the hosts that a request must have."""

    token: str
    hosts: frozenset[str]
    """Names and addresses of this machine besides those of loopback, in lower case."""

    def check(self, scope: Scope) -> Refusal | None:
        """Return None if the request may reach the API, else its refusal."""
        hosts, origins, tokens = (_values(scope, name) for name in (b"host", b"origin", b"authorization"))
        if not all(self._is_own(host, scope) for host in hosts):
            message = "the Host of the request is not a name of this router; add it to admin.hosts to allow it"
            return Refusal(status=HTTPStatus.FORBIDDEN, message=message)
        if any(origin not in {f"{scope['scheme']}://{host}" for host in hosts} for origin in origins):
            return Refusal(status=HTTPStatus.FORBIDDEN, message="requests from pages of another origin are refused")
        if scope["path"] not in OPEN_PATHS and not self._is_token(tokens):
            message = (
                "the request lacks the router's token: send the text of admin.token, in the spool's folder, as Bearer"
            )
            return Refusal(status=HTTPStatus.UNAUTHORIZED, message=message)
        return None

    def _is_own(self, host: str, scope: Scope) -> bool:
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = (found[1] or found[2]).lower().removesuffix(".")
        if name == "localhost" or name in self.hosts:
            return True
        try:
            address = ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or (scope["server"] is not None and name == scope["server"][0])

    def _is_token(self, authorizations: list[str]) -> bool:
        if len(authorizations) != 1:
            return False
        kind, _, credentials = authorizations[0].partition(" ")
        given = credentials.strip().encode("latin-1")
        return kind.lower() == "bearer" and hmac.compare_digest(given, self.token.encode())


def _values(scope: Scope, name: bytes) -> list[str]:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return [value.decode("latin-1") for key, value in headers if key == name]


def guarded(application: ASGIApp, policy: AccessPolicy) -> ASGIApp:
    """Return `application` behind `policy`."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        refusal = policy.check(scope)
        if refusal is None:
            await application(scope, receive, send)
            return
        challenge: Any = {"WWW-Authenticate": "Bearer"} if refusal.status == HTTPStatus.UNAUTHORIZED else None
        response = JSONResponse({"error": refusal.message}, status_code=refusal.status, headers=challenge)
        await response(scope, receive, send)

    return answer
