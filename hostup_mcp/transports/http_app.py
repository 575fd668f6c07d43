"""The ASGI application: its routes, and the order of the middleware in front of them."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final

from mcp.server.lowlevel import Server
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from hostup_mcp.config.http import HttpSettings
from hostup_mcp.execution.journal.records import LOCAL
from hostup_mcp.transports.authentication import Authentication
from hostup_mcp.transports.call_budget import CallBudget
from hostup_mcp.transports.call_limits import CallAdmission, CallsOverHttp
from hostup_mcp.transports.health import Health, HealthRoutes
from hostup_mcp.transports.host_and_origin import AllowedNames, HostAndOrigin
from hostup_mcp.transports.open_requests import OpenRequests, WentOut
from hostup_mcp.transports.remote_access import is_exposed
from hostup_mcp.transports.request_ids import UniqueRequestIds
from hostup_mcp.transports.request_size import RequestSize
from hostup_mcp.transports.routing import ExactPaths
from hostup_mcp.transports.sessions import BoundedSessions, SessionBounds
from hostup_mcp.transports.sse import sse_routes
from hostup_mcp.transports.tokens import Tokens

MCP_PATH: Final = "/mcp"

_CORS_REQUEST_HEADERS: Final = (
    *("Authorization", "Content-Type", "Last-Event-ID"),
    *("Mcp-Method", "Mcp-Name", "Mcp-Protocol-Version", "Mcp-Session-Id"),
)


@dataclass(frozen=True, slots=True)
class EnabledTransports:
    """Which of the two HTTP transports are served."""

    streamable: bool
    sse: bool


@dataclass(frozen=True, slots=True)
class HttpApp:
    """The application.

    Attributes:
        app: the ASGI application.
        sessions: must be entered while the application is served; Streamable HTTP needs it.
    """

    app: OpenRequests
    sessions: AbstractAsyncContextManager[None]


def build_app(
    server: Server[Any],
    settings: HttpSettings,
    enabled: EnabledTransports,
    tokens: Tokens | None,
    health: Health,
    went_out: WentOut,
) -> HttpApp:
    """Build the application, and add its middleware to the server.

    Args:
        server: the MCP server.
        settings: the section `[http]`.
        enabled: what is served.
        tokens: the accepted tokens; None on a Unix socket.
        health: answers the health routes.
        went_out: told which bytes went out.
    """
    budget = CallBudget(settings.max_calls_in_flight, settings.max_calls_per_minute)
    bounds = SessionBounds.of(settings.max_sessions, tokens.principals if tokens else {LOCAL})
    manager = BoundedSessions(server, settings, bounds)
    routes: dict[str, ASGIApp] = {}
    if enabled.streamable:
        counted = CallAdmission(manager.answer, budget)
        routes[MCP_PATH] = RequestSize(UniqueRequestIds(counted), settings)
    if enabled.sse:
        routes |= sse_routes(server, settings, bounds)
    server.middleware.append(CallsOverHttp(budget))
    app: ASGIApp = HealthRoutes(Authentication(ExactPaths(routes), tokens), health)
    if settings.allowed_origins:
        app = CORSMiddleware(
            app,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=_CORS_REQUEST_HEADERS,
            expose_headers=["Mcp-Session-Id", "WWW-Authenticate", "Retry-After"],
        )
    names = AllowedNames(
        frozenset(settings.allowed_hosts),
        frozenset(settings.allowed_origins or ()),
        loopback=not is_exposed(settings),
    )
    return HttpApp(OpenRequests(HostAndOrigin(app, names), went_out), manager.run())
