"""How long the journal keeps what it holds: output goes first, a record much later.

The clock may be wrong, by years: a machine that starts without one, a mistyped date. So nothing
goes the first time that it is found to be beyond its term. That time is noted with it, and what is
noted goes only

- an hour later, which a clock that is put right within the hour does not come to: then the notes
  of what is not old after all, and those that lie in the future, are struck out;
- for what nobody has seen, or what keeps a command from being run twice, after its whole term once
  more: a result or an end that was never told, a record with an idempotency key, and a command of
  which it is not known whether it ran.

What was recorded under a clock that was far behind is safe in the same way. A clock that is wrong
for hours costs the outputs, and the records without a key, of commands whose end was told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hostup_mcp.execution.database import Database

_DAY_SECONDS: Final = 86_400.0
_MIB: Final = 1024 * 1024
# A record without its output is small, and says what became of it.
_RECORDS_OUTLIVE: Final = 10
_NOTED_SECONDS: Final = 3600.0

_OVER: Final = "state IN ('completed', 'not_started', 'unknown', 'lost')"
_HAS_OUTPUT: Final = "state = 'completed' AND dropped_at IS NULL"
_UNSEEN: Final = "read_at IS NULL"
_PROTECTS: Final = "(read_at IS NULL OR idempotency_key IS NOT NULL OR state = 'unknown')"
_SIZE: Final = (
    "ifnull(length(stdout), 0) + ifnull(length(stderr), 0)"
    " + ifnull(length(raw_stdout), 0) + ifnull(length(raw_stderr), 0)"
)


@dataclass(frozen=True, slots=True)
class Retention:
    """The limits of the journal.

    Attributes:
        days: how old a result's output may be; the record itself is kept ten times as long. It may
            be an hour more, and twice as much for what the module's text names.
        mebibytes: how much output there may be in all; the oldest goes first, and at once.
    """

    days: float = 30.0
    mebibytes: float = 256.0


def purge(database: Database, limits: Retention, now: float) -> int:
    """Drop what is beyond the limits, and note what is newly beyond its term.

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
    term = limits.days * _DAY_SECONDS
    output_is_old = f"({_HAS_OUTPUT} AND finished_at < {now - term})"
    record_is_old = f"({_OVER} AND finished_at < {now - term * _RECORDS_OUTLIVE})"
    is_old = f"({output_is_old} OR {record_is_old})"
    with database.writing():
        database.execute(
            "UPDATE executions SET found_old_at = NULL WHERE found_old_at IS NOT NULL"  # noqa: S608
            f" AND (found_old_at > {now} OR NOT {is_old})"
        )
        dropped = _drop(database, f"{output_is_old} AND {_noted(_UNSEEN, term, now)}", now)
        database.execute(
            f"DELETE FROM executions WHERE {record_is_old}"  # noqa: S608
            f" AND {_noted(_PROTECTS, term * _RECORDS_OUTLIVE, now)}"
        )
        dropped += _drop(database, _too_much(limits.mebibytes * _MIB), now)
        database.execute(
            f"UPDATE executions SET found_old_at = {now}"  # noqa: S608
            f" WHERE found_old_at IS NULL AND {is_old}"
        )
    if dropped:
        database.give_back()
    return dropped


def _noted(stays: str, term: float, now: float) -> str:
    """What was found old an hour ago; for what `stays` says, its whole term ago."""
    wait = f"CASE WHEN {stays} THEN {max(term, _NOTED_SECONDS)} ELSE {_NOTED_SECONDS} END"
    return f"found_old_at <= {now} - {wait}"


def _drop(database: Database, condition: str, now: float) -> int:
    # The record's own term is another one, so that the note is for the output only.
    return database.execute(
        "UPDATE executions SET stdout = NULL, stderr = NULL, raw_stdout = NULL,"  # noqa: S608
        " raw_stderr = NULL, dropped_at = ?, found_old_at = NULL"
        f" WHERE {_HAS_OUTPUT} AND {condition}",
        (now,),
    )


def _too_much(most_bytes: float) -> str:
    """The outputs that do not fit any more once all newer ones are counted."""
    sizes = f"sum({_SIZE}) OVER (ORDER BY finished_at DESC, rowid DESC) AS so_far"
    done = f"(SELECT rowid AS row, {sizes} FROM executions WHERE state = 'completed')"  # noqa: S608
    return f"rowid IN (SELECT row FROM {done} WHERE so_far > {most_bytes:.0f})"  # noqa: S608
