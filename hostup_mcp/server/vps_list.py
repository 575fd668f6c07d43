"""What `list_vps` returns: one page of VPSs, each with its policy."""

from __future__ import annotations

from typing import Final

import mcp_types as types

from hostup_mcp.hostup.models import OperatingSystem, Vps, VpsPage
from hostup_mcp.output.clean import one_line
from hostup_mcp.policy.policies import Policies
from hostup_mcp.server.results import tool_result
from hostup_mcp.server.tools import VpsList, VpsSummary

_NAME_MAX: Final = 255


def vps_list(page: VpsPage, policies: Policies) -> types.CallToolResult:
    """The result of `list_vps`, with the policy of each VPS."""
    listed = VpsList(
        vps=tuple(_summary(vps, policies) for vps in page.data), next_cursor=page.next_cursor or ""
    )
    lines = [f"{len(listed.vps)} VPSs on this page."]
    for vps in listed.vps:
        facts = (f"{name} {_shown(value)}" for name, value in vps if name != "id")
        lines.append(f"{vps.id}: {', '.join(facts)}")
    cursor = listed.next_cursor
    lines.append(
        f"next_cursor: {cursor}" if cursor else "next_cursor: empty, this is the last page"
    )
    return tool_result("\n".join(lines), listed)


def _summary(vps: Vps, policies: Policies) -> VpsSummary:
    resources = vps.resources
    return VpsSummary(
        id=one_line(vps.id, _NAME_MAX),
        name=_bounded(vps.name),
        primary_ip=_bounded(vps.primary_ip),
        power_state=_bounded(vps.power_state),
        service_status=_bounded(vps.service_status),
        os=_bounded(_os(vps.operating_system)),
        cpu_cores=resources and resources.cpu_cores,
        memory_gb=resources and resources.memory_gb,
        storage_gb=resources and resources.storage_gb,
        policy=policies.find(vps.id, vps.name).label,
    )


def _shown(value: str | float | None) -> str:
    if value is None:
        return "unknown"
    return value if isinstance(value, str) else f"{value:g}"


def _bounded(text: str | None) -> str | None:
    return None if text is None else one_line(text, _NAME_MAX)


def _os(system: OperatingSystem | None) -> str | None:
    if system is None:
        return None
    return system.display_name or " ".join(filter(None, (system.family, system.version))) or None
