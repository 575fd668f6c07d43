"""Drops what is beyond the limits from an SQLite journal; `Journal.purge` says what goes when."""

from __future__ import annotations

from typing import Final

from hostup_mcp.execution.journal.limits import Retention
from hostup_mcp.execution.journal.sqlite.database import Database

_DAY_SECONDS: Final = 86_400.0
_MIB: Final = 1024 * 1024
# A record without output is small, and tells what became of the command.
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


def purge(database: Database, limits: Retention, now: float) -> int:
    """Drop what is beyond the limits, and note what is newly found too old.

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
    """The condition for what was found too old an hour ago, or its whole term if `stays` holds."""
    wait = f"CASE WHEN {stays} THEN {max(term, _NOTED_SECONDS)} ELSE {_NOTED_SECONDS} END"
    return f"found_old_at <= {now} - {wait}"


def _drop(database: Database, condition: str, now: float) -> int:
    # The note is for the output only: the record has a term of its own.
    return database.execute(
        "UPDATE executions SET stdout = NULL, stderr = NULL, raw_stdout = NULL,"  # noqa: S608
        " raw_stderr = NULL, dropped_at = ?, found_old_at = NULL"
        f" WHERE {_HAS_OUTPUT} AND {condition}",
        (now,),
    )


def _too_much(most_bytes: float) -> str:
    """The condition for outputs that do not fit once all newer ones are counted."""
    sizes = f"sum({_SIZE}) OVER (ORDER BY finished_at DESC, rowid DESC) AS so_far"
    done = f"(SELECT rowid AS row, {sizes} FROM executions WHERE state = 'completed')"  # noqa: S608
    return f"rowid IN (SELECT row FROM {done} WHERE so_far > {most_bytes:.0f})"  # noqa: S608
