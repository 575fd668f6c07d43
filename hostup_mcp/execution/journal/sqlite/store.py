"""The journal's methods on an SQLite file, each in one transaction. They block on the disk."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from hostup_mcp.execution.journal.errors import JournalError, KeyConflict
from hostup_mcp.execution.journal.limits import (
    START_LEASE_SECONDS,
    DuplicateWindow,
    Retention,
)
from hostup_mcp.execution.journal.losses import GIVEN_UP, PID_REUSED
from hostup_mcp.execution.journal.owner import current_owner
from hostup_mcp.execution.journal.records import (
    LOCAL,
    Ended,
    EndKind,
    Execution,
    Intended,
    Intent,
    Output,
    Running,
    StateName,
    Stream,
    new_exec_id,
)
from hostup_mcp.execution.journal.sqlite.database import Database, Value
from hostup_mcp.execution.journal.sqlite.duplicates import OWN, earlier_order
from hostup_mcp.execution.journal.sqlite.retention import purge
from hostup_mcp.execution.journal.sqlite.rows import OUTPUT_COLUMNS, encoded, output
from hostup_mcp.execution.journal.sqlite.table import Table


class SqliteStore:
    """The methods of `Journal` that block, for any thread; that protocol says what each does."""

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = time.time,
        me: Callable[[], str] = current_owner,
    ) -> None:
        """Open the file, and make it if there is none.

        Args:
            path: the file; its folder is made with mode 0700 if need be.
            clock: seconds since the epoch.
            me: names this process, as an owner of executions.

        Raises:
            JournalError: the file cannot be used.
        """
        self._db = Database(path)
        self._table = Table(self._db)
        self._clock = clock
        self._me = me

    @property
    def path(self) -> Path:
        """The file."""
        return self._db.path

    @property
    def database(self) -> Database:
        """The open file."""
        return self._db

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def is_writable(self) -> bool:
        """Whether the file takes writes now."""
        try:
            with self._db.writing("NORMAL"):
                return True
        except JournalError:
            return False

    # ------------------------------------------------------------------ an order

    def record_intent(
        self,
        vps_id: str,
        command: str,
        policy: str,
        *,
        principal: str = LOCAL,
        key: str | None = None,
        duplicates: DuplicateWindow | None = None,
    ) -> Intent:
        """Record an order, or find the earlier one that answers it. Raises `KeyConflict`."""
        now = self._clock()
        with self._db.writing():
            if key is not None:
                earlier = self._table.select(
                    f"{OWN} AND idempotency_key = ?", principal, vps_id, key
                )
                if earlier is not None and earlier.command != command:
                    raise KeyConflict(earlier)
                if earlier is not None and not _never_ran(earlier):
                    return Intent(earlier, "same_key")
                # A command that certainly did not run gives its key to the next try.
                self._db.execute(
                    "UPDATE executions SET idempotency_key = NULL"  # noqa: S608
                    f" WHERE {OWN} AND idempotency_key = ?",
                    (principal, vps_id, key),
                )
            else:
                found = earlier_order(self._table, principal, vps_id, command, duplicates, now)
                if found is not None:
                    return found
            record = self._new(vps_id, command, policy, principal, now, START_LEASE_SECONDS)
            self._table.insert(record, "intended", key)
        return Intent(record, "new")

    def record_foreign(
        self, vps_id: str, pid: int, lease_seconds: float, principal: str = LOCAL
    ) -> tuple[Execution, bool] | None:
        """The newest execution with this pid, or a new record for a foreign command."""
        now = self._clock()
        with self._db.writing():
            known = self.find(vps_id, pid)
            if known is not None:
                return (known, False) if known.principal == principal else None
            record = self._new(vps_id, "", "", principal, now, lease_seconds)
            self._table.insert(record, "running", None, sent_at=now, pid=pid)
        return self._table.reread(record), True

    def forget(self, record: Execution) -> None:
        """Delete the record of a foreign command."""
        with self._db.writing("NORMAL"):
            self._db.execute(
                "DELETE FROM executions WHERE exec_id = ? AND command = '' AND state = 'running'",
                (record.exec_id,),
            )

    # ------------------------------------------------------------------ a life

    def mark_sent(self, record: Execution) -> Execution:
        """`intended` to `sent`."""
        return self._step(record, "sent", sent_at=self._clock())

    def mark_unsent(self, record: Execution) -> Execution:
        """`sent` back to `intended`."""
        return self._step(record, "intended", sent_at=None)

    def mark_running(
        self, record: Execution, pid: int, lease_seconds: float = START_LEASE_SECONDS
    ) -> Execution:
        """To `running`, with the pid taken from any older execution."""
        now = self._clock()
        with self._db.writing():
            columns = {"pid": pid, "lease_until": now + lease_seconds}
            if self._table.step(record, "running", columns):
                self._table.take_over_pid(record, pid, now)
        return self._table.reread(record)

    def complete(
        self,
        record: Execution,
        *,
        exit_code: int | None,
        signal: int | None,
        stdout: Stream,
        stderr: Stream,
        is_contested: bool = False,
    ) -> Execution:
        """To `completed`; a contested result stays with a `running` one."""
        now = self._clock()
        result: dict[str, Value] = {
            "exit_code": exit_code,
            "signal": signal,
            "stdout": encoded(stdout.text),
            "stderr": encoded(stderr.text),
            "stdout_truncated": stdout.truncated,
            "stderr_truncated": stderr.truncated,
            "received_at": now,
        }
        with self._db.writing():
            state = self._table.reread(record).state
            if isinstance(state, Ended) and state.code == PID_REUSED.code:
                newest = self.find(record.vps_id, state.pid or 0)
                if newest is not None and isinstance(newest.state, Running):
                    self._table.step(newest, "completed", {**result, "finished_at": now})
            elif not (is_contested or self.starts_elsewhere(record.vps_id)):
                self._table.step(record, "completed", {**result, "finished_at": now})
            elif isinstance(state, Running) or (isinstance(state, Ended) and state.kind == "lost"):
                self._table.step(record, "running", result)
        return self._table.reread(record)

    def confirm_result(self, record: Execution) -> Execution:
        """To `completed`, with the result that is stored already."""
        state = record.state
        if isinstance(state, Running) and state.received_at is not None:
            return self._step(record, "completed", finished_at=state.received_at)
        return self._table.reread(record)

    def end(
        self, record: Execution, kind: EndKind, *, code: str, message: str, advice: str
    ) -> Execution:
        """To an end without a result."""
        return self._step(
            record,
            kind,
            finished_at=self._clock(),
            error_code=code,
            error_message=message,
            error_advice=advice,
        )

    def give_up(self, record: Execution) -> Execution:
        """`running` to `lost`, unless a process holds the lease or a result is stored."""
        now = self._clock()
        with self._db.writing():
            self._db.execute(
                "UPDATE executions SET state = 'lost', finished_at = ?, error_code = ?,"
                " error_message = ?, error_advice = ?"
                " WHERE exec_id = ? AND state = 'running' AND lease_until < ?"
                " AND received_at IS NULL",
                (now, *GIVEN_UP, record.exec_id, now),
            )
        return self._table.reread(record)

    def replace_output(self, record: Execution, prepared: Output, *, keep_raw: bool) -> Execution:
        """Put the prepared output in place of what came."""
        stdout, stderr = prepared.stdout, prepared.stderr
        changes = json.dumps({"stdout": stdout.changes or {}, "stderr": stderr.changes or {}})
        raw = "raw_stdout = stdout, raw_stderr = stderr, " if keep_raw else ""
        # If the power fails, it is prepared again.
        with self._db.writing("NORMAL"):
            self._db.execute(
                f"UPDATE executions SET {raw}stdout = ?, stderr = ?, changes = ?"  # noqa: S608
                " WHERE exec_id = ? AND state = 'completed' AND changes IS NULL"
                " AND dropped_at IS NULL",
                (encoded(stdout.text), encoded(stderr.text), changes, record.exec_id),
            )
        if not keep_raw and "redacted:" in changes:
            self._db.checkpoint()
        return self._table.reread(record)

    def mark_read(self, record: Execution) -> None:
        """Note when a caller was first told its end."""
        with self._db.writing("NORMAL"):
            self._db.execute(
                "UPDATE executions SET read_at = ? WHERE exec_id = ? AND read_at IS NULL"
                " AND state NOT IN ('intended', 'sent', 'running')",
                (self._clock(), record.exec_id),
            )

    def lease(self, record: Execution, seconds: float, *, owner_is_gone: bool = False) -> bool:
        """Take or renew the lease; whether this process has it now."""
        now, me = self._clock(), self._me()
        with self._db.writing("NORMAL"):
            changed = self._db.execute(
                "UPDATE executions SET owner = ?, lease_until = ? WHERE exec_id = ?"
                " AND (owner = ? OR lease_until < ? OR (? AND owner = ?))",
                (me, now + seconds, record.exec_id, me, now, owner_is_gone, record.owner),
            )
        return changed > 0

    # ------------------------------------------------------------------ reading

    def get(self, exec_id: str) -> Execution | None:
        """The execution with this handle."""
        return self._table.get(exec_id)

    def find(self, vps_id: str, pid: int) -> Execution | None:
        """The newest execution with this process id on this VPS: pids repeat after a reboot."""
        return self._table.select(
            "vps_id = ? AND pid = ? ORDER BY created_at DESC, rowid DESC", vps_id, pid
        )

    def output(self, record: Execution) -> Output:
        """What a command wrote, as it is stored now."""
        statement = f"SELECT {OUTPUT_COLUMNS} FROM executions WHERE exec_id = ?"  # noqa: S608
        rows = self._db.select(statement, (record.exec_id,))
        return output(rows[0]) if rows else Output(Stream(""), Stream(""))

    def starts_elsewhere(self, vps_id: str) -> list[Execution]:
        """Executions that other processes are starting on this VPS."""
        return self._table.select_all(
            "vps_id = ? AND state = 'sent' AND owner != ? AND lease_until > ?",
            vps_id,
            self._me(),
            self._clock(),
        )

    def unfinished(self, since: float, limit: int) -> list[Execution]:
        """Executions ordered after `since` that are not over."""
        return self._table.select_all(
            "state IN ('intended', 'sent', 'running') AND created_at > ?"
            " ORDER BY created_at DESC LIMIT ?",
            since,
            limit,
        )

    def overdue(self, until: float, limit: int) -> list[Execution]:
        """Executions ordered until then that are not over and have no lease."""
        return self._table.select_all(
            "state IN ('intended', 'sent', 'running') AND created_at <= ? AND lease_until < ?"
            " ORDER BY created_at DESC LIMIT ?",
            until,
            self._clock(),
            limit,
        )

    def unprepared(self, limit: int) -> list[Execution]:
        """Results whose output was not prepared."""
        return self._table.select_all(
            "state = 'completed' AND changes IS NULL AND dropped_at IS NULL"
            " ORDER BY created_at DESC LIMIT ?",
            limit,
        )

    # ------------------------------------------------------------------ retention

    def purge(self, limits: Retention, now: float) -> int:
        """Drop what is beyond the limits; how many outputs that were."""
        return purge(self._db, limits, now)

    def erase_replaced(self) -> bool:
        """Erase what was replaced, where that was not possible before."""
        return self._db.checkpoint_if_owed()

    def _step(self, record: Execution, state: StateName, **columns: Value) -> Execution:
        with self._db.writing():
            self._table.step(record, state, columns)
        return self._table.reread(record)

    def _new(
        self,
        vps_id: str,
        command: str,
        policy: str,
        principal: str,
        now: float,
        lease_seconds: float,
    ) -> Execution:
        return Execution(
            new_exec_id(),
            vps_id,
            command,
            policy,
            principal,
            now,
            self._me(),
            now + lease_seconds,
            None,
            Intended(),
        )


def _never_ran(record: Execution) -> bool:
    return isinstance(record.state, Ended) and record.state.kind == "not_started"
