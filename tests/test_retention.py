"""What the journal keeps, for how long, and what of it a reader of the file would find."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from hostup_mcp.execution.journal.limits import Retention
from hostup_mcp.execution.journal.records import Completed, Execution, Output, Running, Stream
from hostup_mcp.execution.journal.sqlite.store import SqliteStore
from tests.runner_harness import (
    KEY,
    VPS,
    another_process,
    flow,
    order,
    processes,
    running,
    starts,
    tools,
    wait_until,
)
from tests.scripted_api import ScriptedApi, json_answer
from tests.stdio_client import facts, text

HOUR = 3600.0
DAY = 24 * HOUR
PASSWORD = "hunter2-correct-horse"
SECRET = f"password={PASSWORD}\ntoken: {KEY}\nplain\n"


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(tmp_path: Path, clock: Clock) -> Iterator[SqliteStore]:
    journal = SqliteStore(tmp_path / "kept", clock)
    yield journal
    journal.close()


def begin(journal: SqliteStore, pid: int = 7) -> Execution:
    return journal.mark_running(
        journal.mark_sent(journal.record_intent(VPS, "uptime", "p@0").execution), pid
    )


def result(journal: SqliteStore, out: str, pid: int = 7) -> Execution:
    done = journal.complete(
        begin(journal, pid), exit_code=0, signal=None, stdout=Stream(out), stderr=Stream("err")
    )
    shown = Output(Stream(out, changes={}), Stream("err", changes={}))
    return journal.replace_output(done, shown, keep_raw=False)


def output(journal: SqliteStore, record: Execution) -> tuple[str, float | None] | None:
    """What is left of a result's output, and when it was dropped; None without a record."""
    found = journal.get(record.exec_id)
    if found is None:
        return None
    assert isinstance(found.state, Completed)
    left = journal.output(found)
    return left.stdout.text + left.stderr.text, found.state.dropped_at


def on_disk(journal: SqliteStore) -> bytes:
    """All that stands in the journal's files."""
    folder = journal.path.parent
    return b"".join(path.read_bytes() for path in folder.glob(f"{journal.path.name}*"))


# ------------------------------------------------------------------ age and size


def keep_to(journal: SqliteStore, clock: Clock, limits: Retention) -> int:
    """Two purges, an hour apart: how many outputs were dropped."""
    dropped = journal.purge(limits, clock.now)
    clock.now += HOUR
    return dropped + journal.purge(limits, clock.now)


def test_output_goes_after_its_days_and_the_record_much_later(
    kept: SqliteStore, clock: Clock
) -> None:
    old = result(kept, "old")
    kept.mark_read(old)
    clock.now += 2 * DAY
    new = result(kept, "new")
    kept.mark_read(new)
    clock.now += 2 * DAY
    limits = Retention(days=3)
    assert kept.purge(limits, clock.now) == 0, "what is found old is noted first"
    clock.now += HOUR
    assert kept.purge(limits, clock.now) == 1
    assert kept.purge(limits, clock.now) == 0
    assert output(kept, old) == ("", clock.now)
    assert output(kept, new) == ("newerr", None)
    found = kept.get(old.exec_id)
    assert found
    assert isinstance(found.state, Completed)
    assert (found.state.exit_code, found.command, found.pid) == (0, "uptime", 7)
    clock.now += 27 * DAY
    keep_to(kept, clock, limits)
    assert output(kept, old) is None
    assert output(kept, new) is not None


LIVES: dict[str, tuple[str | None, str, bool]] = {
    "read": (None, "completed", True),
    "never read": (None, "completed", False),
    "with a key": ("k", "completed", True),
    "unknown": (None, "unknown", True),
    "lost, and not told": (None, "lost", False),
}


def live(journal: SqliteStore, name: str) -> Execution:
    key, ends, is_read = LIVES[name]
    record = journal.mark_sent(journal.record_intent(VPS, name, "p@0", key=key).execution)
    if ends == "unknown":
        record = journal.end(record, "unknown", code="c", message="m", advice="a")
    else:
        record = journal.mark_running(record, len(name))
    if ends == "lost":
        record = journal.end(record, "lost", code="c", message="m", advice="a")
    if ends == "completed":
        out, empty = Stream("out"), Stream("")
        record = journal.complete(record, exit_code=0, signal=None, stdout=out, stderr=empty)
    if is_read:
        journal.mark_read(record)
    return record


@pytest.mark.parametrize("age_days", [0, 28, 35, 294])
@pytest.mark.parametrize("purges", [1, 3])
def test_a_clock_that_is_wrong_for_a_while_costs_nothing_that_is_needed(
    kept: SqliteStore, clock: Clock, age_days: int, purges: int
) -> None:
    """At one purge, or for hours in which the server is used."""
    records = {name: live(kept, name) for name in LIVES}
    for _ in range(0, age_days, 7):
        clock.now += 7 * DAY
        kept.purge(Retention(), clock.now)
    before = {name: kept.get(record.exec_id) for name, record in records.items()}
    right = clock.now
    clock.now += 400 * DAY
    for _ in range(purges):
        kept.purge(Retention(), clock.now)
        result(kept, "new")  # a witness of the wrong time
        clock.now += HOUR
    clock.now = right + purges * HOUR
    keep_to(kept, clock, Retention())
    if purges == 1 and age_days != 35:  # when outputs have had their term
        assert {name: kept.get(record.exec_id) for name, record in records.items()} == before
    for name, record in records.items():
        if name != "read":
            assert kept.get(record.exec_id), name
    if age_days < 30:
        unread = kept.get(records["never read"].exec_id)
        assert unread
        assert kept.output(unread).stdout.text == "out"
    if age_days == 0 and purges == 1:
        clock.now += 30 * DAY
        assert keep_to(kept, clock, Retention()) >= 1, "the right time counts again"


