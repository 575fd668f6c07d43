"""HTTP/1.1 connections that cannot be held open for nothing."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, ClassVar, Final

import h11
from starlette.types import Scope
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from hostup_mcp.http_settings import HttpSettings
from hostup_mcp.transports.http_errors import JSON, error_body

_UNREAD_SECONDS: Final = 30.0
_CONNECTION: Final = "connection"


def has_gone(scope: Scope) -> bool:
    """Whether the client of this request has closed its connection, as far as is known."""
    connection = scope["state"].get(_CONNECTION)
    return isinstance(connection, H11Protocol) and connection.transport.is_closing()


class BoundedConnection(H11Protocol):
    """uvicorn's HTTP/1.1, with limits on what a client can keep waiting.

    Headers, and then the body, must be here within `receive_seconds` each; an answer that nobody
    reads is given up after 30 s; connections over `max_connections` are refused.

    Attributes:
        limits: the settings.
    """

    limits: ClassVar[HttpSettings] = HttpSettings()

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, {**app_state, _CONNECTION: self}, _loop)
        self._awaited: object = None
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or refuse one connection too many."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self._refuse(503, "connections_full", "Too many connections are open.")
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._expect(None)
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE:
            # Between two requests uvicorn's own limit on idle connections counts.
            self._expect(None)
        else:
            self._watch()

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        super().pause_writing()
        self._unread = self.loop.call_later(_UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read on."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the name is uvicorn's
        """Answer what is not HTTP, or too much of it."""
        error = sys.exc_info()[1]
        if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431:
            self._refuse(431, "headers_too_large", "The request's headers are too large.")
        else:
            self._refuse(400, "http_invalid", "This is not a valid HTTP/1.1 request.")

    def _watch(self) -> None:
        """Set the clock for what the client has yet to send: headers, or a body."""
        if self.transport.is_closing():
            self._expect(None)
            return
        state = self.conn.their_state
        self._expect(state if state in (h11.IDLE, h11.SEND_BODY) else None)

    def _expect(self, awaited: object) -> None:
        if awaited is self._awaited:
            return
        self._awaited = awaited
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if awaited is not None:
            self._deadline = self.loop.call_later(self.limits.receive_seconds, self.transport.abort)

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer outside of any application, and close."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        body = error_body(status, code, message, "Mend the request, or try again later.")
        headers = [
            ("content-type", JSON),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        for event in (
            h11.Response(status_code=status, headers=headers),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def bounded(limits: HttpSettings) -> type[BoundedConnection]:
    """The protocol with these limits, as uvicorn wants it: a class."""
    return type("Bounded", (BoundedConnection,), {"limits": limits})
