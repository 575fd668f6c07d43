"""What stands in the journal: executions, found by what is known of them."""

from __future__ import annotations

import time
from collections.abc import Callable

from hostup_mcp.execution.database import Database
from hostup_mcp.execution.owner import current_owner
from hostup_mcp.execution.records import Execution, Output, Stream
from hostup_mcp.execution.rows import OUTPUT_COLUMNS, output
from hostup_mcp.execution.table import Table


class JournalReader:
    """Finds executions. Every method raises `JournalError` when the disk refuses."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        """A reader.

        Args:
            database: the journal's file.
            clock: seconds since the epoch.
        """
        self._db = database
        self._table = Table(database)
        self._clock = clock

    def output(self, record: Execution) -> Output:
        """What a command wrote, as it stands on disk; empty where there is nothing."""
        statement = f"SELECT {OUTPUT_COLUMNS} FROM executions WHERE exec_id = ?"  # noqa: S608
        rows = self._db.select(statement, (record.exec_id,))
        return output(rows[0]) if rows else Output(Stream(""), Stream(""))

    def get(self, exec_id: str) -> Execution | None:
        """The execution with this handle."""
        return self._table.get(exec_id)

    def find(self, vps_id: str, pid: int) -> Execution | None:
        """The newest execution with this process id on this VPS: pids repeat after a reboot."""
        return self._table.select(
            "vps_id = ? AND pid = ? ORDER BY created_at DESC, rowid DESC", vps_id, pid
        )

    def being_sent(self, vps_id: str) -> list[Execution]:
        """Executions of other processes that may be given a pid on this VPS at this moment."""
        return self._table.select_all(
            "vps_id = ? AND state = 'sent' AND owner != ? AND lease_until > ?",
            vps_id,
            current_owner(),
            self._clock(),
        )

    def unfinished(self, since: float, limit: int) -> list[Execution]:
        """Executions that were begun since then and are not over, the newest first."""
        return self._table.select_all(
            "state IN ('intended', 'sent', 'running') AND created_at > ?"
            " ORDER BY created_at DESC LIMIT ?",
            since,
            limit,
        )

    def overdue(self, until: float, limit: int) -> list[Execution]:
        """Executions that were begun until then, are not over and not worked on; newest first."""
        return self._table.select_all(
            "state IN ('intended', 'sent', 'running') AND created_at <= ? AND lease_until < ?"
            " ORDER BY created_at DESC LIMIT ?",
            until,
            self._clock(),
            limit,
        )

    def unprepared(self, limit: int) -> list[Execution]:
        """Results that stand here as they came, because it ended before they were prepared."""
        return self._table.select_all(
            "state = 'completed' AND changes IS NULL AND dropped_at IS NULL"
            " ORDER BY created_at DESC LIMIT ?",
            limit,
        )
