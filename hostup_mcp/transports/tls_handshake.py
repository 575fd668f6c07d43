"""Connections while their TLS handshake lasts, under the same limits as all others."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, ClassVar, cast

from uvicorn.server import ServerState

from hostup_mcp.config.http import HttpSettings
from hostup_mcp.transports.client_connection import BoundedConnection, bounded_connection


class _Handshake(asyncio.Protocol):
    """A connection from when it is accepted until its TLS handshake has ended.

    asyncio gives a connection to its protocol only after the handshake. This protocol gets it at
    once, so that it counts as a connection, and has `receive_seconds` for the handshake.

    Attributes:
        after: makes the protocol that takes over after the handshake.
        tls: has the certificate and key.
        transport: the TCP connection.
    """

    after: ClassVar[type[BoundedConnection]]
    tls: ClassVar[ssl.SSLContext]

    def __init__(self, server_state: ServerState, **more: Any) -> None:  # noqa: ANN401 - uvicorn's
        """The handshake of one connection; the arguments are uvicorn's."""
        self._inner = self.after(server_state=server_state, **more)
        self._connections = cast("set[asyncio.Protocol]", server_state.connections)
        self._early = b""
        self._over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; or cut a connection over the maximum, which cannot be answered without TLS."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.pause_reading()
        full = len(self._connections) >= self._inner.limits.max_connections
        if full and not self._inner.waiting.make_room():
            self.transport.abort()
            return
        self._connections.add(self)
        self._inner.waiting.add(self, self.transport.abort)
        self._task = asyncio.create_task(self._shake_hands())

    def data_received(self, data: bytes) -> None:
        """Keep what comes between the end of the handshake and the next protocol."""
        self._early += data

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the name is asyncio's
        """Note that the connection ended in between."""
        self._over = True

    def shutdown(self) -> None:
        """Cut the connection: the server ends."""
        self.transport.abort()

    async def _shake_hands(self) -> None:
        seconds = self._inner.limits.receive_seconds
        try:
            if self.transport.is_closing():
                return  # it was closed to make room
            encrypted = await asyncio.get_running_loop().start_tls(
                self.transport,
                self,
                self.tls,
                server_side=True,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=seconds,
            )
        except OSError:  # not TLS, not in time, or closed
            self.transport.abort()
            return
        finally:
            self._inner.waiting.discard(self)
            self._connections.discard(self)
        if encrypted is None or self._over:
            return
        encrypted.set_protocol(self._inner)
        self._inner.connection_made(encrypted)
        if self._early:
            self._inner.data_received(self._early)


def encrypted_connection(limits: HttpSettings, tls: ssl.SSLContext) -> type[asyncio.Protocol]:
    """A class of connections with TLS and these limits; uvicorn itself must get no certificate."""
    return type("Encrypted", (_Handshake,), {"after": bounded_connection(limits), "tls": tls})
