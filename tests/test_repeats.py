"""One order, one run: keys, repeats, and what a caller is told whose order was not run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import mcp_types as types
import pytest

from hostup_mcp.execution.journal.errors import KeyConflict
from hostup_mcp.execution.journal.limits import DuplicateWindow
from hostup_mcp.execution.journal.owner import current_owner
from hostup_mcp.execution.journal.records import Execution, Stream
from hostup_mcp.execution.journal.sqlite.store import SqliteStore
from tests.runner_harness import (
    ACTING,
    DONE,
    GOES_ON,
    VPS,
    Tools,
    acting,
    flow,
    polls,
    processes,
    starts,
    tools,
)
from tests.scripted_api import Answer, ScriptedApi, json_answer
from tests.stdio_client import connect, environment, facts, text

POLICY = "diagnostics@0"


def ordered(journal: SqliteStore, command: str = "uptime", **more: object) -> tuple[str, Execution]:
    intent = journal.record_intent(VPS, command, POLICY, **more)  # type: ignore[arg-type]
    return intent.claim, intent.execution


def run(journal: SqliteStore, record: Execution, pid: int = 7) -> Execution:
    return journal.mark_running(journal.mark_sent(record), pid)


def complete(journal: SqliteStore, record: Execution) -> Execution:
    out = Stream("out")
    return journal.complete(record, exit_code=0, signal=None, stdout=out, stderr=Stream(""))


def end(journal: SqliteStore, record: Execution, kind: str) -> Execution:
    return journal.end(record, kind, code="c", message="m", advice="a")  # type: ignore[arg-type]


# ------------------------------------------------------------------ keys, on disk


def test_a_key_gives_its_execution_also_to_other_processes_and_later(tmp_path: Path) -> None:
    journal, other = SqliteStore(tmp_path / "journal"), SqliteStore(tmp_path / "journal")
    claim, first = ordered(journal, key="k")
    assert claim == "new"
    assert ordered(other, key="k") == ("same_key", first)
    done = complete(journal, run(journal, first))
    journal.mark_read(done)
    journal.close()
    other.close()
    later = SqliteStore(tmp_path / "journal", lambda: time.time() + 86_400)
    claim, found = ordered(later, key="k", duplicates=DuplicateWindow(900))
    assert (claim, found.exec_id, found.state) == ("same_key", first.exec_id, done.state)
    later.close()


def test_a_key_is_one_commands_on_one_vps(journal: SqliteStore) -> None:
    _, first = ordered(journal, key="k")
    with pytest.raises(KeyConflict) as conflict:
        ordered(journal, "df -h", key="k")
    assert conflict.value.execution == first
    assert journal.record_intent("vps_2", "df -h", POLICY, key="k").claim == "new"
    assert ordered(journal, key="other")[0] == "new"
    assert ordered(journal)[0] == "new"


@pytest.mark.parametrize("kind", ["unknown", "lost"])
def test_an_execution_that_may_have_run_keeps_its_key(journal: SqliteStore, kind: str) -> None:
    _, first = ordered(journal, key="k")
    sent = journal.mark_sent(first)
    end(journal, sent if kind == "unknown" else journal.mark_running(sent, 7), kind)
    claim, found = ordered(journal, key="k")
    assert (claim, found.exec_id) == ("same_key", first.exec_id)


def test_an_execution_that_certainly_did_not_run_gives_its_key_back(journal: SqliteStore) -> None:
    _, first = ordered(journal, key="k")
    end(journal, first, "not_started")
    with pytest.raises(KeyConflict):
        ordered(journal, "df -h", key="k")
    claim, second = ordered(journal, key="k")
    assert claim == "new"
    assert second.exec_id != first.exec_id
    assert ordered(journal, key="k") == ("same_key", second)


# ------------------------------------------------------------------ repeats, on disk


def test_one_that_still_runs_counts_though_a_newer_one_was_read(journal: SqliteStore) -> None:
    _, older = ordered(journal, key="a")
    run(journal, older, pid=7)
    _, newer = ordered(journal, key="b")
    journal.mark_read(complete(journal, run(journal, newer, pid=8)))
    claim, found = ordered(journal, duplicates=DuplicateWindow(900))
    assert (claim, found.exec_id) == ("repeat", older.exec_id)


def test_an_order_in_full_knowledge_ends_the_doubt_of_an_earlier_one(journal: SqliteStore) -> None:
    _, doubtful = ordered(journal)
    end(journal, journal.mark_sent(doubtful), "unknown")
    assert ordered(journal, duplicates=DuplicateWindow(900))[0] == "unclear"
    _, newer = ordered(journal, key="b")
    journal.mark_read(complete(journal, run(journal, newer)))
    assert ordered(journal, duplicates=DuplicateWindow(900))[0] == "new"


def test_one_that_ran_long_ago_is_no_repeat_unless_it_is_asked_for(tmp_path: Path) -> None:
    now = 1000.0
    journal = SqliteStore(tmp_path / "journal", lambda: now)
    duplicates = DuplicateWindow(900, reap_seconds=7200)
    old = run(journal, ordered(journal)[1])
    now += 7199
    assert ordered(journal, duplicates=duplicates) == ("repeat", old)
    now += 2
    assert journal.lease(old, 60)
    assert ordered(journal, duplicates=duplicates)[0] == "repeat", "somebody asks for its result"
    now += 61
    given_up = journal.give_up(old)
    claim, new = ordered(journal, duplicates=duplicates)
    assert claim == "new", "given up just now, and not seen by anybody, it is no repeat"
    new = run(journal, new, pid=8)
    assert ordered(journal, duplicates=duplicates)[1].exec_id == new.exec_id != given_up.exec_id
    journal.mark_read(complete(journal, new))
    assert ordered(journal, duplicates=duplicates)[0] == "new"
    journal.close()


def test_one_that_was_given_up_and_ended_after_all_counts_until_it_is_told(tmp_path: Path) -> None:
    now = 1000.0
    journal = SqliteStore(tmp_path / "journal", lambda: now)
    old = run(journal, ordered(journal)[1])
    now += 86_401
    complete(journal, journal.give_up(old))
    claim, found = ordered(journal, duplicates=DuplicateWindow())
    assert (claim, found.exec_id) == ("repeat", old.exec_id)
    journal.mark_read(old)
    assert ordered(journal, duplicates=DuplicateWindow())[0] == "new"
    journal.close()


async def test_todays_order_is_not_answered_by_a_run_of_months_ago(
    scripted: ScriptedApi, tmp_path: Path
) -> None:
    journal = SqliteStore(tmp_path / "journal", lambda: time.time() - 90 * 86_400)
    old = run(journal, ordered(journal)[1])
    journal.close()
    journal = SqliteStore(tmp_path / "journal")
    scripted.script = flow()
    async with tools(scripted, journal) as client:
        ran = facts(await client.exec())
    assert ran["exec_id"] != old.exec_id
    assert starts(scripted) == 1
    journal.close()


@pytest.mark.parametrize("duplicates", [None, DuplicateWindow(0), DuplicateWindow(900)])
def test_an_unknown_outcome_is_in_the_way_however_old_it_is(
    tmp_path: Path, duplicates: DuplicateWindow | None
) -> None:
    now = 1000.0
    journal = SqliteStore(tmp_path / "journal", lambda: now)
    _, before = ordered(journal, key="before")
    _, doubtful = ordered(journal)
    journal.mark_read(complete(journal, run(journal, before)))
    now = 1010.0
    journal.mark_read(end(journal, journal.mark_sent(doubtful), "unknown"))
    assert ordered(journal, "df -h", duplicates=duplicates)[0] == "new"
    assert journal.record_intent("vps_2", "uptime", POLICY, duplicates=duplicates).claim == "new"
    assert journal.record_intent(VPS, "uptime", POLICY, principal="other").claim == "new"
    for age in (1, 3600, 200 * 86_400):
        now = 1010.0 + age
        claim, found = ordered(journal, duplicates=duplicates)
        assert (claim, found.exec_id) == ("unclear", doubtful.exec_id)
    _, unsent = ordered(journal, key="sure")
    end(journal, unsent, "not_started")
    assert ordered(journal, duplicates=duplicates)[0] == "unclear", "what did not run ends no doubt"
    _, sure = ordered(journal, key="sure")
    journal.mark_read(complete(journal, run(journal, sure)))
    assert ordered(journal, duplicates=duplicates)[0] == "new"
    journal.close()


Life = Callable[[SqliteStore, Execution], Execution]
LIVES: dict[str, tuple[Life, str]] = {
    "intended": (lambda _, record: record, "repeat"),
    "sent": (lambda journal, record: journal.mark_sent(record), "repeat"),
    "running": (run, "repeat"),
    "unread": (lambda journal, record: complete(journal, run(journal, record)), "repeat"),
    "lost": (lambda journal, record: end(journal, run(journal, record), "lost"), "repeat"),
    "not_started": (lambda journal, record: end(journal, record, "not_started"), "new"),
    "unknown": (lambda j, record: end(j, j.mark_sent(record), "unknown"), "unclear"),
}


@pytest.mark.parametrize("name", LIVES)
def test_a_repeat_stands_for_an_earlier_order_that_nobody_was_told_of(
    tmp_path: Path, name: str
) -> None:
    now = 1000.0
    journal = SqliteStore(tmp_path / "journal", lambda: now)
    live, expected = LIVES[name]
    _, first = ordered(journal)
    earlier = live(journal, first)

    def claim(command: str = "uptime", **more: object) -> str:
        found, record = ordered(journal, command, **more)
        if found == "new":
            end(journal, record, "not_started")  # so that it is no repeat for the next
        else:
            assert record.exec_id == first.exec_id
        return found

    assert claim(duplicates=DuplicateWindow(60)) == expected
    assert claim("df -h", duplicates=DuplicateWindow(60)) == "new"
    assert (
        journal.record_intent("vps_2", "uptime", POLICY, duplicates=DuplicateWindow(60)).claim
        == "new"
    )
    off = "unclear" if name == "unknown" else "new"
    assert claim(duplicates=DuplicateWindow(0)) == claim(duplicates=None) == off, (
        "the setting is off"
    )
    assert claim(key=f"own-{name}", duplicates=DuplicateWindow(60)) == "new", (
        "a key says what is meant"
    )
    now = 1059.0
    assert claim(duplicates=DuplicateWindow(60)) == expected
    now = 1061.0
    is_over = name not in ("intended", "sent", "running", "unknown")
    assert claim(duplicates=DuplicateWindow(60)) == ("new" if is_over else expected)
    now = 1030.0
    journal.mark_read(earlier)
    is_told = name in ("unread", "lost")
    assert claim(duplicates=DuplicateWindow(60)) == ("new" if is_told else expected)
    journal.close()


# ------------------------------------------------------------------ what a caller is told


def handle(result: types.CallToolResult) -> str:
    (line,) = [line for line in text(result).splitlines() if line.startswith("exec_id: ")]
    return line.removeprefix("exec_id: ")


async def test_a_repeat_while_the_first_runs_gives_its_handle(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    now = GOES_ON
    scripted.script = flow(lambda: now)
    async with tools(scripted, journal) as client:
        first = facts(await client.exec(wait_seconds=0))
        again = await client.exec(" uptime ", wait_seconds=0)
        assert facts(again)["exec_id"] == first["exec_id"]
        (note,) = facts(again)["notes"]
        assert note.startswith("not run again: the same command was started at ")
        assert "give a new idempotency_key" in note
        assert note in text(again)
        other = facts(await client.exec(wait_seconds=0, idempotency_key="anew"))
        assert other["exec_id"] != first["exec_id"]
        assert starts(scripted) == 2
        now = DONE
        third = facts(await client.exec())
        assert third["notes"][0].startswith("not run again: ")
    assert third["stdout"] == "out"


async def test_a_result_that_its_caller_did_not_wait_for_answers_the_repeat(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    asked = anyio.Event()
    now = GOES_ON
    scripted.script = flow(lambda: now)
    async with tools(scripted, journal) as client:

        async def give_up() -> None:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(leave, scope)
                    await client.exec()

        async def leave(scope: anyio.CancelScope) -> None:
            while not starts(scripted):  # noqa: ASYNC110 - the server is in a thread
                await anyio.sleep(0.01)
            scope.cancel()
            asked.set()

        await give_up()
        assert asked.is_set()
        now = DONE
        repeat = facts(await client.exec())
        assert repeat["stdout"] == "out"
        assert repeat["notes"][0].startswith("not run again: ")
        assert starts(scripted) == 1
        # That answer went out, so that the next order is a new one.
        anew = facts(await client.exec())
        assert (anew["notes"], starts(scripted)) == ([], 2)
        assert anew["exec_id"] != repeat["exec_id"]


async def test_with_the_setting_off_every_order_is_run(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    scripted.script = flow(lambda: GOES_ON)
    async with tools(scripted, journal, duplicates=DuplicateWindow(0)) as client:
        one = facts(await client.exec(wait_seconds=0))
        other = facts(await client.exec(wait_seconds=0))
    assert one["exec_id"] != other["exec_id"]
    assert starts(scripted) == 2


@pytest.mark.parametrize("duplicates", [DuplicateWindow(), DuplicateWindow(0)])
async def test_a_command_that_may_have_run_is_not_sent_again_without_a_word(
    scripted: ScriptedApi, journal: SqliteStore, duplicates: DuplicateWindow
) -> None:
    scripted.script = flow(start=Answer(hang_up=True))
    async with tools(scripted, journal, duplicates=duplicates) as client:
        first = await client.exec()
        assert text(first).startswith("hostup_connection_lost: It is not known whether the command")
        scripted.script = flow()
        for _ in range(2):
            again = await client.exec()
            assert again.is_error
            assert text(again).startswith("earlier_outcome_unknown: The same command was sent to ")
            assert "so it was not sent again. Check whether it ran" in text(again)
            assert "status: unknown" in text(again)
            assert handle(again) == handle(first)
        assert starts(scripted) == 1
        assert facts(await client.exec(idempotency_key="sure"))["exit_code"] == 0
        assert starts(scripted) == 2
        other = await client.exec("df -h")
        assert facts(other)["exit_code"] == 0, "another command is no repeat"


async def test_a_key_answers_with_its_execution_or_says_whose_it_is(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    scripted.script = flow()
    async with tools(scripted, journal) as client:
        first = facts(await client.exec(idempotency_key="k"))
        again = await client.exec(idempotency_key="k")
        assert facts(again)["exec_id"] == first["exec_id"]
        assert "not run again: this idempotency_key was used at" in text(again)
        conflict = await client.exec("df -h", idempotency_key="k")
        assert conflict.is_error
        assert text(conflict).startswith(
            "idempotency_key_taken: This idempotency_key was used for another command on this VPS, "
            "so nothing was sent."
        )
        assert f"exec_id: {first['exec_id']}\ncommand: uptime" in text(conflict)
    assert starts(scripted) == 1


async def test_a_key_whose_command_did_not_run_is_tried_again(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    off = json_answer({"available": False, "reason": "VM is not running"})
    scripted.script = lambda _: off
    async with tools(scripted, journal) as client:
        failed = await client.exec(idempotency_key="k")
        assert "The command was not run." in text(failed)
        await anyio.sleep(1.1)  # a no is remembered for a second
        scripted.script = flow()
        ran = facts(await client.exec(idempotency_key="k"))
    assert (ran["exit_code"], ran["notes"], starts(scripted)) == (0, [], 1)


async def test_an_order_that_its_process_left_unsent_makes_room(
    scripted: ScriptedApi, journal: SqliteStore
) -> None:
    with processes("4194304:1"):
        _, left = ordered(journal, key="k")
    scripted.script = flow()
    async with tools(scripted, journal) as client:
        ran = facts(await client.exec(idempotency_key="k"))
    assert ran["exec_id"] != left.exec_id
    assert ran["exit_code"] == 0


async def test_orders_with_one_key_at_once_run_once(scripted: ScriptedApi, tmp_path: Path) -> None:
    scripted.script = flow(probe_delay=0.1)
    one, other = (SqliteStore(tmp_path / "journal", me=acting) for _ in range(2))
    handles: list[str] = []

    async def order(client: Tools, owner: str) -> None:
        ACTING.set(owner)
        handles.append(facts(await client.exec(idempotency_key="k"))["exec_id"])

    me, parent = current_owner(), f"{os.getppid()}:"
    with processes(me, parent):
        async with (
            tools(scripted, one) as first,
            tools(scripted, other) as second,
            anyio.create_task_group() as tasks,
        ):
            for client, owner in 2 * ((first, me), (second, parent)):
                tasks.start_soon(order, client, owner)
    assert len(handles) == 4
    assert len(set(handles)) == 1
    assert starts(scripted) == 1
    assert polls(scripted) == 1, "nobody but who started it asks for it"
    one.close()
    other.close()


async def test_a_key_holds_over_a_restart_of_the_server(
    scripted: ScriptedApi, tmp_path: Path
) -> None:
    scripted.script = flow()
    env = environment(scripted.url, "some_key_123", tmp_path)
    order = {"vps_id": VPS, "command": "uptime", "idempotency_key": "k"}
    async with connect(env) as client:
        first = facts(await client.call_tool("vps_exec", order))
    async with connect(env) as client:
        again = facts(await client.call_tool("vps_exec", order))
    (note,) = again.pop("notes")
    assert note.startswith("not run again: this idempotency_key was used at")
    assert again == {name: value for name, value in first.items() if name != "notes"}
    assert starts(scripted) == 1
