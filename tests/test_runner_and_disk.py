"""The runner when the disk, the process or the caller fails it."""

from __future__ import annotations

import os
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.from_thread
import pytest

from hostup_mcp.execution.journal import owner as owner_module
from hostup_mcp.execution.journal.errors import JournalError
from hostup_mcp.execution.journal.records import (
    Completed,
    Ended,
    Execution,
    Intended,
    Running,
    Sent,
)
from hostup_mcp.execution.journal.sqlite.store import SqliteStore
from tests.runner_harness import VPS, flow, order, processes, refusing, running, starts, wait_until
from tests.scripted_api import Answer, Received, ScriptedApi, json_answer, problem


async def test_intent_is_on_disk_before_the_post_and_the_result_before_the_answer(
    scripted: ScriptedApi, journal: SqliteStore
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
        job, _ = await runner.start(order())
        exec_id = job.execution.exec_id
        await job.wait(5)
        assert journal.get(exec_id) == job.execution
    assert seen == {"GET": Intended, "POST": Sent, "poll": Running}


async def test_a_result_that_the_disk_refuses_is_saved_as_soon_as_it_can_be(
    scripted: ScriptedApi, journal: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "complete", refusing(journal.complete, 4))
    scripted.script = flow()
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        await job.wait(1)
        assert job.problem
        assert job.problem.code == "journal_failed"
        await job.wait(5)
    assert job.problem is None
    assert isinstance(job.execution.state, Completed)


async def test_nothing_is_sent_when_the_intent_cannot_be_written(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    journal.close()
    scripted.script = flow()
    async with running(scripted, journal) as runner:
        with pytest.raises(JournalError):
            await runner.start(order())
    assert scripted.received == []


async def test_a_fault_of_ours_ends_one_execution_and_not_the_others(
    scripted: ScriptedApi, journal: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.script = flow()
    async with running(scripted, journal) as runner:
        with monkeypatch.context() as patch:

            def fail(*_: object) -> None:
                raise ZeroDivisionError

            patch.setattr(journal, "mark_running", fail)
            broken, _ = await runner.start(order())
            await broken.wait(5)
        assert broken.problem
        assert broken.problem.code == "internal_error"
        good, _ = await runner.start(order())
        await good.wait(5)
    assert isinstance(good.execution.state, Completed)


@pytest.mark.parametrize("owner", ["dead", "alive", "this one"])
async def test_what_was_left_behind_is_told_truthfully_once_its_owner_is_gone(
    scripted: ScriptedApi, journal: SqliteStore, owner: str
) -> None:
    names = {
        "dead": "4194304:1",
        "alive": f"{os.getppid()}:",
        "this one": owner_module.current_owner(),
    }
    with processes(names[owner]):
        intended = journal.record_intent(VPS, "uptime", "diagnostics@0").execution
        sent = journal.mark_sent(journal.record_intent(VPS, "uptime", "diagnostics@0").execution)
    async with running(scripted, journal) as runner:
        for execution, kind in ((intended, "not_started"), (sent, "unknown")):
            job = await runner.resume(execution)
            await job.wait(0, start_seconds=0.5)
            state = job.execution.state
            if owner == "alive":
                assert state == execution.state
            else:
                assert isinstance(state, Ended)
                assert (state.kind, state.code) == (kind, "interrupted")
    assert scripted.received == [], "nothing is sent again"


def test_a_process_is_told_from_a_later_one_with_its_id() -> None:
    mine = owner_module.current_owner()
    pid, start, place = mine.split(":", 2)
    assert owner_module.is_alive(mine)
    assert owner_module.is_alive(f"{pid}:")
    assert not owner_module.is_alive(f"{pid}:{start}0")
    assert not owner_module.is_alive("4194304:")
    assert not owner_module.is_alive("garbage")
    boot, _, namespace = place.partition("/")
    assert boot
    assert namespace


@pytest.mark.parametrize(
    ("place", "lease", "gone"),
    [
        ("{boot}/{namespace}", 1.0, True),
        ("{boot}/pid:[1]", 1.0, True),
        ("{boot}/pid:[1]", 3.0, False),
        ("another-boot/{namespace}", 3.0, True),
    ],
)
def test_of_a_process_in_another_container_only_the_lease_tells(
    journal: SqliteStore, place: str, lease: float, gone: bool
) -> None:
    boot, _, namespace = owner_module.current_owner().split(":", 2)[2].partition("/")
    record = journal.record_intent(VPS, "uptime", "p@0").execution
    owner = f"4194304:1:{place.format(boot=boot, namespace=namespace)}"
    me = owner_module.current_owner()
    assert owner_module.has_gone(replace(record, owner=owner, lease_until=lease), me, 2.0) is gone
    assert not owner_module.has_gone(record, me, record.lease_until + 1)


async def test_nothing_is_sent_that_another_process_has_closed(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    """It took this one for gone, and said that the command did not run."""
    limited = json_answer(problem(429, "rate_limited"), 429, Retry_After="1")
    replies = iter([limited])

    def script(request: Received) -> Answer:
        if request.method == "POST":
            return next(replies, json_answer({"pid": 7}))
        return flow()(request)

    scripted.script = script
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        await wait_until(lambda: job.problem is not None)
        journal.end(job.execution, "not_started", code="interrupted", message="m", advice="a")
        await job.wait(10)
    assert isinstance(job.execution.state, Ended)
    assert job.execution.state.code == "interrupted"
    assert starts(scripted) == 1


async def test_a_pid_is_kept_also_where_another_process_gave_the_start_up(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    def script(request: Received) -> Answer:
        if request.method == "POST":
            return Answer(200, json_answer({"pid": 7}).body, delay=1)
        return flow()(request)

    scripted.script = script
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        await wait_until(lambda: starts(scripted) > 0)
        journal.end(job.execution, "unknown", code="interrupted", message="m", advice="a")
        await job.wait(10)
    assert isinstance(job.execution.state, Completed)


async def test_a_pid_that_the_disk_refuses_is_kept_until_it_takes_it(
    scripted: ScriptedApi, journal: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "mark_running", refusing(journal.mark_running, 4))
    scripted.script = flow()
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        with anyio.move_on_after(1):
            await job.started.wait()
        assert job.pid == 7
        assert job.problem
        await job.wait(5)
    assert isinstance(job.execution.state, Completed)


async def test_a_journal_that_another_process_holds_is_waited_for(
    scripted: ScriptedApi, journal: SqliteStore, tmp_path: Path
) -> None:
    other = sqlite3.connect(tmp_path / "journal", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    scripted.script = flow()

    async def release() -> None:
        await anyio.sleep(0.5)
        other.execute("COMMIT")

    async with running(scripted, journal) as runner, anyio.create_task_group() as tasks:
        tasks.start_soon(release)
        job, _ = await runner.start(order())
        await job.wait(5)
        other.close()
        assert isinstance(job.execution.state, Completed)


async def test_a_result_that_the_disk_refuses_once_survives_a_shutdown(
    scripted: ScriptedApi, journal: SqliteStore, monkeypatch: pytest.MonkeyPatch
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
        job, _ = await runner.start(order())
        await refused.wait()
    found = journal.get(job.execution.exec_id)
    assert found
    assert isinstance(found.state, Completed)


async def test_who_leaves_while_the_disk_is_slow_has_nothing_sent(
    scripted: ScriptedApi, journal: SqliteStore, monkeypatch: pytest.MonkeyPatch
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
        job, _ = await runner.start(order())
        await reached.wait()
        job.abandon()
        with anyio.fail_after(5):
            await job.done.wait()
    assert isinstance(job.execution.state, Ended)
    assert (job.execution.state.kind, job.execution.state.code) == ("not_started", "cancelled")
    assert [request.method for request in scripted.received] == ["GET"]


async def test_an_own_pid_that_is_not_on_disk_yet_is_no_foreign_one(
    scripted: ScriptedApi, journal: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "mark_running", refusing(journal.mark_running, 2))
    scripted.script = flow()
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        with anyio.move_on_after(0.7):
            await job.started.wait()
        assert await runner.follow(VPS, 7) is job
        await job.wait(5)
    assert isinstance(job.execution.state, Completed)
