"""Checks whether a server could use a journal file, and changes nothing in it."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from hostup_mcp.execution.journal.errors import JournalError
from hostup_mcp.execution.journal.sqlite.schema import VERSION

_BUSY_SECONDS: Final = 2.0
# How many steps of SQLite's machine pass between two checks of the deadline.
_STEPS: Final = 10_000


@dataclass(frozen=True, slots=True)
class JournalState:
    """What was found.

    Attributes:
        size_bytes: size of the file and its log; 0 if there is no journal yet.
        unfinished: how many executions are not over.
        mode: the file's permission bits; None if there is no journal yet.
        was_checked: whether all of it was read for damage; false if that took too long.
    """

    size_bytes: int = 0
    unfinished: int = 0
    mode: int | None = None
    was_checked: bool = True


def inspect(path: Path, seconds: float) -> JournalState:
    """Inspect a journal, or the place where it will be made.

    Args:
        path: the file.
        seconds: the time to read it for damage.

    Raises:
        JournalError: a server could not use it, or it is damaged.
    """
    try:
        _write_beside(path)
        if not path.exists():
            return JournalState()
        log = path.with_name(path.name + "-wal")
        size = path.stat().st_size + (log.stat().st_size if log.exists() else 0)
        with closing(_open(path)) as connection:
            unfinished = _unfinished(connection, path)
            was_checked = _read_through(connection, path, time.monotonic() + seconds)
        return JournalState(size, unfinished, path.stat().st_mode & 0o777, was_checked)
    except OSError as error:
        raise JournalError(path, f"{error.strerror}") from None
    except sqlite3.Error as error:
        raise JournalError(path, str(error)) from None


def _write_beside(path: Path) -> None:
    """Write a nameless file into its folder, or into the folder that it would be made in."""
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        reason = f"nothing can be written to {folder}: {error.strerror}"
        raise JournalError(path, reason) from None


def _open(path: Path) -> sqlite3.Connection:
    # Unlike an ordinary connection, this makes no file.
    address = f"file:{quote(str(path.absolute()))}?mode=rw"
    return sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)


def _unfinished(connection: sqlite3.Connection, path: Path) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise JournalError(path, f"it was written by a newer version (format {version})")
    # Fails if the file is read-only, or another process keeps it locked.
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("ROLLBACK")
    if version == 0:
        return 0  # a file without tables; the first start makes them
    query = "SELECT count(*) FROM executions WHERE state IN ('intended', 'sent', 'running')"
    (count,) = connection.execute(query).fetchone()
    return int(count)


def _read_through(connection: sqlite3.Connection, path: Path, deadline: float) -> bool:
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
    try:
        (said,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if time.monotonic() > deadline and "interrupted" in str(error):
            return False
        raise
    if said != "ok":
        raise JournalError(path, f"it is damaged: {said}")
    return True
