"""Routing by the exact path that the client sent."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from hostup_mcp.transports.asgi_scope import sent_path
from hostup_mcp.transports.http_errors import error_response


class ExactPaths:
    """ASGI application of several, one per path; nothing is decoded, and every slash counts."""

    def __init__(self, routes: dict[str, ASGIApp]) -> None:
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request to the application of its path, or answer 404."""
        route = self._routes.get(sent_path(scope))
        if route is None:
            served = ", ".join(self._routes)
            route = error_response(
                404, "path_unknown", "There is nothing at this path.", f"Paths: {served}."
            )
        await route(scope, receive, send)
