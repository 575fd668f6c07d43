"""The SQLite file behind the journal: how it is opened, its tables, and how it is written."""

from __future__ import annotations

import errno
import sqlite3
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, Literal

VERSION: Final = 6
"""The format of the tables, which the file holds as its `user_version`."""

_BUSY_SECONDS: Final = 2.0
_BUSY_AGAIN_SECONDS: Final = 0.01
_SETTLE_SECONDS: Final = 0.05

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
_STEPS: Final[tuple[str, ...]] = (
    _SCHEMA,
    "ALTER TABLE executions ADD COLUMN policy TEXT NOT NULL DEFAULT ''",
    """
    ALTER TABLE executions ADD COLUMN idempotency_key TEXT;
    ALTER TABLE executions ADD COLUMN lease_until REAL NOT NULL DEFAULT 0;
    ALTER TABLE executions ADD COLUMN read_at REAL;
    ALTER TABLE executions ADD COLUMN dropped_at REAL;
    ALTER TABLE executions ADD COLUMN changes TEXT;
    ALTER TABLE executions ADD COLUMN raw_stdout BLOB;
    ALTER TABLE executions ADD COLUMN raw_stderr BLOB;
    CREATE UNIQUE INDEX executions_by_key ON executions (vps_id, idempotency_key)
        WHERE idempotency_key IS NOT NULL;
    CREATE INDEX executions_by_command ON executions (vps_id, command, created_at);
    CREATE INDEX executions_by_state ON executions (state, created_at)
    """,
    """
    ALTER TABLE executions ADD COLUMN principal TEXT NOT NULL DEFAULT 'local';
    DROP INDEX executions_by_key;
    CREATE UNIQUE INDEX executions_by_key ON executions (principal, vps_id, idempotency_key)
        WHERE idempotency_key IS NOT NULL
    """,
    "ALTER TABLE executions ADD COLUMN received_at REAL",
    # What few rows have, and is asked for often, is not looked for behind every output.
    """
    ALTER TABLE executions ADD COLUMN found_old_at REAL;
    CREATE INDEX executions_found_old ON executions (found_old_at)
        WHERE found_old_at IS NOT NULL;
    CREATE INDEX executions_unprepared ON executions (created_at)
        WHERE state = 'completed' AND changes IS NULL AND dropped_at IS NULL
    """,
)

Value = str | float | bytes | None
Row = tuple[Value, ...]
Durability = Literal["FULL", "NORMAL"]
"""`FULL` is on the disk when it returns, also if the power fails then; `NORMAL` only if it does
not fail within moments, which is enough for what can be found out again."""


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


class RecordGone(JournalError):
    """The record of an execution is not in the journal any more, so nothing can be added to it.

    Attributes:
        code: `record_gone`.
    """

    code = "record_gone"

    def __init__(self, path: Path) -> None:
        super().__init__(path, "")
        self.message = f"The record of this execution is no longer in the journal {path}."
        self.advice = "Check in the VPS what the command did."
        self.args = (f"{self.message} {self.advice}",)


class Database:
    """One SQLite file in WAL mode. Every method raises `JournalError` when the disk refuses.

    Methods block on the disk, and may be called from any thread; they take turns.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, and make it, and its folder with mode 0700, if there is none."""
        self._path = path
        self._lock = threading.RLock()
        # What wrote last may have ended before it could settle.
        self._settle_is_owed = True
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._inode = path.stat().st_ino
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise JournalError(path, str(error)) from None

    def _prepare(self) -> None:
        run = self._connection.execute
        if self._path.stat().st_size == 0:
            run("PRAGMA auto_vacuum = INCREMENTAL")
        self._use_wal()
        run("PRAGMA synchronous = FULL")
        # What is replaced or dropped may have been a secret.
        run("PRAGMA secure_delete = ON")
        run("BEGIN IMMEDIATE")
        (version,) = run("PRAGMA user_version").fetchone()
        steps = _STEPS[:1] + _STEPS[2:] if version == 0 else _STEPS[version:]
        for step in steps if version < VERSION else ():
            for statement in step.split(";"):
                run(statement)
        if version < VERSION:
            run(f"PRAGMA user_version = {VERSION}")
        run("COMMIT")
        if version > VERSION:
            raise sqlite3.DatabaseError(f"it was written by a newer version (format {version})")

    def _use_wal(self) -> None:
        """Turn the file to WAL mode, which several processes may try at its first start at once.

        Each reads the file before it asks to write it, so that SQLite tells all but one that it is
        busy at once, without regard to the timeout (sqlite.org/c3ref/busy_handler.html: a wait
        could be a deadlock).
        """
        until = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL").close()
            except sqlite3.OperationalError as error:
                is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not is_busy or time.monotonic() > until:
                    raise
                time.sleep(_BUSY_AGAIN_SECONDS)
            else:
                return

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def writing(self, durability: Durability = "FULL") -> Generator[None]:
        """A transaction: all that is executed inside is on disk afterwards, or nothing of it."""
        with self._lock, self._errors():
            if self._path.stat().st_ino != self._inode:
                # What goes to a file that was deleted is not on disk.
                raise FileNotFoundError(errno.ENOENT, "another file is in its place")
            if durability == "NORMAL":
                self._connection.execute("PRAGMA synchronous = NORMAL")
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if durability == "NORMAL":
                    self._connection.execute("PRAGMA synchronous = FULL")

    def execute(self, statement: str, values: Sequence[Value] = ()) -> int:
        """Run a statement inside `writing`; how many rows it changed."""
        with closing(self._connection.execute(statement, tuple(values))) as cursor:
            return cursor.rowcount

    def select(self, statement: str, values: Sequence[Value] = ()) -> list[Row]:
        """The rows of a query."""
        with (
            self._lock,
            self._errors(),
            closing(self._connection.execute(statement, tuple(values))) as cursor,
        ):
            return cursor.fetchall()

    def give_back(self) -> None:
        """Return pages that are no longer used to the file system, where the file allows it."""
        with self._lock, self._errors():
            # It frees one page for each step, of which `execute` makes only the first.
            self._connection.executescript("PRAGMA incremental_vacuum").close()
            self.settle()

    def settle(self) -> bool:
        """Bring the log into the file and empty it, so that what was replaced stands nowhere.

        It does not wait long for another process that reads or writes: then it is owed, and
        `settle_if_owed` tries again.

        Returns:
            Whether it is done.
        """
        with self._lock, self._errors():
            run = self._connection.execute
            run(f"PRAGMA busy_timeout = {_SETTLE_SECONDS * 1000:.0f}").close()
            try:
                # The first of the three numbers is 1 where somebody was in the way
                # (sqlite.org/pragma.html#pragma_wal_checkpoint).
                (is_busy, _, _) = run("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                run(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000:.0f}").close()
            self._settle_is_owed = bool(is_busy)
            return not is_busy

    def settle_if_owed(self) -> bool:
        """Settle what could not be settled before, by this process or one that ended.

        Returns:
            Whether nothing is owed any more.
        """
        return not self._settle_is_owed or self.settle()

    @contextmanager
    def _errors(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise JournalError(self._path, f"{error.strerror}; restart the server") from None
        except sqlite3.Error as error:
            raise JournalError(self._path, str(error)) from None
