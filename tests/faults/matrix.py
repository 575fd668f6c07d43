"""Runs the fault matrix: real client, real server process, proxy, sandbox, real guest agent."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import anyio
import mcp_types as types
from mcp import Client

from tests.faults.cases import UNSENT, Case, Status
from tests.faults.dying_server import forking
from tests.faults.ground import Ground, ground, output, said, server, shown_state
from tests.stdio_client import text

_AT_ONCE: Final = 40
_OVER_SECONDS: Final = 60.0
_REFUSED: Final = "connect_tcp.failed"
"""What the server's HTTP library writes to the debug log for each connection that is refused."""

_SETTINGS: Final = {
    "execution__lost_after_seconds": "3",
    "execution__poll_longest_seconds": "1",
    "execution__start_retry_seconds": "60",
    "execution__requests_per_second": "1000",
}
_BY_LANE: Final = {
    "late": {"hostup__read_timeout_seconds": "1"},
    "refused": {"server__log_level": "debug"},
}


@dataclass(slots=True)
class Outcome:
    """What became of a case, and what is wrong with that."""

    case: Case
    status: Status = "none"
    exec_id: str = ""
    answer: types.CallToolResult | None = None
    wrong: list[str] = field(default_factory=list[str])
    executed_twice: bool = False
    lost_after_receipt: bool = False

    def blame(self, sentence: str) -> None:
        """Note what is wrong."""
        told = "" if self.answer is None else text(self.answer).replace("\n", " | ")
        self.wrong.append(f"{self.case.name}: {sentence} (status {self.status}; told: {told})")


async def run(cases: Sequence[Case], folder: Path) -> list[Outcome]:
    """Run cases, the lanes at the same time."""
    outcomes: list[Outcome] = []
    with forking(folder) as fork:

        async def add(lane: str) -> None:
            of_lane = [case for case in cases if case.lane == lane]
            outcomes.extend(await _run_lane(lane, of_lane, folder, fork))

        async with anyio.create_task_group() as tasks:
            for lane in sorted({case.lane for case in cases}):
                tasks.start_soon(add, lane)
    return outcomes


async def _run_lane(
    lane: str, cases: Sequence[Case], folder: Path, fork: Sequence[str]
) -> list[Outcome]:
    """Run the cases of one lane on one server, and then hold what another says that follows it."""
    log = folder / f"{lane}.log"
    absent = [case.vps_id for case in cases if case.is_absent]

    def refusals() -> int:
        return log.read_text("utf-8", "replace").count(_REFUSED)

    vps_ids = [case.vps_id for case in cases]
    with (
        log.open("a") as errlog,
        ground(folder / lane.replace(" ", "-"), vps_ids, absent=absent, refusals=refusals) as here,
    ):
        env = here.environment(**_SETTINGS, **_BY_LANE.get(lane, {}))
        run = _Lane(here)
        async with server(env, errlog) as client:
            if lane == "refused":
                await run.in_turn(client, cases)
            else:
                await run.at_once(cases, lambda case: run.first(client, case))
        here.end_all()
        run.judge()
        here.proxy.plans.clear()
        async with server(env, errlog, fork) as client:
            await run.at_once(cases, lambda case: run.again(client, case))
        run.count_again()
        return list(run.outcomes.values())


