"""HTTP/1.1 connections of clients, with limits on their number and on how long they wait."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any, ClassVar, Final

import h11
from starlette.types import Scope
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from hostup_mcp.config.http import HttpSettings
from hostup_mcp.transports.http_errors import JSON, error_body

_UNREAD_SECONDS: Final = 30.0
_CONNECTION: Final = "connection"


def has_closed(scope: Scope) -> bool:
    """Whether the client of this request is known to have closed its connection."""
    connection = scope["state"].get(_CONNECTION)
    return isinstance(connection, H11Protocol) and connection.transport.is_closing()


class _WaitingConnections:
    """The connections that have not begun a request yet, oldest first.

    If there are too many connections, they are closed first. So clients that only connect cannot
    keep out one that has a request, such as a supervisor's health check.
    """

    def __init__(self) -> None:
        self._close: dict[object, Callable[[], None]] = {}

    def add(self, connection: object, close: Callable[[], None]) -> None:
        self._close[connection] = close

    def discard(self, connection: object) -> None:
        self._close.pop(connection, None)

    def make_room(self) -> bool:
        """Close the oldest; False if there is none."""
        for connection, close in self._close.items():
            del self._close[connection]
            close()
            return True
        return False


class BoundedConnection(H11Protocol):
    """uvicorn's HTTP/1.1 connection, with deadlines and a maximum of connections.

    The headers, and then the body, have `receive_seconds` each to arrive. If a client reads nothing
    of an answer for 30 s, the connection is cut. Over `max_connections`, the oldest connection
    without a request is closed; if there is none, the new one.

    Attributes:
        limits: the settings.
        waiting: those of this server without a request.
    """

    limits: ClassVar[HttpSettings] = HttpSettings()
    waiting: ClassVar[_WaitingConnections] = _WaitingConnections()

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
        """Begin; or refuse a connection over the maximum."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections and not self.waiting.make_room():
            self._refuse_for_room()
            return
        self.waiting.add(self, self._make_room)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self.waiting.discard(self)
        self._expect(None)
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take data, and set the deadline for what must come next."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE:
            # Between two requests, uvicorn's own limit on idle connections holds.
            self._expect(None)
        else:
            self._watch()

    def pause_writing(self) -> None:
        """The client reads too slowly: give it 30 s."""
        super().pause_writing()
        self._unread = self.loop.call_later(_UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the name is uvicorn's
        """Answer a request that is not valid HTTP, or whose headers are too large."""
        error = sys.exc_info()[1]
        if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431:
            self._refuse(431, "headers_too_large", "The request's headers are too large.")
        else:
            self._refuse(400, "http_invalid", "This is not a valid HTTP/1.1 request.")

    def _watch(self) -> None:
        """Set the deadline for what the client must send next: headers or a body."""
        if self.transport.is_closing():
            self._expect(None)
            return
        state = self.conn.their_state
        if state is not h11.IDLE:
            self.waiting.discard(self)
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

    def _make_room(self) -> None:
        self._refuse_for_room()
        # What the socket took of the answer still goes out; the client need not close its side.
        self.transport.abort()

    def _refuse_for_room(self) -> None:
        self._refuse(503, "connections_full", "Too many connections are open.")

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer without the application, and close."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        body = error_body(status, code, message, "Correct the request, or try again later.")
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


def bounded_connection(limits: HttpSettings) -> type[BoundedConnection]:
    """A class of connections with these limits, as uvicorn takes it."""
    return type(
        "Bounded", (BoundedConnection,), {"limits": limits, "waiting": _WaitingConnections()}
    )
