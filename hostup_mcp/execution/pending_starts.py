"""The starts that this process has sent and that have no pid on disk yet."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import anyio

from hostup_mcp.execution.events import first_of


class PendingStarts:
    """Which VPSs are being sent a command: each such start may be given any pid there."""

    def __init__(self) -> None:
        self._starts: dict[int, str] = {}
        self._begun = 0
        self._changed = anyio.Event()

    @contextmanager
    def pending(self, vps_id: str) -> Generator[None]:
        """A start on this VPS, from its request until its pid is on disk."""
        self._begun += 1
        number = self._begun
        self._starts[number] = vps_id
        try:
            yield
        finally:
            del self._starts[number]
            self._changed.set()
            self._changed = anyio.Event()

    def now(self, vps_id: str) -> frozenset[int]:
        """The starts that are pending on this VPS now."""
        return frozenset(number for number, where in self._starts.items() if where == vps_id)

    async def ended(self, starts: frozenset[int], closing: anyio.Event) -> None:
        """Wait until these have ended, or the server closes."""
        while starts & self._starts.keys() and not closing.is_set():
            await first_of(self._changed, closing)