class _Lane:
    """The cases of one server."""

    def __init__(self, here: Ground) -> None:
        self._here = here
        self.outcomes: dict[Case, Outcome] = {}

    async def at_once(self, cases: Sequence[Case], step: Callable[[Case], Awaitable[None]]) -> None:
        """Take a step of many cases at the same time."""
        limit = anyio.CapacityLimiter(_AT_ONCE)

        async def limited(case: Case) -> None:
            async with limit:
                await step(case)

        async with anyio.create_task_group() as tasks:
            for case in cases:
                tasks.start_soon(limited, case)

    async def in_turn(self, client: Client, cases: Sequence[Case]) -> None:
        """One after the other, since a door that is shut is shut for all.

        Where nothing but the target is to be refused, the VPSs are described before, by the list.
        """
        proxy = self._here.proxy
        described = False
        for case in sorted(cases, key=lambda case: case.target != "describe"):
            if case.target != "describe" and not described:
                await client.call_tool("list_vps", {"limit": 100})
                described = True
            if case.target in ("describe", "probe"):
                # The VPS is described and probed at the same time.
                times = max(2, case.times) if case.target == "describe" else case.times
                await anyio.to_thread.run_sync(proxy.shut, times)
                proxy.records[case.vps_id].done["refuse"] += case.times
            await self.first(client, case)
            await anyio.to_thread.run_sync(proxy.listen)

    # ------------------------------------------------------------------ the first server

    async def first(self, client: Client, case: Case) -> None:
        """Order the command, and ask for its result until it is over."""
        here = self._here
        here.proxy.plans[case.vps_id] = replace(case.plan, let_end=here.gated(case.name))
        outcome = self.outcomes[case] = Outcome(case)
        outcome.answer = await self._order(client, case)
        outcome.exec_id = said(outcome.answer, "exec_id")
        if outcome.exec_id:
            with anyio.move_on_after(_OVER_SECONDS):
                outcome.answer = await self._until_over(client, outcome.exec_id)
                outcome.status = _status(here.states()[outcome.exec_id])

    async def _order(self, client: Client, case: Case) -> types.CallToolResult:
        command = self._here.command(case.name)
        return await client.call_tool("vps_exec", {"vps_id": case.vps_id, "command": command})

    async def _until_over(self, client: Client, exec_id: str) -> types.CallToolResult:
        while True:
            is_over = self._here.states()[exec_id] not in ("intended", "sent", "running")
            answer = await client.call_tool("vps_exec_result", {"exec_id": exec_id})
            if is_over:
                return answer

    # ------------------------------------------------------------------ what must be true

    def judge(self) -> None:
        """Hold every outcome against what the guest and the proxy saw."""
        executed = self._here.executed()
        for case, outcome in self.outcomes.items():
            self._judge(case, outcome, executed[case.name])

    def _judge(self, case: Case, outcome: Outcome, count: int) -> None:
        record = self._here.proxy.records[case.vps_id]
        status = outcome.status
        if not record.done[case.fault]:
            outcome.blame("the fault was never done")
        if count > 1 or record.started > 1:
            outcome.executed_twice = True
            outcome.blame(f"executed {count} times, {record.started} starts reached the sandbox")
        if status not in case.allowed:
            outcome.blame(f"not {' or '.join(case.allowed)}")
        received, handed_out = record.received.total(), record.handed_out.total()
        if received and status != "completed":
            outcome.lost_after_receipt = True
            outcome.blame("its result was received")
        counts = {"none": 0, "not_started": 0, "lost": 1, "completed": 1}
        if count != counts.get(status, 0 if case.fault in _NEVER_ARRIVED else 1):
            outcome.blame(f"executed {count} times")
        if status == "lost" and not handed_out:
            outcome.blame("the guest still has its result")
        if status not in ("none", shown_state(outcome.answer) if outcome.answer else ""):
            outcome.blame("told another status")
        if status == "completed":
            _check_output(outcome)

    async def again(self, client: Client, case: Case) -> None:
        """Read it again from the next server; order what did not run, or may not have, again."""
        outcome = self.outcomes[case]
        if outcome.exec_id:
            arguments = {"exec_id": outcome.exec_id}
            answer = await client.call_tool("vps_exec_result", arguments)
            if shown_state(answer) != outcome.status:
                outcome.blame(f"after a restart: {text(answer)}")
            if outcome.status == "completed" and _facts(answer) != _facts(outcome.answer):
                outcome.lost_after_receipt = True
                outcome.blame(f"after a restart: {text(answer)}")
        if outcome.status == "unknown":
            answer = await self._order(client, case)
            if not text(answer).startswith("earlier_outcome_unknown: "):
                outcome.blame(f"ordered again: {text(answer)}")
        elif outcome.status in ("none", "not_started") and not case.is_absent:
            answer = await self._order(client, case)
            if answer.is_error or _facts(answer)["stdout"] != output(case.name):
                outcome.blame(f"ordered again: {text(answer)}")

    def count_again(self) -> None:
        """What ran in the end ran once, also where it was ordered again."""
        executed = self._here.executed()
        for case, outcome in self.outcomes.items():
            may_run = 0 if case.is_absent else 1
            if outcome.status == "unknown" and case.fault in _NEVER_ARRIVED:
                may_run = 0
            if executed[case.name] != may_run:
                outcome.executed_twice |= executed[case.name] > 1
                outcome.blame(f"executed {executed[case.name]} times in the end")


_NEVER_ARRIVED: Final = UNSENT - {"late_request"}


def _status(state: str) -> Status:
    statuses: dict[str, Status] = {
        "completed": "completed",
        "lost": "lost",
        "unknown": "unknown",
        "not_started": "not_started",
    }
    return statuses[state]


def _facts(answer: types.CallToolResult | None) -> dict[str, Any]:
    return {} if answer is None else dict(answer.structured_content or {})


def _check_output(outcome: Outcome) -> None:
    facts = _facts(outcome.answer)
    shown = (facts.get("exit_code"), facts.get("stdout"), facts.get("stderr"))
    if shown != (0, output(outcome.case.name), ""):
        outcome.blame(f"not its own result: {json.dumps(shown)}")


def summary(outcomes: Sequence[Outcome]) -> str:
    """The numbers that must be shown, as lines."""
    statuses = Counter(outcome.status for outcome in outcomes)
    ends = ", ".join(f"{status} {number}" for status, number in sorted(statuses.items()))
    return "\n".join(
        [
            f"cases                       {len(outcomes)}",
            f"executed twice              {sum(o.executed_twice for o in outcomes)}",
            f"results lost after receipt  {sum(o.lost_after_receipt for o in outcomes)}",
            f"wrong statuses              {sum(bool(o.wrong) for o in outcomes)}",
            f"ended as                    {ends}",
        ]
    )
