"""The health routes: whether the process is alive, and whether it is ready. They need no token."""

from __future__ import annotations

import time
from typing import Final

import anyio
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hostup_mcp.execution.journal.protocol import Journal
from hostup_mcp.transports.asgi_scope import sent_path
from hostup_mcp.transports.http_errors import method_not_allowed
from hostup_mcp.transports.last_reply import ReplyTimePacer

_FRESH_SECONDS: Final = 2.0


class Health:
    """Answers the health routes. An answer has no secret, path or address in it."""

    def __init__(self, journal: Journal, pacer: ReplyTimePacer, *, has_key: bool) -> None:
        """The health of a server.

        Args:
            journal: must be writable.
            pacer: knows when HostUp last replied.
            has_key: whether the settings have an API key.
        """
        self._journal = journal
        self._pacer = pacer
        self._has_key = has_key
        self._lock = anyio.Lock()
        self._checked_at = float("-inf")
        self._writable = False

    def alive(self) -> Response:
        """200: the process answers."""
        return _answer({"status": "alive"}, 200)

    async def ready(self) -> Response:
        """200 if nothing on this machine keeps commands from running, else 503.

        It tells when HostUp last replied, but does not depend on it: a restart would not help.
        """
        writable = await self._journal_is_writable()
        last = self._pacer.last_reply_at
        facts: dict[str, object] = {
            "status": "ready" if writable and self._has_key else "not ready",
            "configuration": "good" if self._has_key else "no API key",
            "journal": "writable" if writable else "not writable",
            "seconds_since_hostup_answered": (
                None if last is None else round(time.monotonic() - last, 1)
            ),
        }
        return _answer(facts, 200 if writable and self._has_key else 503)

    async def _journal_is_writable(self) -> bool:
        async with self._lock:
            # Anyone may ask, without a token, so frequent requests must not write each time.
            if time.monotonic() - self._checked_at > _FRESH_SECONDS:
                self._writable = await self._journal.is_writable()
                self._checked_at = time.monotonic()
        return self._writable


class HealthRoutes:
    """ASGI middleware that answers `/healthz` and `/readyz`."""

    def __init__(self, app: ASGIApp, health: Health) -> None:
        self._app = app
        self._health = health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a health route, or pass the request on."""
        path = sent_path(scope)
        if path not in ("/healthz", "/readyz"):
            await self._app(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            await method_not_allowed("GET, HEAD")(scope, receive, send)
        else:
            response = self._health.alive() if path == "/healthz" else await self._health.ready()
            await response(scope, receive, send)


def _answer(facts: dict[str, object], status: int) -> Response:
    return JSONResponse(facts, status, headers={"Cache-Control": "no-store"})
