"""Refuses a JSON-RPC id that another request in flight has in the same session."""

from __future__ import annotations

from typing import Final

import anyio
import pydantic_core
from mcp_types import JSONRPCRequest, jsonrpc_message_adapter
from starlette.types import ASGIApp, Receive, Scope, Send

from hostup_mcp.transports.asgi_scope import headers, principal
from hostup_mcp.transports.http_errors import error_response
from hostup_mcp.transports.request_size import whole_body

_SESSION_HEADER: Final = b"mcp-session-id"
# A client can have its answer a moment before the request is over here.
_ID_FREE_SECONDS: Final = 0.5
# The SDK keeps the stream of a session's GET among those of its requests, under this id.
_RESERVED_ID: Final = "_GET_stream"


class UniqueRequestIds:
    """ASGI middleware that refuses an id while another request of the session has it.

    The SDK (`streamable_http.py`) finds the stream of an answer by session and `str(id)`. Of two
    requests with one id, the second would get the first's answer; 7 and "7" are one id.
    """

    def __init__(self, app: ASGIApp) -> None:
        """The middleware; it must be behind `RequestSize`."""
        self._app = app
        self._ended: dict[tuple[str, str, str], anyio.Event] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 400."""
        sessions = headers(scope, _SESSION_HEADER)
        if scope["method"] != "POST" or not sessions:
            await self._app(scope, receive, send)
            return
        body, receive = await whole_body(receive)
        request_id = _request_id(body)
        if request_id is None:
            await self._app(scope, receive, send)
            return
        key = (principal(scope), sessions[0], request_id)
        with anyio.move_on_after(_ID_FREE_SECONDS):
            while (ended := self._ended.get(key)) is not None:
                await ended.wait()
        if key in self._ended or request_id == _RESERVED_ID:
            refusal = error_response(
                400,
                "request_id_in_use",
                "Another request of this session has the same JSON-RPC id and is not answered yet.",
                "Give each request its own id; this one was not carried out.",
            )
            await refusal(scope, receive, send)
            return
        ended = self._ended[key] = anyio.Event()
        try:
            await self._app(scope, receive, send)
        finally:
            del self._ended[key]
            ended.set()


def _request_id(body: bytes) -> str | None:
    """The id of a JSON-RPC request as the SDK sees it; None if the body is no such request."""
    try:
        message = jsonrpc_message_adapter.validate_python(
            pydantic_core.from_json(body), by_name=False
        )
    except ValueError:
        return None
    return str(message.id) if isinstance(message, JSONRPCRequest) else None
