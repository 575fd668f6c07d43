"""How long the journal keeps what it holds: output goes first, a record much later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hostup_mcp.execution.database import Database

_DAY_SECONDS: Final = 86_400.0
_MIB: Final = 1024 * 1024
# A record without its output is small, and says what became of it.
_RECORDS_OUTLIVE: Final = 10

_OVER: Final = "state IN ('completed', 'not_started', 'unknown', 'lost')"
_SIZE: Final = (
    "ifnull(length(stdout), 0) + ifnull(length(stderr), 0)"
    " + ifnull(length(raw_stdout), 0) + ifnull(length(raw_stderr), 0)"
)


@dataclass(frozen=True, slots=True)
class Retention:
    """The limits of the journal.

    Attributes:
        days: how old a result's output may be; the record itself is kept ten times as long.
        mebibytes: how much output there may be in all; the oldest goes first.
    """

    days: float = 30.0
    mebibytes: float = 256.0


def purge(database: Database, limits: Retention, now: float) -> int:
    """Drop what is beyond the limits.

    Only executions that are over are touched. A dropped output leaves its record, with the time.

    Args:
        database: the journal's file.
        limits: what is kept.
        now: seconds since the epoch.

    Returns:
        How many outputs were dropped.

    Raises:
        JournalError: the disk refuses.
    """
    oldest = now - limits.days * _DAY_SECONDS
    with database.writing():
        dropped = _drop(database, f"finished_at < {oldest}", now)
        database.execute(
            f"DELETE FROM executions WHERE {_OVER} AND finished_at < ?",  # noqa: S608
            (now - limits.days * _DAY_SECONDS * _RECORDS_OUTLIVE,),
        )
        dropped += _drop(database, _too_much(limits.mebibytes * _MIB), now)
    if dropped:
        database.give_back()
    return dropped


def _drop(database: Database, condition: str, now: float) -> int:
    return database.execute(
        "UPDATE executions SET stdout = NULL, stderr = NULL, raw_stdout = NULL,"  # noqa: S608
        " raw_stderr = NULL, dropped_at = ?"
        f" WHERE state = 'completed' AND dropped_at IS NULL AND {condition}",
        (now,),
    )


def _too_much(most_bytes: float) -> str:
    """The outputs that do not fit any more once all newer ones are counted."""
    sizes = f"sum({_SIZE}) OVER (ORDER BY finished_at DESC, rowid DESC) AS so_far"
    done = f"(SELECT rowid AS row, {sizes} FROM executions WHERE state = 'completed')"  # noqa: S608
    return f"rowid IN (SELECT row FROM {done} WHERE so_far > {most_bytes:.0f})"  # noqa: S608
