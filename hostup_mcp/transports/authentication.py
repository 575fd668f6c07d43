"""Checks the bearer token of every request over HTTP, and knows the principal it stands for."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hostup_mcp.execution.journal.records import LOCAL
from hostup_mcp.transports.asgi_scope import headers
from hostup_mcp.transports.http_errors import error_response
from hostup_mcp.transports.tokens import Tokens

_QUERY_NAMES: Final = frozenset({"access_token", "token", "api_key", "apikey", "key"})


class Authentication:
    """ASGI middleware that passes requests with a valid token on, with their principal.

    The principal goes into `scope["user"]`, where the SDK looks for the owner of a session.
    """

    def __init__(self, app: ASGIApp, tokens: Tokens | None) -> None:
        """The middleware.

        Args:
            app: what it guards.
            tokens: the accepted tokens; None where everyone who can connect is the local user.
        """
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 400 or 401."""
        principal = self._principal(scope)
        if isinstance(principal, Response):
            await principal(scope, receive, send)
            return
        # The request does not keep the token itself.
        scope["user"] = AuthenticatedUser(AccessToken(token="", client_id=principal, scopes=[]))
        await self._app(scope, receive, send)

    def _principal(self, scope: Scope) -> str | Response:
        if self._tokens is None:
            return LOCAL
        query = scope["query_string"].decode("latin-1")
        if any(name.lower() in _QUERY_NAMES for name, _ in parse_qsl(query)):
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
            message = "This server does not accept this bearer token."
            return _unauthorized("token_invalid", message, ', error="invalid_token"')
        return principal


def _unauthorized(code: str, message: str, error: str) -> Response:
    return error_response(
        401,
        code,
        message,
        "Send one in the header: Authorization: Bearer TOKEN. "
        "At its start, hostup-mcp tells its operator where the token is.",
        {"WWW-Authenticate": f'Bearer realm="hostup-mcp"{error}'},
    )
