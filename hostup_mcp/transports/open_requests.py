"""Tracks HTTP requests in flight: whether their clients left, and how each one ends.

This is the outermost middleware. It completes every answer, also after a failure and at shutdown. A
client that leaves puts no traceback into the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

import anyio
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hostup_mcp.transports.client_connection import has_closed
from hostup_mcp.transports.http_errors import error_response

_logger = logging.getLogger(__name__)

_OPEN_REQUEST: Final = "open_request"

WentOut = Callable[[bytes], None]
"""Called with each part of an answer's body that went out to a client that was still there."""


def open_request(scope: Scope) -> OpenRequest:
    """The open request that this scope belongs to."""
    return scope["state"][_OPEN_REQUEST]


class OpenRequest:
    """One request, until it is answered."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, went_out: WentOut) -> None:
        self.cancel_scope = anyio.CancelScope()
        self._scope = scope
        self._receive = receive
        self._send = send
        self._went_out = went_out
        self._is_started = False
        self._is_complete = False
        self._is_ended = False
        self._disconnected = False
        self._calls: set[anyio.CancelScope] = set()

    @property
    def client_left(self) -> bool:
        """Whether the client left before it had the whole answer."""
        return not self._is_complete and (self._disconnected or has_closed(self._scope))

    @contextmanager
    def cancelled_on_leaving(self) -> Generator[None]:
        """A block that is cancelled, and then ends without an error, when the client leaves."""
        with anyio.CancelScope() as scope:
            self._calls.add(scope)
            if self.client_left:
                scope.cancel()
            try:
                yield
            finally:
                self._calls.discard(scope)

    async def receive(self) -> Message:
        """ASGI's receive; it notes when the client leaves."""
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._is_complete:
            self._disconnected = True
            for call in self._calls:
                call.cancel()
        return message

    async def send(self, message: Message) -> None:
        """ASGI's send; it notes how far the answer is."""
        if self._is_ended:
            return
        if message["type"] == "http.response.start":
            self._is_started = True
        await self._send(message)
        if message["type"] != "http.response.body":
            return
        if not self.client_left and (body := message.get("body")):
            self._went_out(bytes(body))
        if not message.get("more_body", False):
            self._is_complete = True

    async def end(self, otherwise: Response) -> None:
        """End the answer if it is not complete; from then on the application sends nothing.

        Args:
            otherwise: the answer, if none was begun.
        """
        if self._is_ended or self._is_complete or self.client_left:
            return
        self._is_ended = True
        if self._is_started:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await otherwise(self._scope, self._receive, self._send)
        self._is_complete = True


class OpenRequests:
    """ASGI middleware that knows every request that is not answered yet."""

    def __init__(self, app: ASGIApp, went_out: WentOut) -> None:
        """The middleware.

        Args:
            app: what answers.
            went_out: see `WentOut`.
        """
        self._app = app
        self._went_out = went_out
        self._open: set[OpenRequest] = set()
        self._closing = False
        self._answered = anyio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever happens, the answer is complete."""
        request = OpenRequest(scope, receive, send, self._went_out)
        if self._closing:
            await _shutting_down()(scope, receive, send)
            return
        scope["state"][_OPEN_REQUEST] = request
        self._open.add(request)
        try:
            with request.cancel_scope:
                await self._app(scope, request.receive, request.send)
        except asyncio.CancelledError:
            # The process ends while a thread still holds the request up, say at a locked journal.
            if not self._closing:
                raise
            _logger.debug("a request was ended", exc_info=True)
        except Exception:
            if request.client_left:
                _logger.debug("a client left", exc_info=True)
            else:
                _logger.exception("%s %s", scope["method"], ascii(scope["path"]))
        finally:
            self._open.discard(request)
            if self._closing and not self._open:
                self._answered.set()
        await request.end(_shutting_down() if self._closing else _internal_error())

    def close(self) -> None:
        """Refuse new requests from now on."""
        self._closing = True

    async def all_answered(self) -> None:
        """Wait until no request is open; call `close` first."""
        if self._open:
            await self._answered.wait()

    def cancel_all(self) -> None:
        """Cancel the requests that are still open."""
        for request in list(self._open):
            request.cancel_scope.cancel()

    async def end_all(self) -> None:
        """End the answers of those that did not end when they were cancelled."""
        for request in list(self._open):
            await request.end(_shutting_down())


def _internal_error() -> Response:
    return error_response(
        500,
        "internal_error",
        "hostup-mcp hit an unexpected internal error.",
        "The operator can find the cause in the server's log.",
    )


def _shutting_down() -> Response:
    return error_response(
        503,
        "shutting_down",
        "The server is shutting down.",
        "Try again when it is back; commands run on, and their results are kept.",
        {"Connection": "close"},
    )
