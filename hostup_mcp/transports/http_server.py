"""Serving over HTTP, from the settings to the end of the process."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from socket import socket
from ssl import SSLContext
from typing import Final, Literal

import anyio
import click
import uvicorn
from anyio.abc import TaskStatus

from hostup_mcp import logs
from hostup_mcp.config import Settings
from hostup_mcp.execution.journal.protocol import Journal
from hostup_mcp.http_settings import HttpSettings
from hostup_mcp.policy.policies import Policies
from hostup_mcp.transports.connection import bounded
from hostup_mcp.transports.exchange import Exchanges
from hostup_mcp.transports.health import Health
from hostup_mcp.transports.http import MCP_PATH, SSE_PATH, Mounted, build_app
from hostup_mcp.transports.listener import is_exposed, listening, require_consent, tls_context
from hostup_mcp.transports.serving import Served, opened, serving
from hostup_mcp.transports.tokens import Tokens, find_tokens

HttpTransportName = Literal["http", "sse"]

# Of the 3 s after a signal; the runner gives requests to HostUp that are under way 1.5 s.
_ANSWER_SECONDS: Final = 0.3
_FLUSH_SECONDS: Final = 0.2
_LAST_SECONDS: Final = 2.7
_BACKSTOP_SECONDS: Final = 3

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is served, and where."""

    settings: Settings
    policies: Policies
    journal: Journal
    mounted: Mounted
    tokens: Tokens | None
    tls: SSLContext | None
    listener: socket
    address: str


class _Server(uvicorn.Server):
    """uvicorn's server without its own handling of signals, which raises them again at the end."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    def hang_up(self) -> None:
        """Close what is still connected, read or not."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def serve_http(settings: Settings, policies: Policies, transport: HttpTransportName) -> None:
    """Serve over HTTP until SIGTERM or SIGINT.

    Args:
        settings: the settings.
        policies: the policies.
        transport: `http` for Streamable HTTP, `sse` for the deprecated HTTP+SSE.

    Raises:
        JournalError: the state folder cannot be used.
        ServeError: the address, the certificate or the tokens cannot be used.
    """
    http = settings.http
    require_consent(http)
    tls = tls_context(http)
    mounted = Mounted(streamable=transport == "http", sse=transport == "sse" or http.with_sse)
    with opened(settings, policies) as journal:
        tokens = None
        if http.uds is None:
            tokens, texts = find_tokens(http, settings.state.path)
            logs.hide(texts)
        with listening(http) as (listener, address):
            plan = _Plan(settings, policies, journal, mounted, tokens, tls, listener, address)
            anyio.run(_serve, plan)


async def _serve(plan: _Plan) -> None:
    http = plan.settings.http
    async with serving(plan.settings, plan.policies, plan.journal) as served:
        has_key = plan.settings.hostup.api_key is not None
        health = Health(plan.journal, served.contact, has_key=has_key)
        went_out = served.receipts.went_out
        app = build_app(served.server, http, plan.mounted, plan.tokens, health, went_out)
        server = _Server(_config(app.exchanges, http, plan.tls))
        await served.tasks.start(_stop_on_signal, server, app.exchanges, served)
        _announce(plan)
        async with app.sessions:
            await server.serve([plan.listener])


def _announce(plan: _Plan) -> None:
    """Say on stderr where to connect, and where the token is; never the token."""
    http, mounted, tokens = plan.settings.http, plan.mounted, plan.tokens
    scheme = "https" if plan.tls else "http"
    base = f"{scheme}://{plan.address}" if http.uds is None else f"unix:{plan.address}:"
    paths = [path for path, on in ((MCP_PATH, mounted.streamable), (SSE_PATH, mounted.sse)) if on]
    where = " and ".join(base + path for path in paths)
    token = f"bearer token: {tokens.place}" if tokens else "no token: the socket's mode guards it"
    click.echo(f"hostup-mcp: serving MCP at {where} ({token})", err=True)
    if mounted.sse:
        _logger.warning("HTTP+SSE at %s is deprecated: use Streamable HTTP where you can", SSE_PATH)
    if is_exposed(http) and plan.tls is None:
        _logger.warning("tokens cross the network in clear: put TLS in front, or give --tls-cert")


def _config(app: Exchanges, http: HttpSettings, tls: SSLContext | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=bounded(http, tls),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=http.max_header_bytes,
        timeout_graceful_shutdown=_BACKSTOP_SECONDS,
    )


async def _stop_on_signal(
    server: _Server, exchanges: Exchanges, served: Served, *, task_status: TaskStatus[None]
) -> None:
    """End in good order on SIGTERM or SIGINT, and at the second one at once."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            if server.should_exit:
                os._exit(128 + number)
            exchanges.close()
            server.should_exit = True
            # A thread of its own: it holds whatever the event loop is stuck in. What the journal
            # has is on disk at any moment.
            last = threading.Timer(_LAST_SECONDS, os._exit, (0,))
            last.daemon = True
            last.start()
            served.tasks.start_soon(_drain, server, exchanges, served)


async def _drain(server: _Server, exchanges: Exchanges, served: Served) -> None:
    """Let calls be answered, with what is known by then; then end what is still open."""
    await served.runner.aclose()
    with anyio.move_on_after(_ANSWER_SECONDS):
        await exchanges.emptied()
    exchanges.cancel()
    await anyio.sleep(_FLUSH_SECONDS)
    # One that reads too slowly must not hold up the others.
    with anyio.move_on_after(_FLUSH_SECONDS):
        await exchanges.give_up()
    server.hang_up()
    await anyio.sleep(_FLUSH_SECONDS)
    # Requests to HostUp that have had their 1.5 s, and what uvicorn still waits for.
    served.tasks.cancel_scope.cancel()