def test_what_was_recorded_under_a_clock_that_was_far_behind_has_its_term(
    kept: SqliteStore, clock: Clock
) -> None:
    clock.now = 0.0
    records = {name: live(kept, name) for name in LIVES}
    clock.now = 20_000 * DAY
    for _ in range(4):
        kept.purge(Retention(), clock.now)
        clock.now += 7 * DAY
    unread = kept.get(records["never read"].exec_id)
    assert unread
    assert kept.output(unread).stdout.text == "out"
    for _ in range(38):
        kept.purge(Retention(), clock.now)
        clock.now += 7 * DAY
    left = [name for name, record in records.items() if kept.get(record.exec_id)]
    assert left == [name for name in LIVES if name != "read"]
    for _ in range(100):
        kept.purge(Retention(), clock.now)
        clock.now += 7 * DAY
    assert [name for name, record in records.items() if kept.get(record.exec_id)] == []


async def test_a_key_outlives_a_server_whose_clock_jumps(
    scripted: ScriptedApi, tmp_path: Path
) -> None:
    clock = Clock(time.time())
    journal = SqliteStore(tmp_path / "jumps", clock)
    scripted.script = flow()
    async with tools(scripted, journal, clock=clock, retention=Retention()) as client:
        first = facts(await client.exec(idempotency_key="deploy-1"))
        for jump in (400 * DAY, 2 * HOUR, -400 * DAY):
            clock.now += jump
            await client.service._runner.recovery.purge()  # pyright: ignore[reportPrivateUsage]
            again = facts(await client.exec(idempotency_key="deploy-1"))
            assert again["exec_id"] == first["exec_id"]
    assert starts(scripted) == 1
    journal.close()


def test_the_oldest_output_makes_room_for_the_newest(kept: SqliteStore, clock: Clock) -> None:
    records: list[Execution] = []
    for number in range(5):
        clock.now += 1
        records.append(result(kept, f"{number}" * 600_000))
    assert kept.purge(Retention(mebibytes=2), clock.now) == 2
    left = [output(kept, record) for record in records]
    assert [bool(found and found[0]) for found in left] == [False, False, True, True, True]
    assert kept.purge(Retention(mebibytes=0.1), clock.now) == 3


def test_output_as_it_came_counts_too(kept: SqliteStore, clock: Clock) -> None:
    done = kept.complete(
        begin(kept), exit_code=0, signal=None, stdout=Stream("x" * 600_000), stderr=Stream("")
    )
    shown = Output(Stream("short", changes={"escapes": 1}), Stream("", changes={}))
    kept.replace_output(done, shown, keep_raw=True)
    assert kept.purge(Retention(mebibytes=0.5), clock.now) == 1
    assert output(kept, done) == ("", clock.now)


def test_what_is_not_over_is_kept_whatever_its_age(kept: SqliteStore, clock: Clock) -> None:
    intended = kept.record_intent(VPS, "uptime", "p@0").execution
    running = begin(kept)
    clock.now += 1000 * DAY
    assert kept.purge(Retention(days=1, mebibytes=1), clock.now) == 0
    assert kept.get(intended.exec_id) == intended
    assert kept.get(running.exec_id) == running


def test_the_file_gives_its_room_back_and_nothing_dropped_stays_in_it(
    kept: SqliteStore, clock: Clock
) -> None:
    result(kept, "DROPPED" * 500_000)
    before = len(on_disk(kept))
    clock.now += 3 * DAY
    assert keep_to(kept, clock, Retention(days=1)) == 0, "nobody has read it"
    clock.now += DAY
    assert kept.purge(Retention(days=1), clock.now) == 1
    assert len(on_disk(kept)) < before / 10
    assert b"DROPPED" not in on_disk(kept)


