"""What becomes of commands whose VPS, server or caller went away, and whose pid got a new owner."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from hostup_mcp.execution.job import Job
from hostup_mcp.execution.journal.records import Completed, Ended, Execution, Running
from hostup_mcp.execution.journal.sqlite.store import SqliteStore
from hostup_mcp.execution.runner import Runner
from hostup_mcp.execution.schedule import Schedule
from tests.runner_harness import (
    DONE,
    GOES_ON,
    RETRY_LIMITS,
    VPS,
    acting,
    after_boot,
    another_process,
    flow,
    followed,
    order,
    polls,
    processes,
    running,
    tools,
    wait_until,
    wrote,
)
from tests.scripted_api import Answer, Received, ScriptedApi, json_answer, problem
from tests.stdio_client import (
    CLIENT_TIMEOUT,
    MODERN,
    RawClient,
    connect,
    environment,
    facts,
    text,
)

GONE = json_answer(problem(404, "not_found"), 404)
NOBODY = "4194304:1"
"""The owner of what a process left behind that is gone."""


def leave(journal: SqliteStore, *, pid: int = 7, command: str = "uptime") -> Execution:
    """A command that a process left running when it died."""
    with processes(NOBODY):
        sent = journal.mark_sent(journal.record_intent(VPS, command, "p@0").execution)
        return journal.mark_running(sent, pid)


async def resumed(runner: Runner, record: Execution) -> Job:
    job = await runner.resume(record)
    await job.wait(20)
    return job


# ------------------------------------------------------------------ reboots


async def test_a_reboot_since_the_start_is_told_and_the_pid_is_not_asked_for(
    scripted: ScriptedApi, tmp_path: Path
) -> None:
    journal = SqliteStore(tmp_path / "journal", lambda: time.time() - 1000, acting)
    record = leave(journal)
    scripted.script = after_boot(500)
    async with running(scripted, journal) as runner:
        job = await resumed(runner, record)
        assert isinstance(job.execution.state, Ended)
        assert (job.execution.state.kind, job.execution.state.code) == ("lost", "vps_rebooted")
        assert polls(scripted) == 0
        again = await resumed(runner, job.execution)
        assert again.execution == job.execution
        assert polls(scripted) == 0, "it cannot turn up again"
    async with tools(scripted, journal) as client:
        said = text(await client.call("vps_exec_result", exec_id=record.exec_id))
    assert said.startswith("vps_rebooted: The VPS rebooted after the command was started")
    assert "status: lost" in said
    journal.close()


@pytest.mark.parametrize(
    "uptime", [5000, 990, 1000, None, Answer(503), json_answer({}), json_answer(problem(403, "x"))]
)
async def test_without_a_reboot_or_without_knowing_the_result_is_asked_for(
    scripted: ScriptedApi, tmp_path: Path, uptime: object
) -> None:
    journal = SqliteStore(tmp_path / "journal", lambda: time.time() - 1000, acting)
    record = leave(journal)
    scripted.script = after_boot(uptime)
    async with running(scripted, journal) as runner:
        job = await resumed(runner, record)
    assert isinstance(job.execution.state, Completed)
    journal.close()


async def test_a_command_that_runs_well_costs_no_question_for_the_uptime(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    answers = iter([GOES_ON, GOES_ON, DONE])
    scripted.script = after_boot(1, lambda: next(answers))
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        await job.wait(20)
    assert isinstance(job.execution.state, Completed)
    assert not [request for request in scripted.received if request.path.endswith("/status")]


async def test_a_clock_that_is_set_is_not_taken_for_a_reboot(
    scripted: ScriptedApi, tmp_path: Path
) -> None:
    ahead = 0.0

    def clock() -> float:
        return time.time() + ahead

    journal = SqliteStore(tmp_path / "journal", clock, acting)
    scripted.script = after_boot(5000, lambda: GOES_ON)
    async with running(scripted, journal, clock) as runner:
        job, _ = await runner.start(order())
        await wait_until(lambda: job.polls > 1)
        ahead = 300.0
        replies = iter([Answer(503)])
        scripted.script = after_boot(20, lambda: next(replies, DONE))
        await job.wait(20)
    assert isinstance(job.execution.state, Completed), "the clock was set, and nothing restarted"
    journal.close()


async def test_a_reboot_under_a_poller_is_seen_after_the_first_failure(
    scripted: ScriptedApi, journal: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostup_mcp.execution.polling._UPTIME_SLACK_SECONDS", 0.0)
    scripted.script = after_boot(5000, lambda: GOES_ON)
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        await wait_until(lambda: job.polls > 1)
        scripted.script = after_boot(0, lambda: Answer(503))
        await job.wait(20)
    assert isinstance(job.execution.state, Ended)
    assert job.execution.state.code == "vps_rebooted"


async def test_a_lost_result_is_not_asked_for_after_a_reboot(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    """Another command has its pid then, and its result is that one's."""
    scripted.script = after_boot(5000, lambda: GONE)
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        await job.wait(10)
    assert isinstance(job.execution.state, Ended)
    later = time.time() + 1800
    for uptime in (60, None):
        scripted.received.clear()
        scripted.script = after_boot(uptime, lambda: DONE)
        async with running(scripted, journal, lambda: later) as runner:
            again = await runner.resume(job.execution)
            await again.wait(5)
        assert isinstance(again.execution.state, Ended)
        assert polls(scripted) == 0


