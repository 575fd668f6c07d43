"""One poller for a command, over all processes: who may ask, and who takes over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from hostup_mcp.execution.journal.owner import current_owner
from hostup_mcp.execution.journal.records import Ended, Execution, Running, Stream
from hostup_mcp.execution.journal.sqlite.store import SqliteStore
from hostup_mcp.execution.runner import Runner
from hostup_mcp.execution.schedule import Schedule
from tests.runner_harness import (
    ACTING,
    DONE,
    GOES_ON,
    VPS,
    acting,
    another_process,
    flow,
    order,
    polls,
    processes,
    running,
    wait_until,
    wrote,
)
from tests.scripted_api import Answer, ScriptedApi, json_answer, problem

GONE = json_answer(problem(404, "not_found"), 404)
ME = current_owner()


@dataclass
class Clock:
    """Seconds since the epoch, which a test can put forward: a machine that slept."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journals(tmp_path: Path, clock: Clock) -> Iterator[tuple[SqliteStore, SqliteStore]]:
    """One journal, as two processes have it open."""
    one, other = (SqliteStore(tmp_path / "journal", clock, acting) for _ in range(2))
    yield one, other
    one.close()
    other.close()


@pytest.fixture
def other() -> Iterator[str]:
    """A process that is there, as an owner."""
    with another_process() as process:
        yield f"{process.pid}:"


def once(answers: int = 3) -> Callable[[], Answer]:
    """A guest that runs for some questions, hands the result out once, and then has nothing."""
    left = iter([*[GOES_ON] * answers, DONE])
    return lambda: next(left, GONE)


def started(journal: SqliteStore, owner: str, lease_seconds: float) -> Execution:
    """A command that a process has started and polls for."""
    ACTING.set(owner)
    sent = journal.mark_sent(journal.record_intent(VPS, "uptime", "p@0").execution)
    return journal.mark_running(sent, 7, lease_seconds)


def assert_has_result(journal: SqliteStore, execution: Execution) -> None:
    assert wrote(journal, execution) == "out"


# ------------------------------------------------------------------ the journal's part


def test_a_lease_is_one_processes_until_it_ends(
    journals: tuple[SqliteStore, SqliteStore], clock: Clock
) -> None:
    one, other = journals
    with processes("1:a", "2:b"):
        record = started(one, "1:a", 60)
        ACTING.set("2:b")
        assert not other.lease(record, 60)
        assert other.record_foreign(VPS, 7, 60) == (record, False)
        assert other.record_foreign(VPS, 7, 60, "another principal") is None
        clock.ahead = 61
        assert other.lease(record, 60)
        ACTING.set("1:a")
        assert not one.lease(record, 60), "it is the other's now"
        ACTING.set("2:b")
        assert other.lease(record, 60), "the holder renews it"
        ACTING.set("3:c")
        assert not one.lease(record, 60, owner_is_gone=True), "that owner has it no more"
        now = one.get(record.exec_id)
        assert now
        assert one.lease(now, 60, owner_is_gone=True)


# ------------------------------------------------------------------ two runners


async def both_ask(
    first: Runner, second: Runner, execution: Execution, other: str
) -> list[Execution]:
    found: list[Execution] = []

    async def ask(runner: Runner, owner: str) -> None:
        ACTING.set(owner)
        job = await runner.resume(execution)
        await job.wait(20, ask_now=True)
        found.append(job.execution)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, first, ME)
        tasks.start_soon(ask, second, other)
    return found


async def test_two_processes_share_one_poller_and_both_have_the_result(
    scripted: ScriptedApi, journals: tuple[SqliteStore, SqliteStore], other: str
) -> None:
    with processes(ME, other):
        async with (
            running(scripted, journals[0]) as first,
            running(scripted, journals[1]) as second,
        ):
            for round_number in range(10):
                scripted.script = flow(once(round_number % 3))
                scripted.received.clear()
                ACTING.set(ME)
                job, _ = await first.start(order())
                found = await both_ask(first, second, job.execution, other)
                assert len(found) == 2
                for execution in (*found, journals[1].get(job.execution.exec_id)):
                    assert execution
                    assert_has_result(journals[0], execution)
                asked = polls(scripted)
                assert asked == round_number % 3 + 1, "nobody asked beside the holder of the lease"