async def test_a_server_keeps_to_the_limits_and_says_what_it_dropped(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    scripted.script = flow()
    async with tools(scripted, journal) as client:
        ran = facts(await client.exec())
    later = time.time() + 40 * DAY
    journal.purge(Retention(days=30), later - 2 * HOUR)
    async with (
        running(scripted, journal, lambda: later, retention=Retention(days=30)) as runner,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(runner.recover)
        while output(journal, await found(journal, ran)) == ("out", None):  # noqa: ASYNC110
            await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    async with tools(scripted, journal) as client:
        again = await client.call("vps_exec_result", exec_id=ran["exec_id"])
    told = facts(again)
    assert (told["exit_code"], told["stdout"], told["stdout_bytes"]) == (0, "", 0)
    (note,) = told["notes"]
    assert note.startswith("the output was deleted at ")
    assert note.endswith(" UTC to keep the journal small")
    assert note in text(again)


async def found(journal: SqliteStore, told: dict[str, str]) -> Execution:
    record = journal.get(told["exec_id"])
    assert record
    return record


# ------------------------------------------------------------------ secrets


@pytest.mark.parametrize("keep_raw", [False, True])
async def test_a_secret_in_an_output_stays_on_disk_only_where_a_setting_says_so(
    scripted: ScriptedApi, journal: SqliteStore, keep_raw: bool
) -> None:
    scripted.script = flow(
        lambda: json_answer({"exited": True, "exitCode": 0, "stdout": SECRET, "stderr": SECRET})
    )
    async with tools(scripted, journal, secret=KEY, keep_raw=keep_raw) as client:
        ran = await client.exec()
    told = facts(ran)
    for shown in (told["stdout"], told["stderr"], text(ran)):
        assert PASSWORD not in shown
        assert KEY not in shown
        assert "plain" in shown
    assert sum("1 x redacted: " in note for note in told["notes"]) == 2
    kept = on_disk(journal)
    assert b"password=[redacted: " in kept
    assert (PASSWORD.encode() in kept) is keep_raw
    # HostUp's own key never comes further than the reply that it stood in.
    assert KEY.encode() not in kept


async def test_a_result_that_its_server_did_not_live_to_prepare_is_prepared_by_the_next(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    done = journal.complete(
        begin(journal), exit_code=0, signal=None, stdout=Stream(SECRET), stderr=Stream("")
    )
    assert PASSWORD.encode() in on_disk(journal)
    async with tools(scripted, journal, secret=KEY) as client:
        told = facts(await client.call("vps_exec_result", exec_id=done.exec_id))
    assert PASSWORD not in str(told)
    assert KEY not in str(told)
    journal.database.give_back()
    assert PASSWORD.encode() not in on_disk(journal)
    assert KEY.encode() not in on_disk(journal)


async def test_a_secret_goes_once_a_reader_is_out_of_the_way_and_nobody_waits_for_that(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    done = journal.complete(
        begin(journal), exit_code=0, signal=None, stdout=Stream(SECRET), stderr=Stream("")
    )
    with closing(sqlite3.connect(journal.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM executions").fetchall()
        async with running(scripted, journal, secret=KEY) as runner:
            began = time.monotonic()
            await runner.shown(done)
            assert time.monotonic() - began < 1
            assert PASSWORD.encode() in on_disk(journal)
            assert not journal.database.checkpoint_if_owed()
            reader.execute("COMMIT")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(runner.recover)
                await wait_until(lambda: PASSWORD.encode() not in on_disk(journal))
                tasks.cancel_scope.cancel()
        assert journal.database.checkpoint_if_owed()
    assert KEY.encode() not in on_disk(journal)


def test_what_a_process_could_not_settle_is_settled_by_the_next(tmp_path: Path) -> None:
    one, other = SqliteStore(tmp_path / "journal"), SqliteStore(tmp_path / "journal")
    result(one, SECRET)
    one.close()
    assert PASSWORD.encode() in (tmp_path / "journal-wal").read_bytes()
    assert other.database.checkpoint_if_owed()
    assert (tmp_path / "journal-wal").read_bytes() == b""
    other.close()


@pytest.mark.parametrize("owner", [None, "4194304:1"])
async def test_it_is_prepared_by_the_next_without_being_asked_for(
    scripted: ScriptedApi, journal: SqliteStore, owner: str | None
) -> None:
    with processes(owner) if owner else nullcontext():
        done = journal.complete(
            begin(journal), exit_code=0, signal=None, stdout=Stream(SECRET), stderr=Stream("")
        )
    assert PASSWORD.encode() in on_disk(journal)
    async with (
        running(scripted, journal, secret=KEY) as runner,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(runner.recover)
        await wait_until(lambda: PASSWORD.encode() not in on_disk(journal))
        tasks.cancel_scope.cancel()
    assert KEY.encode() not in on_disk(journal)
    found = journal.get(done.exec_id)
    assert found
    assert isinstance(found.state, Completed)
    assert found.state.is_prepared
    assert scripted.received == []


async def test_a_result_that_another_process_prepares_is_left_to_it(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    with another_process() as process:
        with processes(f"{process.pid}:"):
            done = journal.complete(
                begin(journal), exit_code=0, signal=None, stdout=Stream(SECRET), stderr=Stream("")
            )
        async with running(scripted, journal) as runner:
            await runner.recovery.look()
        assert journal.get(done.exec_id) == done


async def test_a_running_command_is_no_result_yet(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    scripted.script = flow(lambda: json_answer({"exited": False, "stdout": PASSWORD}))
    async with running(scripted, journal) as runner:
        job, _ = await runner.start(order())
        await job.wait(0, ask_now=True)
        assert isinstance(job.execution.state, Running)
    assert PASSWORD.encode() not in on_disk(journal), "output before the end is no output"
