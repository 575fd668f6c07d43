"""The table of executions: rows in, rows out, and the steps that the state machine has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hostup_mcp.execution.database import Database, RecordGone, Value
from hostup_mcp.execution.records import COMES_FROM, Execution, Sent, StateName
from hostup_mcp.execution.rows import COLUMNS, RESULT_COLUMNS, execution

GONE_FOR_GOOD: Final = ("pid_reused", "vps_rebooted")
"""Why a lost result cannot turn up: what its pid gives is another command's."""

GIVEN_UP: Final = "given_up"
"""Why a result counts as lost that nobody came for: the guest may have it still."""

_CODES: Final = ", ".join(f"'{code}'" for code in GONE_FOR_GOOD)
NOT_GONE: Final = f"ifnull(error_code, '') NOT IN ({_CODES})"
"""The condition for a row whose result may still turn up."""


class Table:
    """The table in one database; what writes stands inside a transaction of its caller.

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
            record: what it holds, but for its state.
            state: where its life begins.
            key: the caller's idempotency key; None for none.
            sent_at: seconds since the epoch, for one that was sent.
            pid: for one that runs.
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
        """One step of the state machine; False if the row is not where that step begins."""
        names = ", ".join(f"{name} = ?" for name in ("state", *columns))
        before = COMES_FROM[state]
        changed = self._db.execute(
            f"UPDATE executions SET {names} WHERE exec_id = ?"  # noqa: S608
            f" AND state IN ({', '.join('?' * len(before))}) AND {NOT_GONE}",
            (state, *columns.values(), record.exec_id, *before),
        )
        return changed > 0

    def take_over_pid(
        self, record: Execution, pid: int, now: float, why: tuple[str, str, str]
    ) -> None:
        """Close older executions that stand under a pid which this one was given.

        What came for that pid since this one was sent is its result. A result that was there before
        is the older one's.

        Args:
            record: the one that has the pid now, as it was when it was sent.
            pid: the process id.
            now: seconds since the epoch.
            why: code, message and advice for the older ones.
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
        # One that was lost before is closed for good too.
        self._db.execute(
            "UPDATE executions SET state = 'lost', finished_at = ?, error_code = ?,"  # noqa: S608
            " error_message = ?, error_advice = ?, received_at = NULL, stdout = NULL,"
            f" stderr = NULL WHERE {older}",
            (now, *why, *which),
        )

    def get(self, exec_id: str) -> Execution | None:
        """The execution with this handle."""
        return self.select("exec_id = ?", exec_id)

    def reread(self, record: Execution) -> Execution:
        """The same execution as it is on disk now. Raises `RecordGone`."""
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
