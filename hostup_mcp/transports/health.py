"""Whether the process is alive, and whether it is ready: for supervisors, without a token."""

from __future__ import annotations

import time
from typing import Final

import anyio
from starlette.responses import JSONResponse, Response

from hostup_mcp.execution.journal.protocol import Journal
from hostup_mcp.transports.contact import ContactPacer

_FRESH_SECONDS: Final = 2.0


class Health:
    """Answers the two health routes. Says no secret, no path and no address."""

    def __init__(self, journal: Journal, contact: ContactPacer, *, has_key: bool) -> None:
        """Health of a server.

        Args:
            journal: must take what is written.
            contact: knows when HostUp answered last.
            has_key: whether the configuration has an API key.
        """
        self._journal = journal
        self._contact = contact
        self._has_key = has_key
        self._asking = anyio.Lock()
        self._asked_at = float("-inf")
        self._writable = False

    def alive(self) -> Response:
        """The process answers."""
        return _answer({"status": "alive"}, 200)

    async def ready(self) -> Response:
        """200 if commands can be run as far as this machine goes, else 503.

        Whether HostUp can be reached is told and does not decide: a restart would not mend it.
        """
        writable = await self._journal_is_writable()
        last = self._contact.last_reply_at
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
        async with self._asking:
            # Whoever asks needs no token, so asking often must not cost more.
            if time.monotonic() - self._asked_at > _FRESH_SECONDS:
                self._writable = await self._journal.is_writable()
                self._asked_at = time.monotonic()
        return self._writable


def _answer(facts: dict[str, object], status: int) -> Response:
    return JSONResponse(facts, status, headers={"Cache-Control": "no-store"})