@pytest.mark.parametrize("is_over", [True, False])
async def test_a_result_that_came_during_a_start_is_on_disk_before_that_start_has_ended(
    scripted: ScriptedApi, journal: SqliteStore, *, is_over: bool
) -> None:
    """The server may end meanwhile; the next one has the result, and asks for nothing."""

    def script(request: Received) -> Answer:
        if request.method == "POST" and b"df" in request.body:
            return Answer(200, json_answer({"pid": 8}).body, delay=2)
        if "pid=7" in request.path:
            return DONE if any(b"df" in other.body for other in scripted.received) else GOES_ON
        return flow(lambda: GOES_ON)(request)

    scripted.script = script
    async with running(scripted, journal, schedule=Schedule(first=0.02, longest=0.2)) as runner:
        first, _ = await runner.start(order())
        await first.wait(0.3)
        await runner.start(order("df -h"))
        await wait_until(lambda: is_received(journal, first.execution))
        if is_over:
            await first.wait(10)
            assert isinstance(first.execution.state, Completed)
    if not is_over:
        asked = sum("pid=7" in request.path for request in scripted.received)
        async with running(scripted, journal) as runner:
            again = await runner.resume(await stored(runner, first.execution))
            await again.wait(10)
        assert wrote(journal, again.execution) == "out"
        assert sum("pid=7" in request.path for request in scripted.received) == asked


async def stored(runner: Runner, execution: Execution) -> Execution:
    found = await runner.get(execution.exec_id)
    assert found
    return found


def is_received(journal: SqliteStore, execution: Execution) -> bool:
    found = journal.get(execution.exec_id)
    assert found
    state = found.state
    return isinstance(state, Completed) or (
        isinstance(state, Running) and state.received_at is not None
    )


# ------------------------------------------------------------------ one pid, two commands


