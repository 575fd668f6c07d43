"""Whether a VPS accepts commands, and if not, why."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from hostup_mcp.execution.faults import AGENT_MISSING, Fault, recognised
from hostup_mcp.hostup.agent import AgentAvailability
from hostup_mcp.hostup.client import HostUpClient
from hostup_mcp.hostup.errors import HostUpError
from hostup_mcp.hostup.keyed_lock import OneByOne
from hostup_mcp.hostup.models import VpsStatus
from hostup_mcp.output.clean import one_line

_FRESH_SECONDS: Final = 10.0
# A no is kept only for the call that probed before it needed the answer.
_ONE_CALL_SECONDS: Final = 1.0

_NOT_SERVED: Final = frozenset({"suspended", "terminated", "cancelled", "expired", "fraud"})
_BY_POWER: Final = {
    "stopped": ("vps_off", "The VPS is off.", "Start the VPS, then try again."),
    "stopping": ("vps_off", "The VPS is shutting down.", "Start the VPS, then try again."),
    "paused": ("vps_off", "The VPS is paused.", "Resume the VPS, then try again."),
    "starting": ("vps_starting", "The VPS is starting.", "Try again in a minute."),
    "provisioning": ("vps_starting", "The VPS is being set up.", "Try again in a few minutes."),
    "error": ("vps_failed", "HostUp reports the VPS as failed.", "Ask HostUp's support."),
}


class _NotReady(NamedTuple):
    """A no: when it came, and what HostUp said of the VPS then."""

    at: float
    probe: AgentAvailability
    status: VpsStatus


class Availability:
    """The answers of the probe. A yes is kept for ten seconds."""

    def __init__(self, client: HostUpClient, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is known yet.

        Args:
            client: the API.
            clock: seconds from any fixed moment.
        """
        self._client = client
        self._clock = clock
        self._ready: dict[str, float] = {}
        self._not_ready: dict[str, _NotReady] = {}
        self._asking = OneByOne()

    def forget(self, vps_id: str) -> None:
        """Forget what is known of a VPS, since something failed there."""
        self._ready.pop(vps_id, None)
        self._not_ready.pop(vps_id, None)

    async def check(
        self, vps_id: str, service_status: str = "", client: HostUpClient | None = None
    ) -> Fault | None:
        """Why a VPS takes no commands; None if it does.

        Args:
            vps_id: the VPS.
            service_status: its status in HostUp's inventory, when last read; empty if none.
            client: over whose connection to probe; None for any.

        Raises:
            HostUpError: the probe got no answer.
        """
        async with self._asking.turn(vps_id):
            return await self._check(vps_id, service_status, client or self._client)

    async def _check(self, vps_id: str, service_status: str, client: HostUpClient) -> Fault | None:
        now = self._clock()
        if now - self._ready.get(vps_id, -_FRESH_SECONDS) < _FRESH_SECONDS:
            return None
        known = self._not_ready.get(vps_id)
        if known is not None and now - known.at < _ONE_CALL_SECONDS:
            # The probe that came ahead did not know yet what the inventory says.
            return _explain(known.probe, known.status, service_status)
        self.forget(vps_id)
        probe = await client.get_availability(vps_id)
        now = self._clock()  # the probe may have waited long for its turn
        if probe.available is True:
            self._ready = {
                known: at for known, at in self._ready.items() if now - at < _FRESH_SECONDS
            }
            self._ready[vps_id] = now
            return None
        try:
            status = await self._client.get_status(vps_id)
        except HostUpError:
            status = VpsStatus()
        self._not_ready = {vps_id: _NotReady(self._clock(), probe, status)}
        return _explain(probe, status, service_status)


def _explain(probe: AgentAvailability, status: VpsStatus, service_status: str) -> Fault:
    reason = one_line(probe.reason or "").rstrip(".")
    fault = recognised(reason)
    power = status.power_state or ("stopped" if probe.vm_running is False else None)
    if service_status in _NOT_SERVED:
        fault = Fault(
            "vps_suspended",
            f"The VPS is not in service: HostUp gives its status as {service_status}.",
            "The owner should look at the order and its payment at HostUp.",
        )
    elif power in _BY_POWER:
        fault = Fault(*_BY_POWER[power])
    elif fault is None and power == "running":
        fault = AGENT_MISSING
    if fault is None:
        fault = Fault(
            "vps_unavailable",
            "The VPS accepts no commands now.",
            "Start the VPS, or install and start qemu-guest-agent in it, then try again.",
        )
    said = f" HostUp says: {reason}." if reason else ""
    return Fault(fault.code, f"{fault.message}{said}", fault.advice)
