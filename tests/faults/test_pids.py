"""A pid is used again after the agent or the VPS was restarted: whose result is it?"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import mcp_types as types
from mcp import Client

from tests.faults.ground import Ground, ground, output, said, server, shown_state, wait_until
from tests.faults.pid_space import PidSpace
from tests.stdio_client import facts, text

VPS = "vps_1"
OLD, NEW = "old", "new"


@contextmanager
def machine(folder: Path) -> Generator[tuple[Ground, PidSpace]]:
    """A VPS whose agent is in a pid namespace."""
    space = PidSpace(folder / "space")
    try:
        with ground(folder / "ground", [VPS], guest=space.guest) as here:
            yield here, space
    finally:
        space.close()


@asynccontextmanager
async def connected(
    here: Ground, state: str = "state", first: str = "10"
) -> AsyncGenerator[Client]:
    """A client of a new server, with the shared journal or one of its own.

    It asks for a result when it is told to, and by itself not before `first` seconds.
    """
    env = here.environment(execution__lost_after_seconds="1", execution__poll_first_seconds=first)
    env["HOSTUP_MCP_STATE_DIR"] = str(here.folder / state)
    with (here.folder / "log").open("a") as errlog:
        async with server(env, errlog) as client:
            yield client


async def start(client: Client, here: Ground, space: PidSpace, name: str) -> dict[str, Any]:
    """Run a command to its end, and do not ask for its result."""
    arguments = {"vps_id": VPS, "command": here.command(name), "wait_seconds": 0}
    started = facts(await client.call_tool("vps_exec", arguments))
    await wait_until(lambda: name in here.executed() and not space.is_taken(started["pid"]))
    return started


async def restart_agent(here: Ground, space: PidSpace, pid: int) -> None:
    """Restart the agent, wait until it answers, and have the next command get this pid."""
    space.restart_agent()
    await wait_until(here.is_available)
    space.next_pid(pid)


async def result(client: Client, exec_id: str) -> types.CallToolResult:
    return await client.call_tool("vps_exec_result", {"exec_id": exec_id})


async def test_a_new_command_of_this_server_with_the_pid_of_an_old_one(tmp_path: Path) -> None:
    with machine(tmp_path) as (here, space):
        async with connected(here) as client:
            old = await start(client, here, space, OLD)
            await restart_agent(here, space, old["pid"])
            new = await start(client, here, space, NEW)
            assert new["pid"] == old["pid"]
            answer = await result(client, old["exec_id"])
            assert text(answer).startswith("pid_reused: ")
            assert shown_state(answer) == "lost"
            assert facts(await result(client, new["exec_id"]))["stdout"] == output(NEW)
            assert shown_state(await result(client, old["exec_id"])) == "lost"


async def test_a_new_command_of_another_server_with_the_pid_of_an_old_one(tmp_path: Path) -> None:
    with machine(tmp_path) as (here, space):
        async with connected(here) as client, connected(here) as other:
            old = await start(client, here, space, OLD)
            await restart_agent(here, space, old["pid"])
            new = await start(other, here, space, NEW)
            assert new["pid"] == old["pid"]
            answer = await result(client, old["exec_id"])
            assert output(NEW).strip() not in text(answer)
            assert shown_state(answer) == "lost"
            assert facts(await result(other, new["exec_id"]))["stdout"] == output(NEW)
            assert shown_state(await result(client, old["exec_id"])) == "lost"


async def test_after_a_reboot_the_old_pid_is_not_asked_for(tmp_path: Path) -> None:
    """Somebody else's command has the pid now, and nothing in the journal says so."""
    with machine(tmp_path) as (here, space):
        async with connected(here) as client:
            old = await start(client, here, space, OLD)
        # The sandbox has been up for seconds only, so a command of ten minutes ago ran before.
        age(here, 600)
        await restart_agent(here, space, old["pid"])
        async with connected(here, "elsewhere") as stranger:
            new = await start(stranger, here, space, NEW)
            assert new["pid"] == old["pid"]
            polls = here.proxy.records[VPS].seen["poll"]
            async with connected(here, first="0") as client:
                await wait_until(lambda: here.states()[old["exec_id"]] == "lost")
                answer = await result(client, old["exec_id"])
            assert text(answer).startswith("vps_rebooted: ")
            assert said(answer, "status") == "lost"
            assert here.proxy.records[VPS].seen["poll"] == polls
            assert facts(await result(stranger, new["exec_id"]))["stdout"] == output(NEW)


def age(here: Ground, seconds: int) -> None:
    """Have everything in the journal be older."""
    with closing(sqlite3.connect(here.state / "journal.sqlite3")) as database, database:
        database.execute(
            "UPDATE executions SET created_at = created_at - ?, sent_at = sent_at - ?",
            (seconds, seconds),
        )
