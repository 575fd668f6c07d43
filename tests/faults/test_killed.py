"""kill -9 at every step that the journal takes: the next server knows what is true of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, get_args

import anyio
import pytest
from mcp import Client, MCPError

from tests.everything import ALL
from tests.faults.dying_server import ENV, Moment, forking
from tests.faults.ground import (
    Ground,
    ground,
    output,
    said,
    server,
    shown_state,
    wait_until,
)
from tests.faults.plans import Plan, Rule
from tests.stdio_client import facts, text

VPS = "vps_1"
NAME = "killed"
OVER = ("completed", "lost", "unknown", "not_started")


@dataclass(frozen=True)
class Step:
    """A write of the journal, how it is come by, and what is true after a kill around it.

    Attributes:
        method: of the journal.
        before: the status if it did not come to disk; empty if nothing was on disk.
        after: the status if it did.
        count: how often the command had run by then.
        kind: of end, for `end`.
        rules: the faults that lead to it.
        absent: whether the VPS takes no commands.
    """

    method: str
    before: str
    after: str
    count: int
    kind: str = "-"
    rules: tuple[Rule, ...] = ()
    absent: bool = False


STEPS: Final = (
    Step("record_intent", "", "not_started", 0),
    Step("mark_sent", "not_started", "unknown", 0),
    Step(
        "mark_unsent",
        "unknown",
        "not_started",
        0,
        rules=(Rule("start", "limit_with_retry_after"),),
    ),
    Step("mark_running", "unknown", "completed", 1),
    # What was received and is not on disk goes with the process; that is told as lost.
    Step("complete", "lost", "completed", 1),
    Step("replace_output", "completed", "completed", 1),
    Step("mark_read", "completed", "completed", 1),
    Step("end", "not_started", "not_started", 0, kind="not_started", absent=True),
    Step("end", "unknown", "unknown", 1, kind="unknown", rules=(Rule("start", "reset_after"),)),
    Step("end", "lost", "lost", 1, kind="lost", rules=(Rule("poll", "reset_after"),)),
)


# In the middle of a transaction is as before it, as long as SQLite does what it says.
MOMENTS = get_args(Moment) if ALL else ("before", "after")


@pytest.fixture(scope="module")
def fork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """The command of a server that can be told when to die."""
    with forking(tmp_path_factory.mktemp("fork")) as command:
        yield command


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step.method}-{step.kind}")
async def test_the_next_server_tells_the_truth(
    step: Step, moment: Moment, fork: tuple[str, ...], tmp_path: Path
) -> None:
    absent = [VPS] if step.absent else []
    with ground(tmp_path / "ground", [VPS], absent=absent) as here:
        here.proxy.plans[VPS] = Plan(step.rules, 1, here.gated(NAME))
        await killed(here, fork, f"{step.method} {step.kind} {moment}")
        expected = step.after if moment == "after" else step.before
        # The guest may still be at the beginning of the command when its server is dead.
        await wait_until(lambda: here.executed()[NAME] >= step.count)
        assert here.executed()[NAME] == step.count
        here.proxy.plans[VPS] = replace(here.proxy.plans[VPS], rules=())
        await followed(here, fork, expected, absent=step.absent)
        assert here.proxy.records[VPS].started <= 1 or expected in ("", "not_started")


async def killed(here: Ground, fork: tuple[str, ...], moment: str) -> None:
    """Order the command from a server that dies at this moment."""
    env = {**settings(here), ENV: moment}
    with (here.folder / "log").open("a") as errlog:
        async with server(env, errlog, fork) as client:
            with pytest.raises(MCPError, match="onnection closed"), anyio.fail_after(30):
                await until_it_dies(client, here)


async def until_it_dies(client: Client, here: Ground) -> None:
    """Order the command, and go on: that it was told is noted when its answer is out already."""
    await client.call_tool("vps_exec", order(here))
    while True:
        await client.list_tools()
        await anyio.sleep(0.01)


async def followed(here: Ground, fork: tuple[str, ...], expected: str, *, absent: bool) -> None:
    """Let another server take up what the first one left, and hold what it tells."""
    count = here.executed()[NAME]
    with (here.folder / "log").open("a") as errlog:
        async with server(settings(here), errlog, fork) as client:
            # Nobody asks: what is left is taken up all the same.
            await wait_until(lambda: all(state in OVER for state in here.states().values()))
            assert list(here.states().values()) == ([expected] if expected else [])
            for exec_id in here.states():
                answer = await client.call_tool("vps_exec_result", {"exec_id": exec_id})
                assert shown_state(answer) == expected, text(answer)
                if expected == "completed":
                    result = facts(answer)
                    assert (result["exit_code"], result["stdout"]) == (0, output(NAME))
            assert here.executed()[NAME] == count
            if expected in ("", "not_started", "unknown") and not absent:
                here.end_all()
                answer = await client.call_tool("vps_exec", order(here))
                if expected == "unknown":
                    assert text(answer).startswith("earlier_outcome_unknown: ")
                    assert said(answer, "exec_id") in here.states()
                else:
                    assert facts(answer)["stdout"] == output(NAME)
    ran_now = 1 if expected in ("", "not_started") and not absent else 0
    assert here.executed()[NAME] == count + ran_now


def settings(here: Ground) -> dict[str, str]:
    return here.environment(execution__lost_after_seconds="1")


def order(here: Ground) -> dict[str, str]:
    return {"vps_id": VPS, "command": here.command(NAME)}
