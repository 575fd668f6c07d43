"""What one principal started is nobody else's to read, to repeat or to take from the guest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hostup_mcp.execution.journal.sqlite.store import SqliteStore
from tests.runner_harness import GOES_ON, VPS, flow, polls, starts, tools
from tests.scripted_api import ScriptedApi
from tests.stdio_client import facts, text


async def test_anothers_result_is_unknown_by_handle_and_by_pid(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    scripted.script = flow()
    async with tools(scripted, journal) as mine:
        other = replace(mine, principal="another")
        ran = facts(await mine.exec())
        asked = polls(scripted)
        by_handle = await other.call("vps_exec_result", exec_id=ran["exec_id"])
        by_pid = await other.call("vps_exec_result", vps_id=VPS, pid=ran["pid"])
        assert text(by_handle).startswith("exec_id_unknown: ")
        assert text(by_pid).startswith("pid_unknown: ")
        for told in (by_handle, by_pid):
            assert ran["stdout"] not in text(told)
            assert "uptime" not in text(told)
        again = facts(await mine.call("vps_exec_result", exec_id=ran["exec_id"]))
    assert again["stdout"] == ran["stdout"]
    assert polls(scripted) == asked, "a result is given once, so nothing is asked for them"


@pytest.mark.parametrize("is_kept", [True, False])
async def test_anothers_running_command_is_not_asked_for(
    scripted: ScriptedApi, journal: SqliteStore, *, is_kept: bool
) -> None:
    """Whether this server drives it or only the journal has it."""
    scripted.script = flow(lambda: GOES_ON)
    async with tools(scripted, journal) as mine:
        ran = facts(await mine.exec(wait_seconds=0))
        if is_kept:
            other = replace(mine, principal="another")
            told = await other.call("vps_exec_result", vps_id=VPS, pid=ran["pid"], wait_seconds=0)
            assert text(told).startswith("pid_unknown: ")
    if not is_kept:
        async with tools(scripted, journal) as later:
            other = replace(later, principal="another")
            told = await other.call("vps_exec_result", vps_id=VPS, pid=ran["pid"], wait_seconds=0)
            assert text(told).startswith("pid_unknown: ")


async def test_orders_and_keys_of_another_count_for_nothing(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    scripted.script = flow(lambda: GOES_ON)
    async with tools(scripted, journal) as mine:
        other = replace(mine, principal="another")
        first = facts(await mine.exec(wait_seconds=0))
        second = facts(await other.exec(wait_seconds=0))
        assert first["exec_id"] != second["exec_id"]
        assert second["notes"] == []
        keyed = facts(await mine.exec("df -h", wait_seconds=0, idempotency_key="k"))
        same_key = facts(await other.exec("uname -a", wait_seconds=0, idempotency_key="k"))
        assert keyed["exec_id"] != same_key["exec_id"]
    assert starts(scripted) == 4