async def test_a_pid_that_another_command_got_gives_its_result_to_that_one(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    """The older one's poller reads it first, and hands it on."""
    now = GOES_ON
    left = [json_answer({"exited": True, "exitCode": 0, "stdout": "the newer one's"})]
    scripted.script = flow(lambda: now if now is GOES_ON else left.pop() if left else GONE)
    eager = Schedule(first=0.02, shortest=0.05, longest=0.05)
    async with running(scripted, journal, schedule=eager) as runner:
        older, _ = await runner.start(order())
        await wait_until(lambda: older.polls > 0)
        newer, _ = await runner.start(order("df -h"))
        await wait_until(lambda: newer.pid == 7)
        now = GONE
        await newer.wait(20)
        await older.wait(20)
    assert wrote(journal, newer.execution) == "the newer one's"
    assert isinstance(older.execution.state, Ended)
    assert older.execution.state.code == "pid_reused"
    found = journal.get(older.execution.exec_id)
    assert found
    assert found.state == older.execution.state


async def test_a_late_result_goes_to_the_newer_command_in_every_order(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    """The reply to the older one's question is on its way while the newer one is being started."""
    slow = Answer(
        200, json_answer({"exited": True, "exitCode": 0, "stdout": "newer"}).body, delay=1
    )
    replies = iter([slow])
    scripted.script = flow(lambda: next(replies, GONE))
    async with running(scripted, journal, schedule=Schedule(first=0.02)) as runner:
        older, _ = await runner.start(order())
        await wait_until(lambda: polls(scripted) == 1)
        newer, _ = await runner.start(order("df -h"))
        await wait_until(lambda: newer.pid == 7)
        await older.wait(20)
        await newer.wait(20)
    assert isinstance(older.execution.state, Ended)
    assert older.execution.state.code == "pid_reused"
    assert wrote(journal, newer.execution) == "newer"


async def test_a_lost_command_never_shows_what_its_pid_gives_later(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    now = GONE
    scripted.script = flow(lambda: now)
    async with running(scripted, journal) as runner:
        older, _ = await runner.start(order())
        await older.wait(20)
        assert isinstance(older.execution.state, Ended)
        assert older.execution.state.kind == "lost"
        now = GOES_ON
        newer, _ = await runner.start(order("df -h"))
        await wait_until(lambda: newer.pid == 7)
        for _ in range(2):
            found = journal.get(older.execution.exec_id)
            assert found
            again = await resumed(runner, found)
            assert isinstance(again.execution.state, Ended)
            assert again.execution.state.code == "pid_reused"
            now = DONE
            await newer.wait(20)
        assert isinstance(newer.execution.state, Completed)
        assert (await followed(runner, 7)).execution.exec_id == newer.execution.exec_id


# ------------------------------------------------------------------ leftovers


async def test_what_a_dead_process_left_is_taken_up_without_being_asked(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    record = leave(journal)
    with processes(NOBODY):
        intended = journal.record_intent(VPS, "df -h", "p@0").execution
        sent = journal.mark_sent(journal.record_intent(VPS, "free", "p@0").execution)
    scripted.script = flow()
    async with running(scripted, journal) as runner, anyio.create_task_group() as tasks:
        tasks.start_soon(runner.recover)
        for execution, kind in (
            (record, "completed"), (intended, "not_started"), (sent, "unknown"),
        ):  # fmt: skip
            await wait_until(
                lambda execution=execution, kind=kind: is_now(journal, execution, kind)
            )
        tasks.cancel_scope.cancel()
    assert polls(scripted) == 1
    assert [r for r in scripted.received if r.method == "POST"] == [], "nothing is sent again"


def is_now(journal: SqliteStore, execution: Execution, kind: str) -> bool:
    found = journal.get(execution.exec_id)
    assert found
    match found.state:
        case Completed():
            return kind == "completed"
        case Ended(kind=name):
            return name == kind
        case Running():
            return kind == "running"
        case _:
            return False


async def test_what_a_live_process_works_on_is_left_to_it(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    scripted.script = flow()
    with another_process() as process:
        with processes(f"{process.pid}:"):
            sent = journal.mark_sent(journal.record_intent(VPS, "uptime", "p@0").execution)
            record = journal.mark_running(sent, 7)
        mine = leave(journal, pid=8)
        async with running(scripted, journal) as runner, anyio.create_task_group() as tasks:
            tasks.start_soon(runner.recover)
            await wait_until(lambda: is_now(journal, mine, "completed"))
            tasks.cancel_scope.cancel()
        found = journal.get(record.exec_id)
    assert found == record
    assert [r.path.rpartition("pid=")[2] for r in scripted.received if "pid=" in r.path] == ["8"]


def test_a_server_takes_up_what_the_one_before_left_when_it_was_killed(
    scripted: ScriptedApi, tmp_path: Path
) -> None:
    now = GOES_ON
    scripted.script = flow(lambda: now)
    env = environment(scripted.url, "some_key_123", tmp_path)
    with RawClient(env) as client:
        client.initialize()
        ran = client.call("vps_exec", vps_id=VPS, command="uptime", wait_seconds=0)["result"]
        client.kill()
    exec_id = ran["structuredContent"]["exec_id"]
    now = DONE
    with RawClient(env) as client:
        client.initialize()
        journal = SqliteStore(tmp_path / "journal.sqlite3")
        until = time.monotonic() + 20
        while not is_now(journal, found_by(journal, exec_id), "completed"):
            assert time.monotonic() < until, "nobody asked, and it was not taken up"
            time.sleep(0.05)
        journal.close()
        now = GONE
        read = client.call("vps_exec_result", exec_id=exec_id)["result"]
    assert read["structuredContent"]["stdout"] == "out"


def found_by(journal: SqliteStore, exec_id: str) -> Execution:
    found = journal.get(exec_id)
    assert found
    return found


async def test_a_record_that_is_deleted_meanwhile_ends_its_poller_with_a_word(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    now = GOES_ON
    scripted.script = flow(lambda: now)
    eager = Schedule(first=0.02, shortest=0.05, longest=0.05)
    async with running(scripted, journal, schedule=eager) as runner:
        job, _ = await runner.start(order())
        await wait_until(lambda: job.polls > 0)
        with journal.database.writing():
            journal.database.execute("DELETE FROM executions")
        now = DONE
        with anyio.fail_after(10):
            await job.done.wait()
    assert job.problem
    assert job.problem.code == "record_gone"
    assert "no longer in the journal" in job.problem.message


# ------------------------------------------------------------------ callers who went away


async def test_a_caller_who_gives_up_costs_no_result(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    answers = iter([GOES_ON, GOES_ON, GOES_ON, DONE])
    scripted.script = flow(lambda: next(answers, GONE))
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        with anyio.move_on_after(0.1):
            await job.wait(20)
        await wait_until(lambda: is_now(journal, job.execution, "completed"))
    assert job.waiting == 0


async def test_what_nobody_waits_for_is_asked_for_only_so_long(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    now = GOES_ON
    scripted.script = flow(lambda: now)
    limits = replace(RETRY_LIMITS, reap=0.5)
    eager = Schedule(shortest=0.1, longest=0.1)
    async with running(scripted, journal, limits=limits, schedule=eager) as runner:
        job, _ = await runner.start(order())
        await job.wait(1.5)
        assert not job.done.is_set(), "somebody waits"
        with anyio.fail_after(20):
            await job.done.wait()
        assert isinstance(job.execution.state, Running)
        asked = polls(scripted)
        await anyio.sleep(0.3)
        assert polls(scripted) == asked
        now = DONE
        again = await runner.resume(job.execution)
        await again.wait(20, ask_now=True)
        assert isinstance(again.execution.state, Completed), "who asks has it asked for again"


async def test_leftovers_that_are_too_old_are_given_up(
    scripted: ScriptedApi, tmp_path: Path
) -> None:
    journal = SqliteStore(tmp_path / "journal", lambda: time.time() - 1000, acting)
    old = leave(journal, pid=5)
    with processes(NOBODY):
        intended = journal.record_intent(VPS, "df -h", "p@0").execution
        sent = journal.mark_sent(journal.record_intent(VPS, "free", "p@0").execution)
    journal.close()
    journal = SqliteStore(tmp_path / "journal", me=acting)
    new = leave(journal, pid=6)
    scripted.script = after_boot(10_000)
    limits = replace(RETRY_LIMITS, reap=500)
    async with running(scripted, journal, limits=limits) as runner:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.recover)
            for execution, kind in (
                (new, "completed"), (old, "lost"), (intended, "not_started"), (sent, "unknown"),
            ):  # fmt: skip
                await wait_until(
                    lambda execution=execution, kind=kind: is_now(journal, execution, kind)
                )
            tasks.cancel_scope.cancel()
        assert polls(scripted) == 1
        given_up = found_by(journal, old.exec_id)
        assert isinstance(given_up.state, Ended)
        assert given_up.state.code == "given_up"
        assert "is not asked for any more" in given_up.state.message
        job = await resumed(runner, given_up)
        assert isinstance(job.execution.state, Completed), "who asks has it asked for"
    journal.close()


async def test_an_old_one_that_somebody_asks_for_is_not_given_up(
    scripted: ScriptedApi, tmp_path: Path
) -> None:
    journal = SqliteStore(tmp_path / "journal", lambda: time.time() - 1000, acting)
    old = leave(journal, pid=5)
    journal.close()
    journal = SqliteStore(tmp_path / "journal", me=acting)
    assert journal.lease(old, 100)
    limits = replace(RETRY_LIMITS, reap=500)
    async with running(scripted, journal, limits=limits) as runner:
        await runner.recovery.look()
        assert journal.give_up(old) == found_by(journal, old.exec_id)
        assert is_now(journal, found_by(journal, old.exec_id), "running")
    assert polls(scripted) == 0
    journal.close()


# ------------------------------------------------------------------ how long a call may take


@pytest.mark.parametrize(
    ("name", "budget", "for_start"),
    [
        ("claude-ai", 45.0, 5.0),
        ("mcp", 3.75, 3.75),
        ("something new", 3.75, 3.75),
        (None, 3.75, 3.75),
        ("inspector-client", 7.5, 5.0),
    ],
)
async def test_a_call_waits_no_longer_than_its_client(
    scripted: ScriptedApi,
    journal: SqliteStore,
    monkeypatch: pytest.MonkeyPatch,
    name: str | None,
    budget: float,
    for_start: float,
) -> None:
    waits: list[tuple[float, float]] = []

    async def wait(_: Job, seconds: float, *, ask_now: bool, start_seconds: float) -> None:
        waits.append((seconds, start_seconds))

    monkeypatch.setattr(Job, "wait", wait)
    scripted.script = flow(lambda: GOES_ON)
    async with tools(scripted, journal, client_name=name) as client:
        ran = facts(await client.exec())
        await client.call("vps_exec_result", exec_id=ran["exec_id"])
        await client.exec(wait_seconds=1, idempotency_key="k")
    assert [wanted for wanted in waits if wanted[0] > budget or wanted[1] > for_start] == []
    # What the look-up took, some milliseconds, counts too.
    (first, _), (again, _), (short, _) = waits
    assert min(first, again) > budget - 3
    assert short <= 1


def test_an_impatient_client_has_its_answer_and_a_reason_to_come_back(
    scripted: ScriptedApi, tmp_path: Path
) -> None:
    scripted.script = flow(lambda: GOES_ON)
    env = environment(scripted.url, "some_key_123", tmp_path, **{CLIENT_TIMEOUT: ""})
    with RawClient(env) as client:
        client.initialize("mcp")
        ran = client.call("vps_exec", vps_id=VPS, command="uptime", wait_seconds=45)["result"]
    told = ran["structuredContent"]
    assert told["status"] == "running"
    assert told["elapsed_seconds"] < 20
    assert told["next_poll_seconds"] > 0
    assert f"next_poll_seconds: {told['next_poll_seconds']} (" in ran["content"][0]["text"]


async def test_the_handle_is_in_the_first_progress_message(
    scripted: ScriptedApi, tmp_path: Path
) -> None:
    scripted.script = flow(lambda: GOES_ON, probe_delay=0.3)
    env = environment(scripted.url, "some_key_123", tmp_path)
    said: list[str] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        said.append(message or "")

    async with connect(env, MODERN) as client:
        ran = await client.call_tool(
            "vps_exec",
            {"vps_id": VPS, "command": "uptime", "wait_seconds": 0},
            progress_callback=on_progress,
        )
    assert f"exec_id {facts(ran)['exec_id']}" in said[0]
