"""The journal: what is on disk, and that nothing is told before it is there."""

from __future__ import annotations

import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostup_mcp.execution.journal.errors import JournalError
from hostup_mcp.execution.journal.limits import DuplicateWindow
from hostup_mcp.execution.journal.records import (
    Completed,
    Ended,
    Intended,
    Output,
    Running,
    Sent,
    Stream,
)
from hostup_mcp.execution.journal.sqlite.schema import MIGRATIONS
from hostup_mcp.execution.journal.sqlite.store import SqliteStore

VPS = "vps_1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite3"


def test_a_whole_life_is_read_again_after_each_step(path: Path) -> None:
    now = 1000.0
    journal = SqliteStore(path, lambda: now)

    def reread() -> object:
        other = SqliteStore(path)
        found = other.get(execution.exec_id)
        other.close()
        return found

    execution = journal.record_intent(VPS, "uptime", "diagnostics@0").execution
    assert execution.state == Intended()
    assert reread() == execution
    now = 1001.0
    execution = journal.mark_sent(execution)
    assert execution.state == Sent(1001.0)
    assert reread() == execution
    execution = journal.mark_running(execution, 42)
    assert execution.state == Running(1001.0, 42)
    assert reread() == execution
    now = 1005.0
    execution = journal.complete(
        execution, exit_code=3, signal=None, stdout=Stream("o"), stderr=Stream("e")
    )
    assert execution.state == Completed(1001.0, 1005.0, 42, 3, None, 2, is_prepared=False)
    assert journal.output(execution) == Output(Stream("o"), Stream("e"))
    assert reread() == execution
    assert journal.find(VPS, 42) == execution
    journal.close()


@given(st.text(st.characters(exclude_categories=())), st.integers(-(2**63), 2**63 - 1))
def test_any_output_survives(
    tmp_path_factory: pytest.TempPathFactory, text: str, code: int
) -> None:
    journal = SqliteStore(tmp_path_factory.mktemp("journal") / "j")
    execution = journal.mark_running(
        journal.mark_sent(journal.record_intent(VPS, "x", "diagnostics@0").execution), 1
    )
    journal.complete(
        execution, exit_code=code, signal=None, stdout=Stream(text), stderr=Stream(text)
    )
    found = journal.get(execution.exec_id)
    assert found
    assert isinstance(found.state, Completed)
    assert journal.output(found) == Output(Stream(text), Stream(text))
    assert found.state.exit_code == code
    journal.close()


def test_nothing_overwrites_a_result(path: Path) -> None:
    journal = SqliteStore(path)
    execution = journal.mark_running(
        journal.mark_sent(journal.record_intent(VPS, "x", "diagnostics@0").execution), 1
    )
    done = journal.complete(
        execution, exit_code=0, signal=None, stdout=Stream("first"), stderr=Stream("")
    )
    for late in (
        journal.complete(
            execution, exit_code=1, signal=None, stdout=Stream("second"), stderr=Stream("")
        ),
        journal.end(execution, "lost", code="c", message="m", advice="a"),
        journal.mark_running(execution, 2),
    ):
        assert late == done
    journal.close()


def test_an_end_without_a_result_keeps_its_reason(path: Path) -> None:
    journal = SqliteStore(path, lambda: 5.0)
    execution = journal.mark_running(
        journal.mark_sent(journal.record_intent(VPS, "x", "diagnostics@0").execution), 7
    )
    ended = journal.end(execution, "lost", code="c", message="m", advice="a")
    assert ended.state == Ended("lost", 5.0, 5.0, 7, "c", "m", "a")
    assert ended.pid == 7
    journal.close()


