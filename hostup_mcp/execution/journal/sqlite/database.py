"""One SQLite file: how it is opened, written and read."""

from __future__ import annotations

import errno
import sqlite3
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, Literal

from hostup_mcp.execution.journal.errors import JournalError
from hostup_mcp.execution.journal.sqlite.schema import MIGRATIONS, VERSION

_BUSY_SECONDS: Final = 2.0
_BUSY_AGAIN_SECONDS: Final = 0.01
_CHECKPOINT_SECONDS: Final = 0.05

Value = str | float | bytes | None
Row = tuple[Value, ...]
Durability = Literal["FULL", "NORMAL"]
"""`FULL`: on disk when it returns, also if the power fails then. `NORMAL`: lost if the power fails
within moments, which will do for what can be found out again."""


class Database:
    """One SQLite file in WAL mode. Every method raises `JournalError` when the disk refuses.

    Methods block on the disk, and may be called from any thread; they take turns.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, and make it, and its folder with mode 0700, if there is none."""
        self._path = path
        self._lock = threading.RLock()
        # The process that wrote last may have ended before its checkpoint.
        self._checkpoint_is_owed = True
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
        # What is replaced or dropped may be a secret.
        run("PRAGMA secure_delete = ON")
        run("BEGIN IMMEDIATE")
        (version,) = run("PRAGMA user_version").fetchone()
        steps = MIGRATIONS[:1] + MIGRATIONS[2:] if version == 0 else MIGRATIONS[version:]
        for step in steps if version < VERSION else ():
            for statement in step.split(";"):
                run(statement)
        if version < VERSION:
            run(f"PRAGMA user_version = {VERSION}")
        run("COMMIT")
        if version > VERSION:
            raise sqlite3.DatabaseError(f"it was written by a newer version (format {version})")

    def _use_wal(self) -> None:
        """Turn the file to WAL mode; several processes may do so at once at the first start.

        Each reads the file before it asks to write it. So SQLite tells all but one at once that the
        file is busy, whatever the timeout, since a wait could be a deadlock
        (sqlite.org/c3ref/busy_handler.html).
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
        """A transaction: everything executed inside is stored at its end, or nothing."""
        with self._lock, self._errors():
            if self._path.stat().st_ino != self._inode:
                # A write to a deleted file is not on disk.
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
        """Return unused pages to the file system, where the file allows it."""
        with self._lock, self._errors():
            # It frees one page for each step, and `execute` takes only the first step.
            self._connection.executescript("PRAGMA incremental_vacuum").close()
            self.checkpoint()

    def checkpoint(self) -> bool:
        """Bring the log into the file and empty it, so that nothing that was replaced is left.

        It does not wait long for another process that reads or writes: then the checkpoint is
        owed, and `checkpoint_if_owed` tries again.

        Returns:
            Whether it is done.
        """
        with self._lock, self._errors():
            run = self._connection.execute
            run(f"PRAGMA busy_timeout = {_CHECKPOINT_SECONDS * 1000:.0f}").close()
            try:
                # The first of the three numbers is 1 if another process was in the way
                # (sqlite.org/pragma.html#pragma_wal_checkpoint).
                (is_busy, _, _) = run("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                run(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000:.0f}").close()
            self._checkpoint_is_owed = bool(is_busy)
            return not is_busy

    def checkpoint_if_owed(self) -> bool:
        """Make the checkpoint that this process, or one that ended, could not make.

        Returns:
            Whether none is owed any more.
        """
        return not self._checkpoint_is_owed or self.checkpoint()

    @contextmanager
    def _errors(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise JournalError(self._path, f"{error.strerror}; restart the server") from None
        except sqlite3.Error as error:
            raise JournalError(self._path, str(error)) from None
