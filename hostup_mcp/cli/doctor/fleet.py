"""Checks every VPS that the key can see: whether its guest agent takes commands.

Nothing is started. Beside the availability probe it asks for the result of a command that cannot
exist (`NO_PID`). HostUp requires the scope `write:vm` for that, and an agent in which running
commands is disabled says so; its answer to the probe does not say that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import anyio

from hostup_mcp.cli.doctor.report import Check
from hostup_mcp.execution.availability import Availability
from hostup_mcp.execution.faults import Fault, recognised
from hostup_mcp.hostup.client import HostUpClient
from hostup_mcp.hostup.errors import ApiError, Forbidden, HostUpError
from hostup_mcp.hostup.inventory import Inventory
from hostup_mcp.hostup.models import LIST_LIMIT_MAX, Vps, VpsPage
from hostup_mcp.output.clean import one_line
from hostup_mcp.policy.policies import Policies

NO_PID: Final = 2**31 - 1
"""A pid that no process can have, so that this request takes nobody's result.

The guest agent returns each result only once, to the first request. Linux numbers processes up to
2**22 (proc(5), pid_max), FreeBSD to 99,999, and Windows in multiples of four. HostUp documents no
largest pid. The sandbox accepts up to 2**63 - 1, but every program on the way can read 32 bits.
"""

_PAGES_MAX: Final = 20
_ASKED_MAX: Final = 200
_AT_ONCE: Final = 4
_VPS_SECONDS: Final = 20.0
_ALL_SECONDS: Final = 60.0
# States that the owner may intend, or that end by themselves; others need to be fixed.
_PASSING: Final = frozenset({"vps_off", "vps_starting", "vps_suspended", "guest_frozen"})
# What HostUp may answer before it has looked at the key's scopes.
_BEFORE_SCOPES: Final = frozenset({400, 401, 403, 405, 413, 415, 422, 429})

Scope = Literal["there", "unknown"] | Forbidden


@dataclass(slots=True)
class _Found:
    """What the checks have found so far; it is kept if time runs out."""

    checks: dict[str, Check] = field(default_factory=dict[str, Check])
    scope: Scope = "unknown"


async def fleet_checks(client: HostUpClient, policies: Policies, first: VpsPage) -> list[Check]:
    """The checks `write:vm`, `vps_list` and, for each VPS, `vps`; within about a minute.

    Args:
        client: HostUp's API.
        policies: a VPS that they close is not checked.
        first: the first page of the list.
    """
    found = _Found()
    vpss: list[Vps] = list(first.data)
    error: HostUpError | None = None
    with anyio.move_on_after(_ALL_SECONDS):
        error = await _more_pages(client, first, vpss)
        await _ask_all(client, policies, vpss[:_ASKED_MAX], found)
        if vpss and found.scope == "unknown":
            # No VPS was ready, but any VPS can show whether the key has the scope.
            await _command_fault(client, vpss[0].id, found)
    asked = [found.checks.get(vps.id) or _not_in_time(vps) for vps in vpss[:_ASKED_MAX]]
    return [_write_scope(found.scope), _list(vpss, error), *asked]


async def _more_pages(client: HostUpClient, first: VpsPage, vpss: list[Vps]) -> HostUpError | None:
    cursor = first.next_cursor
    for _ in range(_PAGES_MAX):
        if cursor is None:
            break
        try:
            page = await client.list_vps(limit=LIST_LIMIT_MAX, cursor=cursor)
        except HostUpError as error:
            return error
        vpss += page.data
        cursor = page.next_cursor
    return None


async def _ask_all(
    client: HostUpClient, policies: Policies, vpss: Sequence[Vps], found: _Found
) -> None:
    limiter = anyio.CapacityLimiter(_AT_ONCE)
    availability, inventory = Availability(client), Inventory(client)

    async def ask(vps: Vps) -> None:
        async with limiter:
            with anyio.move_on_after(_VPS_SECONDS):
                found.checks[vps.id] = await _unasked(vps, policies, inventory) or await _asked(
                    client, vps, availability, found
                )

    async with anyio.create_task_group() as tasks:
        for vps in vpss:
            tasks.start_soon(ask, vps)


async def _unasked(vps: Vps, policies: Policies, inventory: Inventory) -> Check | None:
    """The check of a VPS that gets no commands, whatever its agent says; else None."""
    closed_by = policies.find(vps.id, vps.name).closed_by
    if closed_by:
        return _check(vps, "ok", f"closed to commands by {closed_by}, so not checked.")
    inventory.note(vps)
    if (await inventory.get(vps.id)).is_windows:
        return _check(
            vps,
            "warn",
            "It runs Windows, where hostup-mcp runs no commands.",
            "Use a Linux VPS.",
            "guest_unsupported",
        )
    return None


async def _asked(
    client: HostUpClient, vps: Vps, availability: Availability, found: _Found
) -> Check:
    try:
        fault = await availability.check(vps.id, vps.service_status or "")
    except HostUpError as error:
        return _check(vps, "fail", error.message, error.advice, error.code)
    if fault is None:
        fault = await _command_fault(client, vps.id, found)
    if fault is None:
        return _check(vps, "ok", "ready, its guest agent answers.")
    status = "warn" if fault.code in _PASSING else "fail"
    return _check(vps, status, fault.message, fault.advice, fault.code)


async def _command_fault(client: HostUpClient, vps_id: str, found: _Found) -> Fault | None:
    """Why the agent runs no commands, if it says so. Notes what the answer shows of the scope."""
    try:
        await client.get_command(vps_id, NO_PID)
    except Forbidden as error:
        found.scope = error
    except ApiError as error:
        if error.status == 200 or (error.api_code and error.status not in _BEFORE_SCOPES):
            found.scope = "there"
        return recognised(error.detail)
    except HostUpError:
        return None  # it shows nothing, and the probe was answered
    else:
        found.scope = "there"
    return None


def _write_scope(scope: Scope) -> Check:
    if isinstance(scope, Forbidden):
        return Check.of("write:vm", scope)
    if scope == "there":
        found = "The key seems to have this scope: HostUp let it ask for a result."
        return Check("write:vm", "ok", found)
    return Check("write:vm", "not_made", "Not known: no VPS gave an answer that shows it.")


def _list(vpss: Sequence[Vps], error: HostUpError | None) -> Check:
    if error is not None:
        return Check.of("vps_list", error)
    if not vpss:
        return Check(
            "vps_list",
            "warn",
            "The key sees no VPS.",
            "Use a key of the account that owns the VPSs.",
            "no_vps",
        )
    left_out = len(vpss) - _ASKED_MAX
    more = f"; the last {left_out} were not checked" if left_out > 0 else ""
    return Check("vps_list", "ok", f"VPSs: {len(vpss)}{more}.")


def _not_in_time(vps: Vps) -> Check:
    return _check(
        vps,
        "warn",
        "HostUp did not say in time whether it accepts commands.",
        "Try again a little later.",
        "check_timeout",
    )


def _check(
    vps: Vps, status: Literal["ok", "warn", "fail"], found: str, advice: str = "", code: str = ""
) -> Check:
    name = f"{one_line(vps.name)} ({one_line(vps.id)})" if vps.name else one_line(vps.id)
    return Check("vps", status, f"{name}: {found}", advice, code, vps.id)
