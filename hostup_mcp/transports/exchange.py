"""One HTTP request and its answer: who still listens, and how it ends.

Outermost of all that is served, so that no failure behind it and no client that leaves puts a
traceback into the log or a half answer on the wire, and so that a shutdown can end them all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hostup_mcp.transports.connection import has_gone
from hostup_mcp.transports.http_errors import error_response

_logger = logging.getLogger(__name__)

WentOut = Callable[[bytes], None]
"""Is told what part of an answer's body went out to a client that was there."""


class Exchange:
    """What is known of one request while it is answered."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, went_out: WentOut) -> None:
        self.cancel_scope = anyio.CancelScope()
        self.is_started = False
        self.is_complete = False
        self._scope = scope
        self._receive = receive
        self._send = send
        self._went_out = went_out
        self._left = False
        self._given_up = False
        self._calls: set[anyio.CancelScope] = set()

    @property
    def client_left(self) -> bool:
        """Whether the client went before it had the whole answer."""
        return not self.is_complete and (self._left or has_gone(self._scope))

    @contextmanager
    def stops_waiting(self) -> Generator[None]:
        """A block that is cancelled, without a sound, when the client leaves."""
        with anyio.CancelScope() as scope:
            self._calls.add(scope)
            if self.client_left:
                scope.cancel()
            try:
                yield
            finally:
                self._calls.discard(scope)

    async def receive(self) -> Message:
        """ASGI's receive, watched for the client's leaving."""
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self.is_complete:
            self._left = True
            for call in self._calls:
                call.cancel()
        return message

    async def send(self, message: Message) -> None:
        """ASGI's send, watched for what is under way."""
        if self._given_up:
            return
        if message["type"] == "http.response.start":
            self.is_started = True
        await self._send(message)
        if message["type"] != "http.response.body":
            return
        if not self.client_left and (body := message.get("body")):
            self._went_out(bytes(body))
        if not message.get("more_body", False):
            self.is_complete = True

    async def give_up(self) -> None:
        """Answer in the place of what should have, which is not heard any more."""
        if self._given_up or self.is_complete or self.client_left:
            return
        self._given_up = True
        if self.is_started:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await _shutting_down(self._scope, self._receive, self._send)
        self.is_complete = True


class Exchanges:
    """ASGI middleware that knows every request that is being answered."""

    def __init__(self, app: ASGIApp, went_out: WentOut) -> None:
        """The middleware.

        Args:
            app: what answers.
            went_out: told of each part of a body that went out.
        """
        self._app = app
        self._went_out = went_out
        self._open: set[Exchange] = set()
        self._closing = False
        self._emptied = anyio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, in any event in good form."""
        exchange = Exchange(scope, receive, send, self._went_out)
        if self._closing:
            await _shutting_down(scope, receive, send)
            return
        scope["state"]["exchange"] = exchange
        self._open.add(exchange)
        try:
            with exchange.cancel_scope:
                await self._app(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            # The process ends while a thread still holds the request up, say at a locked journal.
            if not self._closing:
                raise
            _logger.debug("a request was ended", exc_info=True)
        except Exception:
            if exchange.client_left:
                _logger.debug("a client left", exc_info=True)
            else:
                _logger.exception("%s %s", scope["method"], ascii(scope["path"]))
        finally:
            self._open.discard(exchange)
            if self._closing and not self._open:
                self._emptied.set()
        await self._finish(exchange, scope, receive, send)

    async def _finish(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        if exchange.is_complete or exchange.client_left:
            return
        if exchange.is_started:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        elif self._closing:
            await exchange.give_up()
        else:
            response = error_response(
                500,
                "internal_error",
                "hostup-mcp failed in a way it should not.",
                "The operator finds the cause in the server's log.",
            )
            await response(scope, receive, send)

    def close(self) -> None:
        """Answer no new requests."""
        self._closing = True

    async def emptied(self) -> None:
        """Wait until none is being answered; after `close`."""
        if self._open:
            await self._emptied.wait()

    def cancel(self) -> None:
        """End those that are still being answered."""
        for exchange in list(self._open):
            exchange.cancel_scope.cancel()

    async def give_up(self) -> None:
        """Answer those that could not be ended; after `cancel`."""
        for exchange in list(self._open):
            await exchange.give_up()


async def _shutting_down(scope: Scope, receive: Receive, send: Send) -> None:
    response = error_response(
        503,
        "shutting_down",
        "The server is shutting down.",
        "Try again when it is back; commands that run go on, and their results are kept.",
        {"Connection": "close"},
    )
    await response(scope, receive, send)
