"""The main job through real parts: official client, stdio, server, HTTP, real qemu-ga, and back."""

from __future__ import annotations

import json
import platform
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

from hostup_mcp.sandbox.api_server import Sandbox
from hostup_mcp.sandbox.machines import DB, MAIL, WEB
from tests.failing_guest import half_broken_fleet
from tests.scripted_api import Answer, Received, ScriptedApi, json_answer
from tests.stdio_client import LEGACY, MODERN, connect, environment, facts, text

both_eras = pytest.mark.parametrize("era", [LEGACY, MODERN])


@both_eras
async def test_list_exec_progress_and_result_again_also_after_a_restart(
    qga_sandbox: Sandbox, tmp_path: Path, era: str
) -> None:
    env = environment(qga_sandbox.base_url, qga_sandbox.api_key, tmp_path)
    order: list[str] = []
    times: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        assert total is None
        assert message
        assert "exec_id exec_" in message
        order.append("progress")
        times.append(progress)

    async with connect(env, era) as client:
        listed = facts(await client.call_tool("list_vps", {}))
        assert [vps["name"] for vps in listed["vps"]] == ["web-1", "db-1", "mail-1"]
        assert listed["next_cursor"] == ""

        quick = facts(await client.call_tool("vps_exec", {"vps_id": WEB, "command": "uname -a"}))
        assert quick["status"] == "completed"
        assert quick["exit_code"] == 0
        assert platform.release() in quick["stdout"]
        assert quick["stderr"] == ""
        assert quick["next_poll_seconds"] is None

        slow = await client.call_tool(
            "vps_exec", {"vps_id": WEB, "command": "sleep 3"}, progress_callback=on_progress
        )
        order.append("result")
        assert facts(slow)["elapsed_seconds"] >= 3
        assert order[-1] == "result"
        assert order.count("progress") >= 3
        assert times == sorted(set(times)), "progress must grow"
        assert all(later - sooner >= 0.99 for sooner, later in pairwise(times))

        again = await client.call_tool("vps_exec_result", {"exec_id": quick["exec_id"]})
        assert facts(again) == quick

    async with connect(env, era) as client:
        for arguments in (
            {"exec_id": quick["exec_id"]},
            {"vps_id": WEB, "pid": quick["pid"]},
        ):
            again = await client.call_tool("vps_exec_result", arguments)
            assert facts(again) == quick


async def test_a_command_that_outlives_its_server_is_read_by_the_next(
    qga_sandbox: Sandbox, tmp_path: Path
) -> None:
    env = environment(qga_sandbox.base_url, qga_sandbox.api_key, tmp_path)
    async with connect(env) as client:
        arguments = {"vps_id": WEB, "command": "sleep 2", "wait_seconds": 0}
        running = facts(await client.call_tool("vps_exec", arguments))
        assert running["status"] == "running"
        assert running["pid"] > 0
        assert running["next_poll_seconds"] > 0
    async with connect(env) as client:
        ended = facts(await client.call_tool("vps_exec_result", {"exec_id": running["exec_id"]}))
    assert ended["status"] == "completed"
    assert ended["exit_code"] == 0
    assert ended["pid"] == running["pid"]