async def test_a_live_holder_is_waited_for_and_a_dead_one_replaced_at_once(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    scripted.script = flow(once(0))
    with another_process() as process, processes(ME):
        record = started(journal, f"{process.pid}:", 3600)
        ACTING.set(ME)
        async with running(scripted, journal) as runner:
            job = await runner.resume(record)
            await job.wait(1, start_seconds=0.5)
            assert isinstance(job.execution.state, Running)
            assert polls(scripted) == 0
            process.kill()
            process.wait()
            await job.wait(20)
            assert_has_result(journal, job.execution)
    assert polls(scripted) == 1


async def test_a_holder_that_hangs_is_replaced_when_its_lease_ends(
    scripted: ScriptedApi, journals: tuple[SqliteStore, SqliteStore], clock: Clock, other: str
) -> None:
    scripted.script = flow(once(0))
    with processes(ME, other):
        record = started(journals[0], other, 60)
        ACTING.set(ME)
        async with running(scripted, journals[1], clock) as runner:
            job = await runner.resume(record)
            await job.wait(0.5, start_seconds=0.5)
            assert polls(scripted) == 0
            clock.ahead = 61
            await job.wait(20)
            assert_has_result(journals[0], job.execution)
            found = journals[0].get(record.exec_id)
            assert found
            assert found.owner == ME


async def test_a_holder_whose_lease_ended_while_it_slept_leaves_it_to_the_new_one(
    scripted: ScriptedApi, journals: tuple[SqliteStore, SqliteStore], clock: Clock, other: str
) -> None:
    """A laptop's lid: the pause is over, the lease too, and somebody else asks by now."""
    now = GOES_ON
    scripted.script = flow(lambda: now)
    slow, quick = Schedule(longest=2, shortest=2), Schedule(longest=0.1, shortest=0.1)
    with processes(ME, other):
        async with (
            running(scripted, journals[0], clock, schedule=slow) as sleeper,
            running(scripted, journals[1], clock, schedule=quick) as taker,
        ):
            job, _ = await sleeper.start(order())
            await wait_until(lambda: job.polls == 1)
            clock.ahead = 1000
            ACTING.set(other)
            taken = await taker.resume(job.execution)
            await wait_until(lambda: taken.polls > 1)
            await wait_until(lambda: job.polls == 2)
            before = taken.polls
            await wait_until(lambda: taken.polls > before + 5)
            now = DONE
            await taken.wait(20)
            now = GONE
            await job.wait(20)
            assert_has_result(journals[0], taken.execution)
            assert_has_result(journals[0], job.execution)
    assert job.polls == 2, "the second question was counted, and not asked"
    assert polls(scripted) == 1 + taken.polls


async def test_who_waits_for_a_lease_learns_the_end_that_the_holder_found(
    scripted: ScriptedApi, journals: tuple[SqliteStore, SqliteStore], other: str
) -> None:
    scripted.script = flow(lambda: GONE)
    with processes(ME, other):
        done = started(journals[0], other, 3600)
        lost = started(journals[0], other, 3600)  # the same pid: the first is lost by that
        ACTING.set(ME)
        async with running(scripted, journals[1]) as runner:
            first, second = await runner.resume(done), await runner.resume(lost)
            await anyio.sleep(0.3)
            journals[0].end(lost, "lost", code="c", message="m", advice="a")
            for job, code in ((first, "pid_reused"), (second, "c")):
                await job.wait(20)
                assert isinstance(job.execution.state, Ended)
                assert job.execution.state.code == code
    assert polls(scripted) == 0


async def test_a_result_that_another_process_puts_on_disk_reaches_who_waits(
    scripted: ScriptedApi, journals: tuple[SqliteStore, SqliteStore], other: str
) -> None:
    scripted.script = flow(lambda: GONE)
    with processes(ME, other):
        record = started(journals[0], other, 3600)
        ACTING.set(ME)
        async with running(scripted, journals[1]) as runner:
            job = await runner.resume(record)
            await anyio.sleep(0.3)
            out = Stream("out")
            journals[0].complete(record, exit_code=0, signal=None, stdout=out, stderr=Stream(""))
            await job.wait(20)
            assert_has_result(journals[0], job.execution)
            assert job.execution.state == (await runner.shown(job.execution)).state, "prepared"
    assert polls(scripted) == 0
