"""HTTP/1.1 connections that cannot be held open for nothing."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Callable
from typing import Any, ClassVar, Final, cast

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


class _Silent:
    """The connections without a whole request yet, oldest first.

    Where there are too many connections, they make room: whoever has something to ask, such as a
    supervisor about health, is not kept out by those that only connect.
    """

    def __init__(self) -> None:
        self._close: dict[object, Callable[[], None]] = {}

    def add(self, connection: object, close: Callable[[], None]) -> None:
        self._close[connection] = close

    def discard(self, connection: object) -> None:
        self._close.pop(connection, None)

    def make_room(self) -> bool:
        """Close the one that has been silent for longest; False if there is none."""
        for connection, close in self._close.items():
            del self._close[connection]
            close()
            return True
        return False


class BoundedConnection(H11Protocol):
    """uvicorn's HTTP/1.1, with limits on what a client can keep waiting.

    Headers, and then the body, must be here within `receive_seconds` each; an answer that nobody
    reads is given up after 30 s. With over `max_connections`, the one that has been open for
    longest without a request is closed, and if there is none, the new one.

    Attributes:
        limits: the settings.
        silent: connections of this server without a request.
    """

    limits: ClassVar[HttpSettings] = HttpSettings()
    silent: ClassVar[_Silent] = _Silent()

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
        if len(self.connections) > self.limits.max_connections and not self.silent.make_room():
            self._refuse_for_room()
            return
        self.silent.add(self, self._give_way)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self.silent.discard(self)
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
        if state is not h11.IDLE:
            self.silent.discard(self)
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

    def _give_way(self) -> None:
        self._refuse_for_room()
        # What the socket took of the answer goes out; nothing waits for a client to close, too.
        self.transport.abort()

    def _refuse_for_room(self) -> None:
        self._refuse(503, "connections_full", "Too many connections are open.")

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


class _Handshake(asyncio.Protocol):
    """A connection until TLS has begun, from when it is accepted.

    asyncio tells a protocol nothing of a connection whose handshake has not ended. This one is told
    of TCP, so that such a connection counts, and has `receive_seconds`, like any other.

    Attributes:
        transport: TCP.
    """

    def __init__(
        self,
        encrypted: Callable[[], BoundedConnection],
        tls: ssl.SSLContext,
        connections: set[asyncio.Protocol],
    ) -> None:
        """The handshake of one connection.

        Args:
            encrypted: makes what takes over after it.
            tls: certificate and key.
            connections: uvicorn's, all of them.
        """
        self._encrypted = encrypted
        self._tls = tls
        self._connections = connections
        self._early = b""
        self._over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; or hang up on one too many, which has no TLS yet to be told why."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.pause_reading()
        self._inner = self._encrypted()
        full = len(self._connections) >= self._inner.limits.max_connections
        if full and not self._inner.silent.make_room():
            self.transport.abort()
            return
        self._connections.add(self)
        self._inner.silent.add(self, self._give_way)
        self._task = asyncio.create_task(self._shake_hands())

    def data_received(self, data: bytes) -> None:
        """Keep what comes in the moment between the handshake and its successor."""
        self._early += data

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the name is asyncio's
        """End in that same moment."""
        self._over = True

    def shutdown(self) -> None:
        """Hang up: the server ends."""
        self.transport.abort()

    async def _shake_hands(self) -> None:
        seconds = self._inner.limits.receive_seconds
        try:
            if self.transport.is_closing():
                return  # it has made room already
            encrypted = await asyncio.get_running_loop().start_tls(
                self.transport,
                self,
                self._tls,
                server_side=True,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=seconds,
            )
        except OSError:  # no TLS, none in time, or gone
            self.transport.abort()
            return
        finally:
            self._inner.silent.discard(self)
            self._connections.discard(self)
        if encrypted is None or self._over:
            return
        encrypted.set_protocol(self._inner)
        self._inner.connection_made(encrypted)
        if self._early:
            self._inner.data_received(self._early)

    def _give_way(self) -> None:
        self.transport.abort()


def bounded(limits: HttpSettings, tls: ssl.SSLContext | None) -> type[asyncio.Protocol]:
    """The protocol with these limits, as uvicorn wants it: a class.

    Args:
        limits: the settings.
        tls: certificate and key, if it is to be TLS; uvicorn itself is to be given none.
    """
    kind = type("Bounded", (BoundedConnection,), {"limits": limits, "silent": _Silent()})
    if tls is None:
        return kind

    class Encrypted(_Handshake):
        def __init__(
            self,
            config: Config,
            server_state: ServerState,
            app_state: dict[str, Any],
            _loop: asyncio.AbstractEventLoop | None = None,
        ) -> None:
            connections = cast("set[asyncio.Protocol]", server_state.connections)
            super().__init__(lambda: kind(config, server_state, app_state, _loop), tls, connections)

    return Encrypted