async def test_text_and_structured_content_each_carry_everything(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    env = environment(sandbox.base_url, sandbox.api_key, tmp_path)
    async with connect(env) as client:
        result = await client.call_tool("vps_exec", {"vps_id": WEB, "command": "uname -a"})
        listed = await client.call_tool("list_vps", {"limit": 2})
        running = await client.call_tool(
            "vps_exec", {"vps_id": WEB, "command": "sleep 2", "wait_seconds": 0}
        )
    shown = text(result)
    told = facts(result)
    for stream in ("stdout", "stderr"):
        # All of it is shown; a part has its totals in a note.
        assert told.pop(f"{stream}_bytes") == len(told[stream].encode())
    assert told.pop("notes") == []
    assert not told.pop("stderr")
    for name, value in told.items():
        assert value is None or str(value).strip() in shown, name
    assert {name for name, value in told.items() if value is None} == {
        "signal", "next_offset", "next_poll_seconds",
    }  # fmt: skip
    for name in ("status", "exec_id", "vps_id", "pid", "command", "next_poll_seconds"):
        assert str(facts(running)[name]) in text(running), name
    shown = text(listed)
    page = facts(listed)
    assert page["next_cursor"]
    assert page["next_cursor"] in shown
    for vps in page["vps"]:
        for value in vps.values():
            assert (f"{value:g}" if isinstance(value, float) else str(value)) in shown


async def test_paging_and_filters(sandbox: Sandbox, tmp_path: Path) -> None:
    env = environment(sandbox.base_url, sandbox.api_key, tmp_path)
    names: list[str] = []
    async with connect(env) as client:
        cursor = ""
        for _ in range(3):
            page = facts(await client.call_tool("list_vps", {"limit": 1, "cursor": cursor}))
            names += [vps["name"] for vps in page["vps"]]
            cursor = page["next_cursor"]
        assert cursor == ""
        by_name = facts(await client.call_tool("list_vps", {"name": "DB-1"}))
        by_ip = facts(await client.call_tool("list_vps", {"primary_ip": "192.0.2.12"}))
    assert names == ["web-1", "db-1", "mail-1"]
    assert [vps["id"] for vps in by_name["vps"]] == [DB]
    assert [vps["id"] for vps in by_ip["vps"]] == [MAIL]


async def test_what_cannot_run_is_an_error_with_text_only(sandbox: Sandbox, tmp_path: Path) -> None:
    env = environment(sandbox.base_url, sandbox.api_key, tmp_path)
    async with connect(env) as client:
        off = await client.call_tool("vps_exec", {"vps_id": DB, "command": "uptime"})
        mute = await client.call_tool("vps_exec", {"vps_id": MAIL, "command": "uptime"})
        refused = await client.call_tool("vps_exec", {"vps_id": WEB, "command": "sudo df -h"})
        gone = await client.call_tool("vps_exec_result", {"exec_id": "exec_nosuch"})
        never = await client.call_tool("vps_exec_result", {"vps_id": WEB, "pid": 4194303})
    for result in (off, mute, refused, gone, never):
        assert result.is_error
        assert result.structured_content is None
    assert text(off).startswith("vps_off: The VPS is off. HostUp says: VM is not running.")
    assert "The command was not run." in text(off)
    assert text(mute).startswith("agent_missing: ")
    assert "HostUp says: QEMU guest agent is not running." in text(mute)
    assert text(refused).startswith("wrapper: sudo runs another program. ")
    assert "nearest_allowed: df -h" in text(refused)
    assert "status: refused" in text(refused)
    assert text(gone).startswith("exec_id_unknown: ")
    assert text(never).startswith("pid_unknown: HostUp returns no result for this pid.")
    assert "exec_id: " not in text(never)


async def test_a_failed_command_is_a_result_and_not_an_error(tmp_path: Path) -> None:
    """Frameworks turn isError into a retry, which would run the command again."""
    with Sandbox(half_broken_fleet()) as sandbox:
        env = environment(sandbox.base_url, sandbox.api_key, tmp_path)
        async with connect(env) as client:
            result = await client.call_tool("vps_exec", {"vps_id": MAIL, "command": "uptime"})
    found = facts(result)
    assert (found["exit_code"], found["stdout"], found["stderr"]) == (3, "partly\n", "broken\n")
    assert text(result).splitlines()[0].endswith("exit code 3: it reports a failure")


async def test_two_calls_for_one_command_get_the_same_result(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    env = environment(sandbox.base_url, sandbox.api_key, tmp_path)
    results: list[str] = []
    async with connect(env) as client:
        arguments = {"vps_id": WEB, "command": "sleep 1", "wait_seconds": 0}
        running = facts(await client.call_tool("vps_exec", arguments))

        async def wait() -> None:
            found = await client.call_tool("vps_exec_result", {"exec_id": running["exec_id"]})
            results.append(json.dumps(facts(found)))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(wait)
    assert len(results) == 5
    assert len(set(results)) == 1


async def test_a_cancelled_call_leaves_the_command_running_and_its_result_readable(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    env = environment(sandbox.base_url, sandbox.api_key, tmp_path)
    handles: list[str] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        assert message
        handles.append(message.rsplit(" ", 1)[1])

    async with connect(env) as client:
        with anyio.move_on_after(1.5):
            await client.call_tool(
                "vps_exec", {"vps_id": WEB, "command": "sleep 3"}, progress_callback=on_progress
            )
            pytest.fail("the call should have been cancelled")
        ended = facts(await client.call_tool("vps_exec_result", {"exec_id": handles[0]}))
    assert ended["status"] == "completed"
    assert ended["exit_code"] == 0


async def test_asking_without_waiting_asks_the_guest_now(
    scripted: ScriptedApi, tmp_path: Path
) -> None:
    """The pauses grow with a command's time; who asks must not be told an old state."""
    ended = False

    def script(request: Received) -> Answer:
        if "pid=" in request.path:
            return json_answer({"exited": ended, **({"exitCode": 0} if ended else {})})
        return json_answer({"pid": 5} if request.method == "POST" else {"available": True})

    scripted.script = script
    env = environment(scripted.url, "some_key_123", tmp_path)
    env["HOSTUP_MCP__EXECUTION__POLL_FIRST_SECONDS"] = "10"
    async with connect(env) as client:
        arguments = {"vps_id": "vps_1", "command": "uptime", "wait_seconds": 0}
        running = facts(await client.call_tool("vps_exec", arguments))
        for expected in ("running", "completed"):
            ended = expected == "completed"
            found = await client.call_tool(
                "vps_exec_result", {"exec_id": running["exec_id"], "wait_seconds": 0}
            )
            assert facts(found)["status"] == expected
