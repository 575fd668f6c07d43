"""The runner, in this process, over a real socket and a real journal."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.from_thread
import pytest
from pydantic import SecretStr

from hostup_mcp.execution import owner as owner_module
from hostup_mcp.execution.journal import Journal, JournalError
from hostup_mcp.execution.records import (
    Completed,
    Ended,
    Execution,
    Intended,
    Running,
    Sent,
)
from hostup_mcp.execution.runner import Patience, Runner
from hostup_mcp.execution.schedule import Schedule
from hostup_mcp.hostup.client import HostUpClient
from hostup_mcp.hostup.http import HttpTransport, Timeouts
from hostup_mcp.policy.judge import ApprovedCommand, judge
from tests.scripted_api import Answer, Received, ScriptedApi, json_answer, problem

VPS = "vps_1"
DONE = json_answer({"exited": True, "exitCode": 0, "stdout": "out"})
Script = Callable[[Received], Answer]


def approved(text: str = "uptime") -> ApprovedCommand:
    verdict = judge(text)
    assert isinstance(verdict, ApprovedCommand)
    return verdict


def flow(
    poll: Callable[[], Answer] = lambda: DONE, start: Answer | None = None, probe_delay: float = 0
) -> Script:
    """Available, started with pid 7, and then what `poll` gives."""

    def script(request: Received) -> Answer:
        if "pid=" in request.path:
            return poll()
        if request.method == "POST":
            return start or json_answer({"pid": 7})
        probe = json_answer({"available": True})
        return Answer(200, probe.body, delay=probe_delay)

    return script


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@asynccontextmanager
async def running(
    api: ScriptedApi, journal: Journal, clock: Callable[[], float] = time.time
) -> AsyncGenerator[Runner]:
    http = HttpTransport(api.url, Timeouts(read=2, total=5))
    client = HostUpClient(http, SecretStr("some_key_123"))
    async with anyio.create_task_group() as tasks:
        runner = Runner(client, journal, tasks, Schedule(), Patience(1.0, 3.0), clock)
        try:
            yield runner
        finally:
            await runner.aclose()
        tasks.cancel_scope.cancel()


async def test_the_request_carries_the_key_and_the_judged_text(
    scripted: ScriptedApi, journal: Journal
) -> None:
    scripted.script = flow()
    async with running(scripted, journal) as runner:
        job = await runner.start(VPS, approved("  uname \t -a\n"))
        await job.wait(5)
    assert isinstance(job.execution.state, Completed)
    probe, post, poll = scripted.received
    assert (probe.method, probe.path) == ("GET", "/api/v2/vps/vps_1/agent/exec")
    assert (post.method, post.body) == ("POST", b'{"command": "uname -a"}')
    assert poll.path == "/api/v2/vps/vps_1/agent/exec?pid=7"
    for request in scripted.received:
        assert request.headers["Authorization"] == "Bearer some_key_123"


async def test_intent_is_on_disk_before_the_post_and_the_result_before_the_answer(
    scripted: ScriptedApi, journal: Journal
) -> None:
    seen: dict[str, object] = {}
    exec_id = ""

    def script(request: Received) -> Answer:
        found = journal.get(exec_id)
        name = request.method if "pid=" not in request.path else "poll"
        seen[name] = found and type(found.state)
        return flow()(request)

    scripted.script = script
    async with running(scripted, journal) as runner:
        job = await runner.start(VPS, approved())
        exec_id = job.execution.exec_id
        await job.wait(5)
        assert journal.get(exec_id) == job.execution
    assert seen == {"GET": Intended, "POST": Sent, "poll": Running}


async def test_what_was_not_sent_when_the_caller_left_is_not_sent(
    scripted: ScriptedApi, journal: Journal
) -> None:
    scripted.script = flow(probe_delay=0.3)
    async with running(scripted, journal) as runner:
        job = await runner.start(VPS, approved())
        await anyio.sleep(0.1)
        job.abandon()
        await job.wait(5)
    assert isinstance(job.execution.state, Ended)
    assert (job.execution.state.kind, job.execution.state.code) == ("not_started", "cancelled")
    assert [request.method for request in scripted.received] == ["GET"]


async def test_closing_lets_a_request_under_way_end_and_keeps_its_result(
    scripted: ScriptedApi, journal: Journal
) -> None:
    scripted.script = flow(lambda: Answer(200, DONE.body, delay=0.5))
    async with running(scripted, journal) as runner:
        job = await runner.start(VPS, approved())
        while job.polls == 0:  # noqa: ASYNC110 - the runner has no event for it
            await anyio.sleep(0.01)
    found = journal.get(job.execution.exec_id)
    assert found
    assert isinstance(found.state, Completed)
    assert found.state.stdout == "out"


async def test_closing_does_not_wait_for_a_command_that_goes_on(
    scripted: ScriptedApi, journal: Journal
) -> None:
    scripted.script = flow(lambda: json_answer({"exited": False}))
    async with running(scripted, journal) as runner:
        job = await runner.start(VPS, approved())
        await job.wait(0)
        began = time.monotonic()
    assert time.monotonic() - began < 1
    found = journal.get(job.execution.exec_id)
    assert found
    assert isinstance(found.state, Running)


async def test_a_rate_limit_while_polling_is_waited_for(
    scripted: ScriptedApi, journal: Journal
) -> None:
    limited = json_answer(problem(429, "rate_limited"), 429, Retry_After="1")
    answers = iter([limited, DONE])
    times: list[float] = []

    def poll() -> Answer:
        times.append(time.monotonic())
        return next(answers)

    scripted.script = flow(poll)
    async with running(scripted, journal) as runner:
        job = await runner.start(VPS, approved())
        await job.wait(5, ask_now=True)
    assert isinstance(job.execution.state, Completed)
    assert times[1] - times[0] >= 1


async def test_a_denial_must_last_before_a_result_is_lost(
    scripted: ScriptedApi, journal: Journal
) -> None:
    gone = json_answer(problem(404, "not_found"), 404)
    answers = iter([gone, gone, json_answer({"exited": False}), gone, gone, DONE])
    scripted.script = flow(lambda: next(answers))
    async with running(scripted, journal) as runner:
        job = await runner.start(VPS, approved())
        await job.wait(5)
    assert isinstance(job.execution.state, Completed)


async def test_an_outage_never_makes_a_result_lost(scripted: ScriptedApi, journal: Journal) -> None:
    until = time.monotonic() + 1.5
    broken = Answer(503, b"<html>")
    scripted.script = flow(lambda: DONE if time.monotonic() > until else broken)
    async with running(scripted, journal) as runner:
        job = await runner.start(VPS, approved())
        await job.wait(5)
    assert isinstance(job.execution.state, Completed)


async def test_a_result_that_the_disk_refuses_is_saved_as_soon_as_it_can_be(
    scripted: ScriptedApi, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = journal.complete
    refusals = iter([True] * 4 + [False])

    def refuse_once(*arguments: object, **more: object) -> object:
        if next(refusals):
            raise JournalError(Path("j"), "disk full")
        return complete(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(journal, "complete", refuse_once)
    scripted.script = flow()
    async with running(scripted, journal) as runner:
        job = await runner.start(VPS, approved())
        await job.wait(1)
        assert job.problem
        assert job.problem.code == "journal_failed"
        await job.wait(5)
    assert job.problem is None
    assert isinstance(job.execution.state, Completed)


async def test_nothing_is_sent_when_the_intent_cannot_be_written(
    scripted: ScriptedApi, journal: Journal
) -> None:
    journal.close()
    scripted.script = flow()
    async with running(scripted, journal) as runner:
        with pytest.raises(JournalError):
            await runner.start(VPS, approved())
    assert scripted.received == []


async def test_a_fault_of_ours_ends_one_execution_and_not_the_others(
    scripted: ScriptedApi, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.script = flow()
    async with running(scripted, journal) as runner:
        with monkeypatch.context() as patch:

            def fail(*_: object) -> None:
                raise ZeroDivisionError

            patch.setattr(journal, "mark_running", fail)
            broken = await runner.start(VPS, approved())
            await broken.wait(5)
        assert broken.problem
        assert broken.problem.code == "internal_error"
        good = await runner.start(VPS, approved())
        await good.wait(5)
    assert isinstance(good.execution.state, Completed)


@pytest.mark.parametrize("owner", ["dead", "alive", "this one"])
async def test_what_was_left_behind_is_told_truthfully_once_its_owner_is_gone(
    scripted: ScriptedApi, journal: Journal, monkeypatch: pytest.MonkeyPatch, owner: str
) -> None:
    names = {
        "dead": "4194304:1",
        "alive": f"{os.getppid()}:",
        "this one": owner_module.current_owner(),
    }
    monkeypatch.setattr("hostup_mcp.execution.journal.current_owner", lambda: names[owner])
    intended = journal.intend(VPS, "uptime")
    sent = journal.mark_sent(journal.intend(VPS, "uptime"))
    async with running(scripted, journal) as runner:
        for execution, kind in ((intended, "not_started"), (sent, "unknown")):
            job = await runner.resume(execution)
            await job.wait(0)
            state = job.execution.state
            if owner == "alive":
                assert state == execution.state
            else:
                assert isinstance(state, Ended)
                assert (state.kind, state.code) == (kind, "interrupted")
    assert scripted.received == [], "nothing is sent again"


def test_a_process_is_told_from_a_later_one_with_its_id() -> None:
    mine = owner_module.current_owner()
    pid, _, start = mine.partition(":")
    assert owner_module.is_alive(mine)
    assert owner_module.is_alive(f"{pid}:")
    assert not owner_module.is_alive(f"{pid}:{start}0")
    assert not owner_module.is_alive("4194304:")
    assert not owner_module.is_alive("garbage")


async def test_a_foreign_result_is_kept_and_a_wrong_guess_leaves_no_trace(
    scripted: ScriptedApi, journal: Journal
) -> None:
    answers = iter([json_answer(problem(404, "not_found"), 404), DONE])
    scripted.script = flow(lambda: next(answers))
    async with running(scripted, journal) as runner:
        wrong = await runner.follow(VPS, 99)
        await wrong.wait(5)
        assert wrong.problem
        assert wrong.problem.code == "pid_unknown"
        assert journal.find(VPS, 99) is None
        job = await runner.follow(VPS, 99)
        await job.wait(5)
        assert isinstance(job.execution.state, Completed)
        again = await runner.follow(VPS, 99)
        assert again.execution == job.execution == journal.find(VPS, 99)


async def test_many_who_ask_for_one_foreign_pid_share_one_poller(
    scripted: ScriptedApi, journal: Journal
) -> None:
    answers = iter([json_answer({"exited": False}), DONE])
    gone = json_answer(problem(404, "not_found"), 404)
    scripted.script = flow(lambda: next(answers, gone))
    found: list[object] = []
    async with running(scripted, journal) as runner:

        async def ask() -> None:
            job = await runner.follow(VPS, 99)
            await job.wait(5)
            found.append(job.execution)

        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(ask)
    assert len(found) == 8
    assert all(execution == found[0] for execution in found)
    assert len(scripted.received) == 2


async def test_callers_of_one_execution_share_one_poller(
    scripted: ScriptedApi, journal: Journal
) -> None:
    answers = iter([json_answer({"exited": False})] * 2 + [DONE])
    scripted.script = flow(lambda: next(answers))
    async with running(scripted, journal) as runner:
        first = await runner.start(VPS, approved())
        second = await runner.resume(first.execution)
        assert second is first
        await first.wait(5)
    assert isinstance(first.execution.state, Completed)
    assert len(scripted.received) == 5


async def test_a_lost_result_that_turns_up_is_kept(scripted: ScriptedApi, journal: Journal) -> None:
    """A guest that is frozen for a backup denies its results and has them afterwards."""
    now: Answer = json_answer(problem(500, "internal_error"), 500)
    scripted.script = flow(lambda: now)
    async with running(scripted, journal) as runner:
        job = await runner.start(VPS, approved())
        await job.wait(5)
        assert isinstance(job.execution.state, Ended)
        assert job.execution.state.kind == "lost"
        again = await runner.resume(job.execution)
        await again.wait(5)
        assert again.execution == job.execution, "denied again, at once"
        now = json_answer({"exited": False})
        again = await runner.resume(job.execution)
        await again.wait(0, ask_now=True)
        assert isinstance(again.execution.state, Running)
        now = DONE
        await again.wait(5)
    assert isinstance(again.execution.state, Completed)


async def test_a_frozen_guest_is_not_a_denial(scripted: ScriptedApi, journal: Journal) -> None:
    frozen = json_answer(
        problem(500, "internal_error", "Command has been disabled: the agent is in frozen state"),
        500,
    )
    until = time.monotonic() + 1.5
    scripted.script = flow(lambda: DONE if time.monotonic() > until else frozen)
    async with running(scripted, journal) as runner:
        job = await runner.start(VPS, approved())
        await job.wait(8)
    assert isinstance(job.execution.state, Completed)


async def test_a_retry_after_of_a_day_is_obeyed_only_up_to_the_limit(
    scripted: ScriptedApi, journal: Journal
) -> None:
    limited = json_answer(problem(429, "rate_limited"), 429, Retry_After="86400")
    answers = iter([limited, DONE])
    scripted.script = flow(lambda: next(answers))
    async with running(scripted, journal) as runner:
        job = await runner.start(VPS, approved())
        await job.wait(6)
    assert isinstance(job.execution.state, Completed)


async def test_a_pid_that_the_disk_refuses_is_kept_until_it_takes_it(
    scripted: ScriptedApi, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark_running = journal.mark_running
    refusals = iter([True] * 4 + [False])

    def refuse_once(*arguments: object) -> object:
        if next(refusals):
            raise JournalError(Path("j"), "disk full")
        return mark_running(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(journal, "mark_running", refuse_once)
    scripted.script = flow()
    async with running(scripted, journal) as runner:
        job = await runner.start(VPS, approved())
        with anyio.move_on_after(1):
            await job.started.wait()
        assert job.pid == 7
        assert job.problem
        await job.wait(5)
    assert isinstance(job.execution.state, Completed)


async def test_a_journal_that_another_process_holds_is_waited_for(
    scripted: ScriptedApi, journal: Journal, tmp_path: Path
) -> None:
    other = sqlite3.connect(tmp_path / "journal", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    scripted.script = flow()

    async def release() -> None:
        await anyio.sleep(0.5)
        other.execute("COMMIT")

    async with running(scripted, journal) as runner, anyio.create_task_group() as tasks:
        tasks.start_soon(release)
        job = await runner.start(VPS, approved())
        await job.wait(5)
        other.close()
        assert isinstance(job.execution.state, Completed)


async def test_a_result_that_the_disk_refuses_once_survives_a_shutdown(
    scripted: ScriptedApi, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = journal.complete
    refused = anyio.Event()

    def refuse_once(*arguments: object, **more: object) -> object:
        if not refused.is_set():
            anyio.from_thread.run_sync(refused.set)
            raise JournalError(Path("j"), "disk full")
        return complete(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(journal, "complete", refuse_once)
    scripted.script = flow()
    async with running(scripted, journal) as runner:
        job = await runner.start(VPS, approved())
        await refused.wait()
    found = journal.get(job.execution.exec_id)
    assert found
    assert isinstance(found.state, Completed)


async def test_who_leaves_while_the_disk_is_slow_has_nothing_sent(
    scripted: ScriptedApi, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark_sent = journal.mark_sent
    reached = anyio.Event()

    def slowly(execution: Execution) -> Execution:
        anyio.from_thread.run_sync(reached.set)
        time.sleep(0.3)
        return mark_sent(execution)

    monkeypatch.setattr(journal, "mark_sent", slowly)
    scripted.script = flow()
    async with running(scripted, journal) as runner:
        job = await runner.start(VPS, approved())
        await reached.wait()
        job.abandon()
        await job.wait(5)
    assert isinstance(job.execution.state, Ended)
    assert (job.execution.state.kind, job.execution.state.code) == ("not_started", "cancelled")
    assert [request.method for request in scripted.received] == ["GET"]


async def test_an_own_pid_that_is_not_on_disk_yet_is_no_foreign_one(
    scripted: ScriptedApi, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark_running = journal.mark_running
    tries = iter(range(10))

    def refuse_at_first(*arguments: object) -> object:
        if next(tries) < 2:
            raise JournalError(Path("j"), "disk full")
        return mark_running(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(journal, "mark_running", refuse_at_first)
    scripted.script = flow()
    async with running(scripted, journal) as runner:
        job = await runner.start(VPS, approved())
        with anyio.move_on_after(0.7):
            await job.started.wait()
        assert await runner.follow(VPS, 7) is job
        await job.wait(5)
    assert isinstance(job.execution.state, Completed)


async def test_a_reason_that_cannot_be_encoded_is_no_crash(
    scripted: ScriptedApi, journal: Journal
) -> None:
    scripted.script = lambda _: json_answer({"available": False, "reason": "\ud800 broken"})
    async with running(scripted, journal) as runner:
        job = await runner.start(VPS, approved())
        await job.wait(5)
    assert isinstance(job.execution.state, Ended)
    assert "\ufffd broken" in job.execution.state.message


async def test_a_slow_probe_and_a_question_share_one_deadline(
    scripted: ScriptedApi, journal: Journal
) -> None:
    scripted.script = flow(probe_delay=1.5)
    async with running(scripted, journal) as runner:
        job = await runner.start(VPS, approved())
        began = time.monotonic()
        await job.wait(0, ask_now=True)
        assert time.monotonic() - began < 5
    assert job.done.is_set() or isinstance(job.execution.state, Running)


async def test_the_hour_of_asking_again_counts_from_the_loss(
    scripted: ScriptedApi, journal: Journal
) -> None:
    gone = json_answer(problem(404, "not_found"), 404)
    answer = gone
    scripted.script = flow(lambda: answer)
    began = time.time()
    async with running(scripted, journal) as runner:
        job = await runner.start(VPS, approved())
        await job.wait(5)
    assert isinstance(job.execution.state, Ended)
    answer = DONE
    for age, state in ((7200, Ended), (3000, Completed)):
        scripted.received.clear()
        async with running(scripted, journal, lambda: began + age) as runner:  # noqa: B023
            again = await runner.resume(job.execution)
            await again.wait(5)
            assert isinstance(again.execution.state, state)
