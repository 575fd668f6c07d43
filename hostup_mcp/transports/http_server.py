"""MCP over HTTP, from the settings to the end of the process."""

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
from hostup_mcp.config.http import HttpSettings
from hostup_mcp.config.loading import Settings
from hostup_mcp.execution.journal.protocol import Journal
from hostup_mcp.policy.policies import Policies
from hostup_mcp.transports.client_connection import bounded_connection
from hostup_mcp.transports.health import Health
from hostup_mcp.transports.http_app import MCP_PATH, EnabledTransports, build_app
from hostup_mcp.transports.listener import listening
from hostup_mcp.transports.open_requests import OpenRequests
from hostup_mcp.transports.remote_access import check_remote_access, is_exposed
from hostup_mcp.transports.server_parts import ServerParts, open_journal, start_server_parts
from hostup_mcp.transports.sse import SSE_PATH
from hostup_mcp.transports.tls_certificate import tls_context
from hostup_mcp.transports.tls_handshake import encrypted_connection
from hostup_mcp.transports.tokens import Tokens, find_tokens

HttpTransportName = Literal["http", "sse"]

# A server ends within 3 s of a signal. The runner first gives requests to HostUp 1.5 s to end.
_ANSWER_SECONDS: Final = 0.3
_FLUSH_SECONDS: Final = 0.2
_LAST_SECONDS: Final = 2.7
_BACKSTOP_SECONDS: Final = 3

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is served, and on which socket; `address` is its text."""

    settings: Settings
    policies: Policies
    journal: Journal
    enabled: EnabledTransports
    tokens: Tokens | None
    tls: SSLContext | None
    listener: socket
    address: str


class _Server(uvicorn.Server):
    """uvicorn's server without its handling of signals, which would raise them again at the end."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    def cut_connections(self) -> None:
        """Cut every connection, even if an answer is not read yet."""
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
        ServeError: the address, the certificate or the tokens cannot be used, or a setting is
            missing for remote access.
    """
    http = settings.http
    check_remote_access(http)
    tls = tls_context(http)
    enabled = EnabledTransports(
        streamable=transport == "http", sse=transport == "sse" or http.with_sse
    )
    with open_journal(settings, policies) as journal:
        tokens = None
        if http.uds is None:
            tokens, texts = find_tokens(http, settings.state.path)
            logs.hide(texts)
        with listening(http) as (listener, address):
            plan = _Plan(settings, policies, journal, enabled, tokens, tls, listener, address)
            anyio.run(_serve, plan)


async def _serve(plan: _Plan) -> None:
    http = plan.settings.http
    async with start_server_parts(plan.settings, plan.policies, plan.journal) as parts:
        has_key = plan.settings.hostup.api_key is not None
        health = Health(plan.journal, parts.pacer, has_key=has_key)
        went_out = parts.receipts.went_out
        built = build_app(parts.server, http, plan.enabled, plan.tokens, health, went_out)
        server = _Server(_config(built.app, http, plan.tls))
        await parts.tasks.start(_stop_on_signal, server, built.app, parts)
        _announce(plan)
        async with built.sessions:
            await server.serve([plan.listener])


def _announce(plan: _Plan) -> None:
    """Print on stderr where to connect and where the token is, but not the token."""
    http, enabled, tokens = plan.settings.http, plan.enabled, plan.tokens
    scheme = "https" if plan.tls else "http"
    base = f"{scheme}://{plan.address}" if http.uds is None else f"unix:{plan.address}:"
    paths = [path for path, on in ((MCP_PATH, enabled.streamable), (SSE_PATH, enabled.sse)) if on]
    where = " and ".join(base + path for path in paths)
    token = f"bearer token: {tokens.place}" if tokens else "no token: access is by file mode"
    click.echo(f"hostup-mcp: serving MCP at {where} ({token})", err=True)
    if enabled.sse:
        _logger.warning("HTTP+SSE at %s is deprecated: use Streamable HTTP where you can", SSE_PATH)
    if is_exposed(http) and plan.tls is None:
        _logger.warning("tokens cross the network in clear: put TLS in front, or give --tls-cert")


def _config(app: OpenRequests, http: HttpSettings, tls: SSLContext | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=encrypted_connection(http, tls) if tls else bounded_connection(http),
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
    server: _Server, requests: OpenRequests, parts: ServerParts, *, task_status: TaskStatus[None]
) -> None:
    """End in good order on SIGTERM or SIGINT, and at once on a second one."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            if server.should_exit:
                os._exit(128 + number)
            requests.close()
            server.should_exit = True
            # A thread can end the process even if the event loop hangs. The exit loses nothing: the
            # journal is always on disk.
            timer = threading.Timer(_LAST_SECONDS, os._exit, (0,))
            timer.daemon = True
            timer.start()
            parts.tasks.start_soon(_drain, server, requests, parts)


async def _drain(server: _Server, requests: OpenRequests, parts: ServerParts) -> None:
    """Let each call answer with what is known by now; then end what is still open."""
    await parts.runner.aclose()
    with anyio.move_on_after(_ANSWER_SECONDS):
        await requests.all_answered()
    requests.cancel_all()
    await anyio.sleep(_FLUSH_SECONDS)
    # A client that reads too slowly must not hold up the others.
    with anyio.move_on_after(_FLUSH_SECONDS):
        await requests.end_all()
    server.cut_connections()
    await anyio.sleep(_FLUSH_SECONDS)
    # Ends the requests to HostUp that did not end in 1.5 s, and all that uvicorn still waits for.
    parts.tasks.cancel_scope.cancel()
