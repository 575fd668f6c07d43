"""Limits how many sessions may be open: in all, and for one principal."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final, Self

from mcp.server.auth.middleware.bearer_auth import AuthorizationContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http import StreamableHTTPServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hostup_mcp.config.http import HttpSettings
from hostup_mcp.transports.http_errors import error_response

_RETRY_SECONDS: Final = 10


class SessionsFull(Exception):
    """Another session may not be opened; the text says why."""

    def response(self) -> Response:
        """The HTTP response that says so."""
        return error_response(
            503,
            "too_many_sessions",
            str(self),
            "Close some; the server's operator sets http.max_sessions.",
            {"Retry-After": str(_RETRY_SECONDS)},
        )


@dataclass(frozen=True, slots=True)
class SessionBounds:
    """How many sessions one transport may have open.

    Attributes:
        in_all: the maximum for all principals together.
        of_one: the maximum for one principal.
    """

    in_all: int
    of_one: int

    @classmethod
    def of(cls, in_all: int, principals: AbstractSet[str]) -> Self:
        """Bounds with which no principal can take all sessions from the others."""
        return cls(in_all, in_all if len(principals) == 1 else max(1, in_all // 2))

    def full(self, in_all: int, of_one: int) -> SessionsFull | None:
        """Why another session may not be opened; None if it may.

        Args:
            in_all: how many sessions are open.
            of_one: how many of them belong to the principal who opens another.
        """
        if in_all >= self.in_all:
            return SessionsFull(f"Too many open sessions: there are {in_all}.")
        if of_one >= self.of_one:
            return SessionsFull(f"Too many open sessions: this token has {of_one}.")
        return None


class BoundedSessions(StreamableHTTPSessionManager):
    """The SDK's session manager, with a maximum for each principal.

    Only the manager knows when a session ends. It calls `_admit_session` under its lock, so the
    counts there are exact. Its own refusal has no `Retry-After`, and logs a warning each time.
    """

    def __init__(self, server: Server[Any], settings: HttpSettings, bounds: SessionBounds) -> None:
        """The manager.

        Args:
            server: the MCP server.
            settings: the section `[http]`.
            bounds: the maximum of sessions.
        """
        super().__init__(
            server,
            session_idle_timeout=settings.session_idle_seconds,
            max_request_body_size=settings.max_body_bytes,
            max_sessions=settings.max_sessions,
        )
        self._bounds = bounds

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; with 503 if it would open a session over the maximum."""
        try:
            await self.handle_request(scope, receive, send)
        except SessionsFull as full:
            await full.response()(scope, receive, send)

    def _admit_session(
        self, requestor: AuthorizationContext | None
    ) -> StreamableHTTPServerTransport | None:
        owned = sum(owner == requestor for owner in self._session_owners.values())
        if full := self._bounds.full(len(self._server_instances), owned):
            raise full
        return super()._admit_session(requestor)
