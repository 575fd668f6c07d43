"""The two routes of the deprecated HTTP+SSE transport."""

from __future__ import annotations

from typing import Any, Final

from mcp.server.lowlevel import Server
from mcp.server.sse import SseServerTransport
from starlette.types import ASGIApp, Receive, Scope, Send

from hostup_mcp.config.http import HttpSettings
from hostup_mcp.transports.asgi_scope import principal
from hostup_mcp.transports.http_errors import method_not_allowed
from hostup_mcp.transports.request_size import RequestSize
from hostup_mcp.transports.sessions import SessionBounds

SSE_PATH: Final = "/sse"
MESSAGES_PATH: Final = "/messages/"


def sse_routes(
    server: Server[Any], settings: HttpSettings, bounds: SessionBounds
) -> dict[str, ASGIApp]:
    """The ASGI applications by path: one stream per session, and the messages of all sessions."""
    transport = SseServerTransport(MESSAGES_PATH, max_request_body_size=settings.max_body_bytes)
    owners: list[str] = []

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            await method_not_allowed("GET")(scope, receive, send)
            return
        owner = principal(scope)
        if full := bounds.full(len(owners), owners.count(owner)):
            await full.response()(scope, receive, send)
            return
        owners.append(owner)
        try:
            async with transport.connect_sse(scope, receive, send) as (incoming, outgoing):
                await server.run(incoming, outgoing, server.create_initialization_options())
        finally:
            owners.remove(owner)

    messages = RequestSize(transport.handle_post_message, settings)
    return {SSE_PATH: stream, MESSAGES_PATH: messages}
