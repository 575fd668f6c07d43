"""The journal: every execution and its result, in SQLite, before anyone is told.

Intent is on disk before the request that starts a command, the pid after it, and a result before
it is shown. Other processes of the same user may have the same journal open.
"""

from __future__ import annotations

import base64
import errno
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final, cast

from hostup_mcp.execution.owner import current_owner
from hostup_mcp.execution.records import (
    Completed,
    Ended,
    EndKind,
    Execution,
    Intended,
    Running,
    Sent,
)

_VERSION: Final = 2
_BUSY_SECONDS: Final = 2.0
_COLUMNS: Final = (
    "exec_id, vps_id, command, policy, created_at, owner, state, sent_at, finished_at, pid,"
    " exit_code, signal, stdout, stderr, stdout_truncated, stderr_truncated, error_code,"
    " error_message, error_advice"
)
# Output is stored as bytes: SQLite text cannot hold a lone surrogate, and a result must not be
# lost for one.
_SCHEMA: Final = """
CREATE TABLE executions (
    exec_id TEXT PRIMARY KEY,
    vps_id TEXT NOT NULL,
    command TEXT NOT NULL,
    policy TEXT NOT NULL,
    created_at REAL NOT NULL,
    owner TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN
        ('intended', 'sent', 'running', 'completed', 'not_started', 'unknown', 'lost')),
    sent_at REAL,
    finished_at REAL,
    pid INTEGER,
    exit_code INTEGER,
    signal INTEGER,
    stdout BLOB,
    stderr BLOB,
    stdout_truncated INTEGER,
    stderr_truncated INTEGER,
    error_code TEXT,
    error_message TEXT,
    error_advice TEXT
) STRICT;
CREATE INDEX executions_by_pid ON executions (vps_id, pid);
"""


_FROM_1_TO_2: Final = "ALTER TABLE executions ADD COLUMN policy TEXT NOT NULL DEFAULT ''"


class JournalError(Exception):
    """The journal cannot be read or written.

    Attributes:
        code: `journal_failed`.
        message: one sentence on what happened.
        advice: one sentence on what to do next.
    """

    code = "journal_failed"

    def __init__(self, path: Path, reason: str) -> None:
        self.message = f"The journal {path} cannot be used ({reason})."
        self.advice = "The operator should check that folder, its rights and the free disk space."
        super().__init__(f"{self.message} {self.advice}")


