"""Looks a VPS up before its first command: its name and its operating system."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hostup_mcp.hostup.client import HostUpClient
from hostup_mcp.hostup.errors import NotFound
from hostup_mcp.hostup.keyed_lock import OneByOne
from hostup_mcp.hostup.models import Vps

_FRESH_SECONDS: Final = 300.0
_WINDOWS = re.compile(r"windows|microsoft|\bms-?win|\bwin(nt|\d|$|[ _-])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Machine:
    """One VPS, as HostUp last described it.

    Attributes:
        name: its display name, if HostUp gave one.
        service_status: HostUp's word for the service, such as `active`; empty if it gave none.
        is_windows: whether its operating system is known to be Windows. HostUp does not document
            the `family` of Windows, so its usual names are searched in family, variant and display
            name. A system that HostUp does not name does not count as Windows.
    """

    name: str | None
    is_windows: bool
    service_status: str = ""


class Inventory:
    """Descriptions of VPSs, kept for five minutes. Listing VPSs fills it too."""

    def __init__(self, client: HostUpClient, clock: Callable[[], float] = time.monotonic) -> None:
        """An empty inventory.

        Args:
            client: HostUp's API, for a VPS that is not known.
            clock: monotonic time in seconds.
        """
        self._client = client
        self._clock = clock
        self._known: dict[str, tuple[float, Machine]] = {}
        self._asking = OneByOne()

    def note(self, vps: Vps) -> None:
        """Keep a description that HostUp just gave."""
        now = self._clock()
        self._known = {
            vps_id: entry
            for vps_id, entry in self._known.items()
            if now - entry[0] < _FRESH_SECONDS
        }
        self._known[vps.id] = (now, _machine(vps))

    async def get(self, vps_id: str) -> Machine:
        """The VPS with this id, from the inventory or from HostUp.

        Raises:
            HostUpError: HostUp does not describe this VPS, or describes another one instead.
        """
        async with self._asking.turn(vps_id):
            known = self._known.get(vps_id)
            if known and self._clock() - known[0] < _FRESH_SECONDS:
                return known[1]
            return await self._ask(vps_id)

    async def _ask(self, vps_id: str) -> Machine:
        vps = await self._client.get_vps(vps_id)
        if vps.id != vps_id:
            # The policy may have rules for the other id.
            raise NotFound(
                "HostUp knows this VPS by another id.",
                "Copy vps_id exactly from list_vps.",
                status=200,
            )
        self.note(vps)
        return _machine(vps)


def _machine(vps: Vps) -> Machine:
    system = vps.operating_system
    names = (system.family, system.variant, system.display_name) if system else ()
    is_windows = any(_WINDOWS.search(name or "") for name in names)
    return Machine(vps.name, is_windows, vps.service_status or "")