def test_the_newest_command_with_a_pid_is_found(path: Path) -> None:
    times = iter(range(1000, 2000))
    journal = SqliteStore(path, lambda: float(next(times)))
    old = journal.mark_running(
        journal.mark_sent(journal.record_intent(VPS, "old", "diagnostics@0").execution), 5
    )
    new = journal.mark_running(
        journal.mark_sent(journal.record_intent(VPS, "new", "diagnostics@0").execution), 5
    )
    found = journal.find(VPS, 5)
    assert found
    assert found.exec_id == new.exec_id != old.exec_id
    assert journal.find("vps_2", 5) is None
    journal.close()


def test_handles_are_unguessable_and_differ(path: Path) -> None:
    journal = SqliteStore(path)
    handles = {
        journal.record_intent(VPS, "x", "diagnostics@0").execution.exec_id for _ in range(50)
    }
    assert len(handles) == 50
    assert {len(handle) for handle in handles} == {len("exec_") + 26}
    journal.close()


def test_only_the_user_may_read_it(path: Path) -> None:
    SqliteStore(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_it_is_written_through_to_the_disk(path: Path) -> None:
    journal = SqliteStore(path)
    database = journal.database._connection  # pyright: ignore[reportPrivateUsage]
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.execute("PRAGMA synchronous").fetchone() == (2,)
    journal.close()


def test_a_new_journal_that_another_process_is_making_is_waited_for(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("PRAGMA auto_vacuum = INCREMENTAL")
        other.execute("VACUUM")  # as far as another process has come
        assert path.stat().st_size > 0
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.3, other.execute, ["ROLLBACK"])
        release.start()
        journal = SqliteStore(path)
        release.join()
    assert journal.record_intent(VPS, "uptime", "p@0").claim == "new"
    journal.close()


def test_a_journal_that_another_process_does_not_let_go_of_is_an_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hostup_mcp.execution.journal.sqlite.database._BUSY_SECONDS", 0.1)
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="locked"):
            SqliteStore(path)


def test_what_cannot_be_used_is_a_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x" * 5000)
    with pytest.raises(JournalError, match=r"journal .*file cannot be used"):
        SqliteStore(file)
    with pytest.raises(JournalError, match="cannot be used"):
        SqliteStore(file / "journal")
    newer = tmp_path / "newer"
    with sqlite3.connect(newer) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(JournalError, match="newer version"):
        SqliteStore(newer)


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_a_journal_of_an_earlier_version_is_read_and_goes_on(path: Path, version: int) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        # What those versions wrote; the first knew no policy.
        old.executescript(
            MIGRATIONS[0].replace("policy TEXT NOT NULL," if version == 1 else "\0", "")
        )
        for step in MIGRATIONS[2:version]:
            old.executescript(step)
        row = {
            "exec_id": "exec_old", "vps_id": VPS, "command": "uptime", "created_at": 1.0,
            "owner": "1:2", "state": "completed", "sent_at": 1.0, "finished_at": 2.0, "pid": 7,
            "exit_code": 0, "stdout": b"out", "stderr": b"", "policy": "p@0",
        }  # fmt: skip
        names = ", ".join(list(row)[: None if version > 1 else -1])
        marks = f":{names}".replace(", ", ", :")
        old.execute(f"INSERT INTO executions ({names}) VALUES ({marks})", row)  # noqa: S608
        old.execute(f"PRAGMA user_version = {version}")
    for _ in range(2):
        journal = SqliteStore(path)
        found = journal.get("exec_old")
        assert found
        assert found.state == Completed(1.0, 2.0, 7, 0, None, 3, is_prepared=False)
        assert journal.output(found) == Output(Stream("out"), Stream(""))
        assert (found.policy, found.read_at) == ("p@0" if version > 1 else "", None)
        again = journal.record_intent(
            VPS, "uptime", "p@0", duplicates=DuplicateWindow(60), key=None
        )
        assert again.claim in ("new", "repeat")
        journal.close()


def test_a_closed_journal_is_an_error_and_not_a_crash(path: Path) -> None:
    journal = SqliteStore(path)
    journal.close()
    with pytest.raises(JournalError):
        journal.record_intent(VPS, "x", "diagnostics@0")
