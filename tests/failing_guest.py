"""A guest whose every command ends with an exit code that says so."""

from __future__ import annotations

from hostup_mcp.sandbox.api import SandboxVps
from hostup_mcp.sandbox.guests import LocalGuest
from hostup_mcp.sandbox.machines import fleet


class FailingGuest(LocalGuest):
    """Runs something else than what it is asked for: no allowed command fails everywhere."""

    async def start(self, command: str) -> int:  # noqa: ARG002
        return await super().start("echo partly; echo broken >&2; exit 3")


def half_broken_fleet() -> tuple[SandboxVps, ...]:
    """The first VPS as ever; on the last, every command fails."""
    web, db, mail = fleet(LocalGuest())
    return web, db, SandboxVps(mail.vps, FailingGuest())
