"""A connection for each execution.

On a connection that several executions share, a reply that comes twice, or late, can pass for the
reply to another request. The probe, the start and the first poll of one execution may share one:
their replies have different fields, and after anything but success it is not used again
(`hostup.http`). Each later poll has a new one: polls look alike, so they could swap replies, and
one of these is the result, which comes only once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from hostup_mcp.hostup.client import HostUpClient

_WARM_SECONDS: Final = 4.0
"""How long a connection is kept for the next execution; the HTTP library keeps it for five."""


class Connections:
    """Hands out connections, and keeps those that were made before they were needed."""

    def __init__(self, client: HostUpClient, clock: Callable[[], float] = time.monotonic) -> None:
        """No connection yet.

        Args:
            client: whose API, key and budget of requests they all share.
            clock: seconds from any fixed moment.
        """
        self._client = client
        self._clock = clock
        self._warm: dict[str, tuple[float, HostUpClient]] = {}

    def new(self) -> HostUpClient:
        """A new one, which connects at its first request. Its holder closes it."""
        return self._client.on_own_connection()

    async def keep(self, vps_id: str, client: HostUpClient) -> None:
        """Keep one for the next execution on a VPS, if it is connected and none is kept."""
        await self._drop_old()
        if client.is_connected and vps_id not in self._warm:
            self._warm[vps_id] = (self._clock(), client)
        else:
            await client.aclose()

    def take(self, vps_id: str) -> HostUpClient:
        """The one that was kept for this VPS, or a new one. Its holder closes it."""
        kept = self._warm.pop(vps_id, None)
        if kept is not None and self._clock() - kept[0] < _WARM_SECONDS:
            return kept[1]
        if kept is not None:
            self._warm[vps_id] = kept  # closed with the next that is kept
        return self.new()

    async def aclose(self) -> None:
        """Close those that are kept."""
        while self._warm:
            _, (_, client) = self._warm.popitem()
            await client.aclose()

    async def _drop_old(self) -> None:
        now = self._clock()
        for vps_id, (since, client) in list(self._warm.items()):
            if now - since >= _WARM_SECONDS:
                self._warm.pop(vps_id, None)
                await client.aclose()
