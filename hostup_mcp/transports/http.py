"""The HTTP application: its routes, and the guards and limits in front of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.sse import SseServerTransport
from mcp.shared.exceptions import MCPError
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from hostup_mcp.execution.journal.records import LOCAL
from hostup_mcp.http_settings import HttpSettings
from hostup_mcp.transports.exchange import Exchange, Exchanges, WentOut
from hostup_mcp.transports.guard import Allowed, HostGuard, TokenGuard
from hostup_mcp.transports.health import Health
from hostup_mcp.transports.http_errors import error_response
from hostup_mcp.transports.limits import ADMITTED, CallBudget, IdsInFlight, RequestLimits, principal
from hostup_mcp.transports.listener import is_exposed
from hostup_mcp.transports.sessions import BoundedSessions, SessionBounds
from hostup_mcp.transports.tokens import Tokens

MCP_PATH: Final = "/mcp"
SSE_PATH: Final = "/sse"
MESSAGES_PATH: Final = "/messages/"

_PAGES_SEND: Final = (
    *("Authorization", "Content-Type", "Last-Event-ID"),
    *("Mcp-Method", "Mcp-Name", "Mcp-Protocol-Version", "Mcp-Session-Id"),
)
_REQUEST_CANCELLED: Final = -32800


@dataclass(frozen=True, slots=True)
class Mounted:
    """Which of the two transports are served."""

    streamable: bool
    sse: bool


@dataclass(frozen=True, slots=True)
class HttpApp:
    """The application.

    Attributes:
        exchanges: the ASGI application itself, which knows the requests under way.
        sessions: holds the sessions of Streamable HTTP, while it is entered.
    """

    exchanges: Exchanges
    sessions: AbstractAsyncContextManager[None]


def build_app(
    server: Server[Any],
    settings: HttpSettings,
    mounted: Mounted,
    tokens: Tokens | None,
    health: Health,
    went_out: WentOut,
) -> HttpApp:
    """The application for a server; it adds its middleware to the server.

    Args:
        server: the MCP server.
        settings: the settings of HTTP.
        mounted: what is served.
        tokens: the tokens; None on a Unix socket.
        health: answers the health routes.
        went_out: told of what went out.
    """
    budget = CallBudget(settings.max_calls_in_flight, settings.max_calls_per_minute)
    bounds = SessionBounds.of(settings.max_sessions, tokens.principals if tokens else {LOCAL})
    manager = BoundedSessions(server, settings, bounds)
    routes: dict[str, ASGIApp] = {}
    if mounted.streamable:
        routes[MCP_PATH] = RequestLimits(manager.answer, settings, budget, IdsInFlight())
    if mounted.sse:
        routes |= _sse_routes(server, settings, bounds)
    server.middleware.append(_CallBounds(budget))
    guarded = TokenGuard(_Paths(routes), tokens)
    allowed = Allowed(
        frozenset(settings.allowed_hosts),
        frozenset(settings.allowed_origins or ()),
        loopback=not is_exposed(settings),
    )
    everything: ASGIApp = _HealthRoutes(guarded, health)
    if settings.allowed_origins:
        everything = _for_pages(everything, settings.allowed_origins)
    return HttpApp(Exchanges(HostGuard(everything, allowed), went_out), manager.run())


def _for_pages(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """The application with the headers (CORS) that browsers want before pages may call it."""
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=_PAGES_SEND,
        expose_headers=["Mcp-Session-Id", "WWW-Authenticate", "Retry-After"],
    )


class _Paths:
    """Finds the route by the path as it was sent: no decoding, no slashes that do not matter."""

    def __init__(self, routes: dict[str, ASGIApp]) -> None:
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get(_sent_path(scope))
        if route is None:
            served = ", ".join(self._routes)
            route = error_response(
                404, "path_unknown", "There is nothing at this path.", f"Paths: {served}."
            )
        await route(scope, receive, send)


class _HealthRoutes:
    def __init__(self, app: ASGIApp, health: Health) -> None:
        self._app = app
        self._health = health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _sent_path(scope)
        if path not in ("/healthz", "/readyz"):
            await self._app(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            await _not_allowed("GET, HEAD")(scope, receive, send)
        else:
            response = self._health.alive() if path == "/healthz" else await self._health.ready()
            await response(scope, receive, send)


class _CallBounds:
    """Server middleware around each tool call that came over HTTP.

    The SDK ends a call whose client has left on some transports only. Here it ends on all of
    them: nobody waits any more, and the command goes on in the background.
    """

    def __init__(self, budget: CallBudget) -> None:
        self._budget = budget

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        request: object = ctx.request
        if ctx.method != "tools/call" or not isinstance(request, Request):
            return await call_next(ctx)
        state = request.scope["state"]
        exchange: Exchange = state["exchange"]
        whose, admitted = principal(request.scope), ADMITTED in state
        with self._budget.at_work(whose, admitted=admitted), exchange.stops_waiting():
            return await call_next(ctx)
        raise MCPError(_REQUEST_CANCELLED, "The client left.")


def _sse_routes(
    server: Server[Any], settings: HttpSettings, bounds: SessionBounds
) -> dict[str, ASGIApp]:
    transport = SseServerTransport(MESSAGES_PATH, max_request_body_size=settings.max_body_bytes)
    owners: list[str] = []

    async def sse(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            await _not_allowed("GET")(scope, receive, send)
            return
        whose = principal(scope)
        if full := bounds.full(len(owners), owners.count(whose)):
            await full.response()(scope, receive, send)
            return
        owners.append(whose)
        try:
            async with transport.connect_sse(scope, receive, send) as (incoming, outgoing):
                await server.run(incoming, outgoing, server.create_initialization_options())
        finally:
            owners.remove(whose)

    messages = RequestLimits(transport.handle_post_message, settings, None, None)
    return {SSE_PATH: sse, MESSAGES_PATH: messages}


def _sent_path(scope: Scope) -> str:
    return scope["raw_path"].decode("ascii", "replace")


def _not_allowed(methods: str) -> ASGIApp:
    return error_response(
        405,
        "method_not_allowed",
        "This path does not take this method.",
        f"It takes {methods}.",
        {"Allow": methods},
    )
