"""The journal: every execution and its result, in SQLite, before anyone is told.

Intent is on disk before the request that starts a command, the pid after it, and a result before
it is shown. Other processes of the same user may have the same journal open: an order for one and
the same command, and the right to poll for it, are decided here, in one transaction each.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hostup_mcp.execution.database import Database, Value
from hostup_mcp.execution.owner import current_owner
from hostup_mcp.execution.reader import JournalReader
from hostup_mcp.execution.records import (
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
)
from hostup_mcp.execution.repeats import OWN, Repeats, earlier_order
from hostup_mcp.execution.rows import encoded
from hostup_mcp.execution.table import GIVEN_UP

START_LEASE_SECONDS: Final = 180.0
"""For how long an execution that is being started is left to its process, should it hang."""

_PID_REUSED: Final = (
    "pid_reused",
    "The guest gave this command's pid to another command before its result was read, so the "
    "result is gone.",
    "Check in the VPS what the command did.",
)

_GIVEN_UP: Final = (
    "The command was started, and nobody came for its result while it was asked for in the "
    "background, so it is not asked for any more.",
    "Check in the VPS whether it still runs and what it did.",
)


class KeyConflict(Exception):
    """The idempotency key belongs to another command on this VPS.

    Attributes:
        execution: that command.
    """

    def __init__(self, other: Execution) -> None:
        super().__init__(other.exec_id)
        self.execution = other


class Journal(JournalReader):
    """One SQLite file. Methods block on the disk, and may be called from any thread.

    Every method raises `JournalError`, and leaves the record as it was, when the disk refuses.
    A step that the state machine in `records` does not have changes nothing; what is returned is
    always what is on disk.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Open the journal, and make it if there is none.

        Args:
            path: the file; its folder is made with mode 0700 if need be.
            clock: seconds since the epoch.
        """
        super().__init__(Database(path), clock)

    @property
    def path(self) -> Path:
        """The file."""
        return self._db.path

    @property
    def database(self) -> Database:
        """The file, for what keeps it in bounds (`retention`)."""
        return self._db

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # ------------------------------------------------------------------ an order

    def intend(
        self,
        vps_id: str,
        command: str,
        policy: str,
        *,
        principal: str = LOCAL,
        key: str | None = None,
        repeats: Repeats | None = None,
    ) -> Intent:
        """Record that a command is about to be run, unless an earlier order stands in its place.

        Args:
            vps_id: where.
            command: the judged text.
            policy: the label of the policy that let it through.
            principal: who orders it; another's orders and keys count for nothing.
            key: the caller's idempotency key. With one, only the same key counts as a repeat.
                Without one, the same command whose outcome is unknown is in the way, however old,
                until it was ordered with a key after that.
            repeats: when the same command counts as a repeat; None for never.

        Raises:
            KeyConflict: the key belongs to another command.
        """
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
                # What certainly did not run gives its key to the next try.
                self._db.execute(
                    "UPDATE executions SET idempotency_key = NULL"  # noqa: S608
                    f" WHERE {OWN} AND idempotency_key = ?",
                    (principal, vps_id, key),
                )
            else:
                found = earlier_order(self._table, principal, vps_id, command, repeats, now)
                if found is not None:
                    return found
            record = self._new(vps_id, command, policy, principal, now, now + START_LEASE_SECONDS)
            self._table.insert(record, "intended", key)
        return Intent(record, "new")

    def foreign(
        self, vps_id: str, pid: int, lease_seconds: float, principal: str = LOCAL
    ) -> tuple[Execution, bool] | None:
        """The newest execution with this pid; else a record for a command of somebody else's.

        That record is on disk at once, so that no other process polls for the same pid.

        Returns:
            The execution, and whether it is such a new record; None if another principal's
            command has this pid, which is nobody else's to ask for.
        """
        now = self._clock()
        with self._db.writing():
            known = self.find(vps_id, pid)
            if known is not None:
                return (known, False) if known.principal == principal else None
            record = self._new(vps_id, "", "", principal, now, now + lease_seconds)
            self._table.insert(record, "running", None, sent_at=now, pid=pid)
        return self._table.reread(record), True

    def forget(self, record: Execution) -> None:
        """Remove the record of a foreign command that HostUp does not know."""
        with self._db.writing("NORMAL"):
            self._db.execute(
                "DELETE FROM executions WHERE exec_id = ? AND command = '' AND state = 'running'",
                (record.exec_id,),
            )

    # ------------------------------------------------------------------ a life

    def mark_sent(self, record: Execution) -> Execution:
        """Record that the request to start it goes out now."""
        return self._step(record, "sent", sent_at=self._clock())

    def mark_unsent(self, record: Execution) -> Execution:
        """Record that the request certainly never arrived, so that it may be made again."""
        return self._step(record, "intended", sent_at=None)

    def mark_running(
        self, record: Execution, pid: int, lease_seconds: float = START_LEASE_SECONDS
    ) -> Execution:
        """Record the process id that HostUp returned.

        An earlier command that still stands under the same pid has lost its result: the guest
        gives a number to a new command only when the old one is gone. What came for that number
        since this command was sent is this one's.
        """
        now = self._clock()
        with self._db.writing():
            columns = {"pid": pid, "lease_until": now + lease_seconds}
            if self._table.step(record, "running", columns):
                self._table.take_over_pid(record, pid, now, _PID_REUSED)
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
        """Record the result, as it came. It is on disk when this returns.

        Args:
            record: whose pid it came for. If that went to a newer command meanwhile, it is that
                one's result.
            exit_code: None after an abnormal end.
            signal: where HostUp gave one.
            stdout: as it came.
            stderr: as it came.
            is_contested: whether a start is under way there that may turn out to have this pid.
                Then, or if another process has one under way, it stays `running` with its result
                until `settle`.
        """
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
            if isinstance(state, Ended) and state.code == _PID_REUSED[0]:
                newest = self.find(record.vps_id, state.pid or 0)
                if newest is not None and isinstance(newest.state, Running):
                    self._table.step(newest, "completed", {**result, "finished_at": now})
            elif not (is_contested or self.being_sent(record.vps_id)):
                self._table.step(record, "completed", {**result, "finished_at": now})
            elif isinstance(state, Running) or (isinstance(state, Ended) and state.kind == "lost"):
                self._table.step(record, "running", result)
        return self._table.reread(record)

    def settle(self, record: Execution) -> Execution:
        """Give a result that was contested to the execution that it stands with."""
        state = record.state
        if isinstance(state, Running) and state.received_at is not None:
            return self._step(record, "completed", finished_at=state.received_at)
        return self._table.reread(record)

    def end(
        self, record: Execution, kind: EndKind, *, code: str, message: str, advice: str
    ) -> Execution:
        """Record that it is over without a result, and why."""
        return self._step(
            record,
            kind,
            finished_at=self._clock(),
            error_code=code,
            error_message=message,
            error_advice=advice,
        )

    def give_up(self, record: Execution) -> Execution:
        """Record that nobody asks for the result of a running one any more.

        Nothing changes while some process asks, so that its lease has not run out.
        """
        now = self._clock()
        message, advice = _GIVEN_UP
        with self._db.writing():
            self._db.execute(
                "UPDATE executions SET state = 'lost', finished_at = ?, error_code = ?,"
                " error_message = ?, error_advice = ?"
                " WHERE exec_id = ? AND state = 'running' AND lease_until < ?"
                " AND received_at IS NULL",
                (now, GIVEN_UP, message, advice, record.exec_id, now),
            )
        return self._table.reread(record)

    def show_as(self, record: Execution, prepared: Output, *, keep_raw: bool) -> Execution:
        """Put the prepared text of a result in place of what came.

        Args:
            record: a completed execution.
            prepared: what may be shown.
            keep_raw: whether to keep what came beside it.
        """
        stdout, stderr = prepared.stdout, prepared.stderr
        changes = json.dumps({"stdout": stdout.changes or {}, "stderr": stderr.changes or {}})
        raw = "raw_stdout = stdout, raw_stderr = stderr, " if keep_raw else ""
        # What is lost of this with the power is prepared again.
        with self._db.writing("NORMAL"):
            self._db.execute(
                f"UPDATE executions SET {raw}stdout = ?, stderr = ?, changes = ?"  # noqa: S608
                " WHERE exec_id = ? AND state = 'completed' AND changes IS NULL"
                " AND dropped_at IS NULL",
                (encoded(stdout.text), encoded(stderr.text), changes, record.exec_id),
            )
        if not keep_raw and "redacted:" in changes:
            self._db.settle()
        return self._table.reread(record)

    def mark_read(self, record: Execution) -> None:
        """Record that its end was told to a caller."""
        with self._db.writing("NORMAL"):
            self._db.execute(
                "UPDATE executions SET read_at = ? WHERE exec_id = ? AND read_at IS NULL"
                " AND state NOT IN ('intended', 'sent', 'running')",
                (self._clock(), record.exec_id),
            )

    # ------------------------------------------------------------------ leases

    def lease(self, record: Execution, seconds: float, *, owner_is_gone: bool = False) -> bool:
        """Take or renew the right to poll for an execution; whether this process has it now.

        Args:
            record: the execution; its `owner` is whom it is taken from.
            seconds: for how long.
            owner_is_gone: whether that process is known to be dead, so that its lease is void.
        """
        now, me = self._clock(), current_owner()
        with self._db.writing("NORMAL"):
            changed = self._db.execute(
                "UPDATE executions SET owner = ?, lease_until = ? WHERE exec_id = ?"
                " AND (owner = ? OR lease_until < ? OR (? AND owner = ?))",
                (me, now + seconds, record.exec_id, me, now, owner_is_gone, record.owner),
            )
        return changed > 0

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
        lease_until: float,
    ) -> Execution:
        handle = "exec_" + base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()
        owner = current_owner()
        return Execution(
            handle, vps_id, command, policy, principal, now, owner, lease_until, None, Intended()
        )


def _never_ran(record: Execution) -> bool:
    return isinstance(record.state, Ended) and record.state.kind == "not_started"
