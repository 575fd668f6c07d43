"""Limits the size of a request's headers and body."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hostup_mcp.config.http import HttpSettings
from hostup_mcp.transports.asgi_scope import headers
from hostup_mcp.transports.http_errors import error_response


class RequestSize:
    """ASGI middleware that limits headers and body, and passes a POST on with its whole body."""

    def __init__(self, app: ASGIApp, settings: HttpSettings) -> None:
        self._app = app
        self._max_headers = settings.max_header_bytes
        self._max_body = settings.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 413 or 431."""
        size = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
        if size > self._max_headers:
            await self._headers_too_large()(scope, receive, send)
            return
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        body = await self._read(scope, receive)
        if isinstance(body, Response):
            await body(scope, receive, send)
        elif body is not None:
            await self._app(scope, _replay(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | Response | None:
        """The body; or the refusal; None if the client left."""
        (declared, *_) = [*headers(scope, b"content-length"), "0"]
        # h11 lets only digits through.
        too_large = int(declared) > self._max_body
        body = bytearray()
        more = True
        while more and not too_large:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            more = message.get("more_body", False)
            too_large = len(body) > self._max_body
        if too_large:
            return error_response(
                413,
                "body_too_large",
                f"The request's body is over {self._max_body} bytes.",
                "Send less; the server's operator sets http.max_body_bytes.",
            )
        return bytes(body)

    def _headers_too_large(self) -> Response:
        return error_response(
            431,
            "headers_too_large",
            f"The request's headers are over {self._max_headers} bytes.",
            "Send fewer; the server's operator sets http.max_header_bytes.",
        )


async def whole_body(receive: Receive) -> tuple[bytes, Receive]:
    """The body of a POST that passed `RequestSize`, and a `receive` that gives it again."""
    body: bytes = (await receive())["body"]
    return body, _replay(body, receive)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body as one message, and then what else comes."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed
