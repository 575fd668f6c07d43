"""Two server processes on one journal: one asks the guest, and both have the result."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
from mcp import Client

from tests.faults.ground import Ground, ground, output, server, wait_until
from tests.stdio_client import RawClient, facts

TIMES: Final = 100
AT_ONCE: Final = 25
VPS = "vps_1"


async def test_both_get_the_right_result_and_one_asks(tmp_path: Path) -> None:
    results: dict[str, list[dict[str, Any]]] = {}
    with ground(tmp_path / "ground", [VPS]) as here:
        env = here.environment(execution__requests_per_second="1000")
        limit = anyio.CapacityLimiter(AT_ONCE)
        with (tmp_path / "log").open("w") as errlog:
            async with server(env, errlog) as one, server(env, errlog) as other:

                async def run(name: str) -> None:
                    async with limit:
                        results[name] = await both(here, one, other, name)

                async with anyio.create_task_group() as tasks:
                    for number in range(TIMES):
                        tasks.start_soon(run, f"shared{number}")
        executed = here.executed()
        record = here.proxy.records[VPS]
    assert len(results) == TIMES
    for name, (first, second) in results.items():
        assert first == second
        assert (first["status"], first["exit_code"]) == ("completed", 0)
        assert first["stdout"] == output(name)
    assert executed == Counter(list(results))
    assert record.started == TIMES
    assert len(record.handed_out) == TIMES
    # One poller for each: nobody else was given the result, or asked when it was gone.
    assert set(record.handed_out.values()) == {1}
    assert not record.denied


async def both(here: Ground, one: Client, other: Client, name: str) -> list[dict[str, Any]]:
    """One server runs the command; the other is asked as soon as its handle is known."""
    results: list[dict[str, Any]] = []
    handle: list[str] = []
    let_end = here.gated(name)

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        handle.append((message or "").rsplit(" ", 1)[1])

    async def order() -> None:
        arguments = {"vps_id": VPS, "command": here.command(name)}
        answer = await one.call_tool("vps_exec", arguments, progress_callback=on_progress)
        results.append(facts(answer))

    async def ask() -> None:
        answer = await other.call_tool("vps_exec_result", {"exec_id": handle[0]})
        results.append(facts(answer))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(order)
        await wait_until(lambda: bool(handle))
        tasks.start_soon(ask)
        await wait_until(lambda: name in here.executed())
        let_end()
    return results


async def test_a_server_that_is_killed_is_followed_by_the_one_that_waits(tmp_path: Path) -> None:
    """The lease of a process that is gone is void at once."""
    names = [f"left{number}" for number in range(10)]
    results: list[dict[str, Any]] = []
    with ground(tmp_path / "ground", [VPS]) as here:
        gates = [here.gated(name) for name in names]
        env = here.environment(execution__requests_per_second="1000")
        with (tmp_path / "log").open("w") as errlog:
            async with server(env, errlog) as other:
                handles = await anyio.to_thread.run_sync(left_behind, here, env, names)

                async def ask(handle: str) -> None:
                    answer = await other.call_tool("vps_exec_result", {"exec_id": handle})
                    results.append(facts(answer))

                async with anyio.create_task_group() as tasks:
                    for handle in handles:
                        tasks.start_soon(ask, handle)
                    for gate in gates:
                        gate()
        executed = here.executed()
    assert sorted(result["stdout"] for result in results) == sorted(map(output, names))
    assert executed == Counter(names)


def left_behind(here: Ground, env: dict[str, str], names: list[str]) -> list[str]:
    """Start commands on a server that is then killed; their handles."""
    handles: list[str] = []
    with RawClient(env) as client:
        client.initialize()
        for name in names:
            command = here.command(name)
            answer = client.call("vps_exec", vps_id=VPS, command=command, wait_seconds=0)
            handles.append(answer["result"]["structuredContent"]["exec_id"])
        client.kill()
    return handles
