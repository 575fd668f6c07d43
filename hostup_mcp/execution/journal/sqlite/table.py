"""The table of executions: reads and writes its rows, and takes the steps of the state machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hostup_mcp.execution.journal.errors import RecordGone
from hostup_mcp.execution.journal.losses import GONE_FOR_GOOD, PID_REUSED
from hostup_mcp.execution.journal.records import COMES_FROM, Execution, Sent, StateName
from hostup_mcp.execution.journal.sqlite.database import Database, Value
from hostup_mcp.execution.journal.sqlite.rows import COLUMNS, RESULT_COLUMNS, execution

_CODES: Final = ", ".join(f"'{code}'" for code in GONE_FOR_GOOD)
NOT_GONE: Final = f"ifnull(error_code, '') NOT IN ({_CODES})"
"""The condition for a row whose result may still come."""


class Table:
    """The table in one database. Writes need a transaction of the caller's around them.

    Every method raises `JournalError` when the disk refuses.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def insert(
        self,
        record: Execution,
        state: StateName,
        key: str | None,
        *,
        sent_at: float | None = None,
        pid: int | None = None,
    ) -> None:
        """Add a row for a new execution.

        Args:
            record: what the row holds, but for the state.
            state: its first state.
            key: the caller's idempotency key; None for none.
            sent_at: when it was sent, seconds since the epoch; None if it was not.
            pid: its process id, if it runs.
        """
        self._db.execute(
            "INSERT INTO executions (exec_id, vps_id, command, policy, principal, created_at,"
            " owner, lease_until, state, idempotency_key, sent_at, pid)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record.exec_id, record.vps_id, record.command, record.policy, record.principal,
                record.created_at, record.owner, record.lease_until, state, key, sent_at, pid,
            ),
        )  # fmt: skip

    def step(self, record: Execution, state: StateName, columns: Mapping[str, Value]) -> bool:
        """Take a step of the state machine; False if the row's state does not allow it."""
        names = ", ".join(f"{name} = ?" for name in ("state", *columns))
        before = COMES_FROM[state]
        changed = self._db.execute(
            f"UPDATE executions SET {names} WHERE exec_id = ?"  # noqa: S608
            f" AND state IN ({', '.join('?' * len(before))}) AND {NOT_GONE}",
            (state, *columns.values(), record.exec_id, *before),
        )
        return changed > 0

    def take_over_pid(self, record: Execution, pid: int, now: float) -> None:
        """End older executions that have the pid which this one was given, as `pid_reused`.

        A result that came for the pid since this one was sent becomes this one's. A result that
        came before stays the older one's.

        Args:
            record: the one that has the pid now, as it was when it was sent.
            pid: the process id.
            now: seconds since the epoch.
        """
        state = record.state
        sent_at = state.sent_at if isinstance(state, Sent) else now
        older = (
            "vps_id = ? AND pid = ? AND state IN ('running', 'lost')"
            f" AND exec_id != ? AND {NOT_GONE} AND (received_at IS NULL OR received_at >= ?)"
        )
        which = (record.vps_id, pid, record.exec_id, sent_at)
        self._db.execute(
            f"UPDATE executions SET ({RESULT_COLUMNS}) = (SELECT {RESULT_COLUMNS} FROM executions"  # noqa: S608
            f" WHERE {older} AND received_at IS NOT NULL) WHERE exec_id = ? AND EXISTS"
            f" (SELECT 1 FROM executions WHERE {older} AND received_at IS NOT NULL)",
            (*which, record.exec_id, *which),
        )
        # An older one that was lost already is final now too.
        self._db.execute(
            "UPDATE executions SET state = 'lost', finished_at = ?, error_code = ?,"  # noqa: S608
            " error_message = ?, error_advice = ?, received_at = NULL, stdout = NULL,"
            f" stderr = NULL WHERE {older}",
            (now, *PID_REUSED, *which),
        )

    def get(self, exec_id: str) -> Execution | None:
        """The execution with this handle."""
        return self.select("exec_id = ?", exec_id)

    def reread(self, record: Execution) -> Execution:
        """The same execution as it is stored now. Raises `RecordGone`."""
        found = self.get(record.exec_id)
        if found is None:
            raise RecordGone(self._db.path)
        return found

    def select(self, condition: str, *values: Value) -> Execution | None:
        """The first execution that meets an SQL condition."""
        found = self.select_all(f"{condition} LIMIT 1", *values)
        return found[0] if found else None

    def select_all(self, condition: str, *values: Value) -> list[Execution]:
        """The executions that meet an SQL condition."""
        statement = f"SELECT {COLUMNS} FROM executions WHERE {condition}"  # noqa: S608
        return [execution(row) for row in self._db.select(statement, values)]
