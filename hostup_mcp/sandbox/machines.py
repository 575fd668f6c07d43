"""The sandbox's three VPSs, and the guest that runs their commands."""

from __future__ import annotations

import getpass
import os
from typing import Final, Literal

from hostup_mcp.hostup.models import OperatingSystem, Resources, Vps
from hostup_mcp.sandbox.api import SandboxVps
from hostup_mcp.sandbox.guests import AbsentGuest, Guest, LocalGuest
from hostup_mcp.sandbox.qga import QgaGuest, find_qemu_ga

GuestKind = Literal["auto", "local", "qga"]

WEB: Final = "vps_01sandb0xweb1aaaaaaaaaaaaa"
"""The VPS that takes commands."""

DB: Final = "vps_01sandb0xdb1bbbbbbbbbbbbbb"
"""The VPS that is switched off."""

MAIL: Final = "vps_01sandb0xmail1cccccccccccc"
"""The VPS without a guest agent."""


class SandboxError(Exception):
    """The sandbox cannot start; the text says why."""


def make_guest(kind: GuestKind) -> Guest:
    """A guest of this kind, not opened yet; `auto` takes qemu-ga if it is installed.

    Raises:
        SandboxError: the kind is `qga`, and qemu-ga is not installed.
    """
    program = None if kind == "local" else find_qemu_ga()
    if program is not None:
        return QgaGuest(program)
    if kind == "qga":
        raise SandboxError("qemu-ga is not installed; on Debian: apt-get install qemu-guest-agent")
    return LocalGuest()


def fleet(guest: Guest) -> tuple[SandboxVps, ...]:
    """Three VPSs: one whose commands `guest` runs, one that is off, one without an agent."""
    debian = OperatingSystem(display_name="Debian GNU/Linux 12", family="debian", version="12")
    size = Resources(cpu_cores=2, memory_gb=4, storage_gb=80)

    def vps(vps_id: str, name: str, ip: str, power: str) -> Vps:
        return Vps(
            id=vps_id,
            name=name,
            primary_ip=ip,
            service_status="active",
            power_state=power,
            operating_system=debian,
            resources=size,
        )

    off = AbsentGuest("VM is not running", vm_running=False)
    mute = AbsentGuest("QEMU guest agent is not running", vm_running=True)
    return (
        SandboxVps(vps(WEB, "web-1", "192.0.2.10", "running"), guest),
        SandboxVps(vps(DB, "db-1", "192.0.2.11", "stopped"), off),
        SandboxVps(vps(MAIL, "mail-1", "192.0.2.12", "running"), mute),
    )


def describe(guest: Guest) -> str:
    """Two sentences: what this sandbox is, and where its commands run."""
    user = _user()
    if isinstance(guest, LocalGuest):
        how = f"run on this machine as {user}, in {guest.folder}"
    else:
        how = f"go through a real qemu-ga and run on this machine as {user}"
    return f"A sandbox in place of HostUp, for trying things out. Its commands {how}."


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"user id {os.getuid()}"