class JournalBusy(JournalError):
    """The disk has more to do than it can in the time that a caller has."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "too much is waiting to be written")


class Journal:
    """One SQLite file. Methods block on the disk, and may be called from any thread.

    Every method raises `JournalError`, and leaves the record as it was, when the disk refuses.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Open the journal, and make it if there is none.

        Args:
            path: the file; its folder is made with mode 0700 if need be.
            clock: seconds since the epoch.
        """
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._inode = path.stat().st_ino
            self._db = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise JournalError(path, str(error)) from None

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("BEGIN IMMEDIATE")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {_VERSION}")
        elif version == 1:
            self._db.execute(_FROM_1_TO_2)
            self._db.execute(f"PRAGMA user_version = {_VERSION}")
        self._db.execute("COMMIT")
        if version > _VERSION:
            raise sqlite3.DatabaseError(f"it was written by a newer version (format {version})")

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def intend(self, vps_id: str, command: str, policy: str) -> Execution:
        """Record that a command is about to be run, under a new handle."""
        execution = Execution(
            _new_id(), vps_id, command, policy, self._clock(), current_owner(), Intended()
        )
        self._insert(execution, "intended", None, None)
        return execution

    def foreign(self, vps_id: str, pid: int) -> Execution:
        """A command that somebody else started, not recorded yet; see `adopt`."""
        now = self._clock()
        return Execution(_new_id(), vps_id, "", "", now, current_owner(), Running(now, pid))

    def adopt(self, execution: Execution) -> Execution:
        """Record a foreign command, once HostUp is seen to know it."""
        self._insert(execution, "running", execution.created_at, execution.pid)
        return execution

    def mark_sent(self, execution: Execution) -> Execution:
        """Record that the request to start it goes out now."""
        return self._update(execution, state="sent", sent_at=self._clock())

    def mark_running(self, execution: Execution, pid: int) -> Execution:
        """Record the process id that HostUp returned."""
        return self._update(execution, state="running", pid=pid)

    def complete(
        self,
        execution: Execution,
        *,
        exit_code: int | None,
        signal: int | None,
        stdout: str,
        stderr: str,
        stdout_truncated: bool = False,
        stderr_truncated: bool = False,
    ) -> Execution:
        """Record the result. It is on disk when this returns."""
        return self._update(
            execution,
            state="completed",
            finished_at=self._clock(),
            exit_code=exit_code,
            signal=signal,
            stdout=stdout.encode("utf-8", "surrogatepass"),
            stderr=stderr.encode("utf-8", "surrogatepass"),
            stdout_truncated=stdout_truncated,
            stderr_truncated=stderr_truncated,
        )

    def end(
        self,
        execution: Execution,
        kind: EndKind,
        *,
        code: str,
        message: str,
        advice: str,
    ) -> Execution:
        """Record that it is over without a result, and why."""
        return self._update(
            execution,
            state=kind,
            finished_at=self._clock(),
            error_code=code,
            error_message=message,
            error_advice=advice,
        )

    def get(self, exec_id: str) -> Execution | None:
        """The execution with this handle."""
        return self._select("exec_id = ?", exec_id)

    def find(self, vps_id: str, pid: int) -> Execution | None:
        """The newest execution with this process id on this VPS: pids repeat after a reboot."""
        return self._select("vps_id = ? AND pid = ? ORDER BY created_at DESC", vps_id, pid)

    def _insert(
        self, execution: Execution, state: str, sent_at: float | None, pid: int | None
    ) -> None:
        self._execute(
            "INSERT INTO executions"
            " (exec_id, vps_id, command, policy, created_at, owner, state, sent_at, pid)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            execution.exec_id,
            execution.vps_id,
            execution.command,
            execution.policy,
            execution.created_at,
            execution.owner,
            state,
            sent_at,
            pid,
        )

    def _update(self, execution: Execution, **columns: str | float | bytes | None) -> Execution:
        names = ", ".join(f"{name} = ?" for name in columns)
        # Another process may have the result already: nothing ever overwrites one.
        self._execute(
            f"UPDATE executions SET {names} WHERE exec_id = ? AND state != 'completed'",  # noqa: S608
            *columns.values(),
            execution.exec_id,
        )
        updated = self.get(execution.exec_id)
        if updated is None:
            raise JournalError(self._path, "a record is gone")
        return updated

    def _execute(self, statement: str, *values: str | float | bytes | None) -> None:
        try:
            if self._path.stat().st_ino != self._inode:
                raise FileNotFoundError(errno.ENOENT, "another file is in its place")
            with self._lock:
                self._db.execute(statement, values).close()
        except OSError as error:
            # What goes to a file that was deleted is not on disk.
            raise JournalError(self._path, f"{error.strerror}; restart the server") from None
        except sqlite3.Error as error:
            raise JournalError(self._path, str(error)) from None

    def _select(self, condition: str, *values: str | int) -> Execution | None:
        statement = f"SELECT {_COLUMNS} FROM executions WHERE {condition} LIMIT 1"  # noqa: S608
        try:
            with self._lock, closing(self._db.execute(statement, values)) as cursor:
                row = cast("_Row | None", cursor.fetchone())
        except sqlite3.Error as error:
            raise JournalError(self._path, str(error)) from None
        return None if row is None else _execution(row)


_Row = tuple[
    str, str, str, str, float, str, str, float | None, float | None, int | None, int | None,
    int | None, bytes | None, bytes | None, int | None, int | None, str | None, str | None,
    str | None,
]  # fmt: skip


def _execution(row: _Row) -> Execution:
    exec_id, vps_id, command, policy, created_at, owner, name, sent_at, finished_at, pid = row[:10]
    exit_code, signal, stdout, stderr, cut_stdout, cut_stderr, code, message, advice = row[10:]
    state: Intended | Sent | Running | Completed | Ended
    match name:
        case "intended":
            state = Intended()
        case "sent":
            state = Sent(sent_at or created_at)
        case "running":
            state = Running(sent_at or created_at, pid or 0)
        case "completed":
            state = Completed(
                sent_at=sent_at or created_at,
                finished_at=finished_at or created_at,
                pid=pid or 0,
                exit_code=exit_code,
                signal=signal,
                stdout=(stdout or b"").decode("utf-8", "surrogatepass"),
                stderr=(stderr or b"").decode("utf-8", "surrogatepass"),
                stdout_truncated=bool(cut_stdout),
                stderr_truncated=bool(cut_stderr),
            )
        case _:
            kind = cast("EndKind", name)
            state = Ended(
                kind, finished_at or created_at, pid, code or "", message or "", advice or ""
            )
    return Execution(exec_id, vps_id, command, policy, created_at, owner, state)


def _new_id() -> str:
    """`exec_` and 128 random bits in 26 lower-case letters and digits."""
    return "exec_" + base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()
