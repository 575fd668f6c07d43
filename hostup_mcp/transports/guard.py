"""Who may talk to us over HTTP: Host, Origin and bearer token of every request.

A page in a browser can reach a server on loopback, also under a name of its own that it lets
resolve to 127.0.0.1 (DNS rebinding). Host and Origin tell such requests; the SDK checks them on
some routes and some addresses only, so it is done here, for all of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hostup_mcp.execution.journal.records import LOCAL
from hostup_mcp.hostup.origin import is_loopback
from hostup_mcp.transports.http_errors import error_response
from hostup_mcp.transports.tokens import Tokens

_HOST: Final = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?")
_TOKEN_NAMES: Final = frozenset({"access_token", "token", "api_key", "apikey", "key"})


@dataclass(frozen=True, slots=True)
class Allowed:
    """The hosts and origins that are served.

    Attributes:
        hosts: `HOST`, which goes with every port, or `HOST:PORT`; lower case.
        origins: `SCHEME://HOST[:PORT]`; lower case.
        loopback: whether this machine's own names go too, with every port or none.
    """

    hosts: frozenset[str]
    origins: frozenset[str]
    loopback: bool

    def host(self, value: str) -> bool:
        """Whether a `Host` header names us."""
        value = value.lower()
        match = _HOST.fullmatch(value)
        if match is None:
            return False
        name = match[1]
        return value in self.hosts or name in self.hosts or (self.loopback and _is_ours(name))

    def origin(self, value: str) -> bool:
        """Whether pages of this `Origin` may call us."""
        value = value.lower()
        scheme, _, host = value.partition("://")
        match = _HOST.fullmatch(host)
        if match is None or scheme not in ("http", "https"):
            return False
        return value in self.origins or (self.loopback and _is_ours(match[1]))


def _is_ours(name: str) -> bool:
    return is_loopback(name.strip("[]"))


def headers(scope: Scope, name: bytes) -> list[str]:
    """All values of a header."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


class HostGuard:
    """ASGI middleware that refuses foreign hosts and origins, whatever the path."""

    def __init__(self, app: ASGIApp, allowed: Allowed) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 421 or 403."""
        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        hosts, origins = headers(scope, b"host"), headers(scope, b"origin")
        if len(hosts) != 1 or not self._allowed.host(hosts[0]):
            return error_response(
                421,
                "host_not_allowed",
                "This server does not go by the name in the Host header.",
                "Its operator sets http.allowed_hosts.",
            )
        if len(origins) > 1 or (origins and not self._allowed.origin(origins[0])):
            return error_response(
                403,
                "origin_not_allowed",
                "Pages of this origin may not call this server.",
                "Its operator sets http.allowed_origins.",
            )
        return None


class TokenGuard:
    """ASGI middleware that lets bearers of a token in, and says whose it is.

    The principal goes into `scope["user"]`, where the SDK looks for whom a session belongs to.
    """

    def __init__(self, app: ASGIApp, tokens: Tokens | None) -> None:
        """The middleware.

        Args:
            app: what is guarded.
            tokens: the tokens; None where everyone who can connect is the local user.
        """
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its principal, or answer 400 or 401."""
        principal = self._principal(scope)
        if isinstance(principal, Response):
            await principal(scope, receive, send)
            return
        # The token itself is not kept with the request.
        scope["user"] = AuthenticatedUser(AccessToken(token="", client_id=principal, scopes=[]))
        await self._app(scope, receive, send)

    def _principal(self, scope: Scope) -> str | Response:
        if self._tokens is None:
            return LOCAL
        query = scope["query_string"].decode("latin-1")
        if any(name.lower() in _TOKEN_NAMES for name, _ in parse_qsl(query)):
            return error_response(
                400,
                "token_in_url",
                "A token in a URL is not accepted: logs and histories keep URLs.",
                "Send it in the header: Authorization: Bearer TOKEN.",
            )
        values = headers(scope, b"authorization")
        if not values:
            return _unauthorized("token_missing", "This server needs a bearer token.", "")
        scheme, _, token = values[0].partition(" ")
        principal = self._tokens.principal(token.strip()) if scheme.lower() == "bearer" else None
        if len(values) > 1 or principal is None:
            message = "The bearer token is not one of this server's."
            return _unauthorized("token_invalid", message, ', error="invalid_token"')
        return principal


def _unauthorized(code: str, message: str, error: str) -> Response:
    return error_response(
        401,
        code,
        message,
        "Its operator finds it where hostup-mcp said at its start; "
        "send it in the header: Authorization: Bearer TOKEN.",
        {"WWW-Authenticate": f'Bearer realm="hostup-mcp"{error}'},
    )
