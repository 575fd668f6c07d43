"""What the rest of the program asks of a journal, whatever stores it.

`sqlite/` is the one implementation. Another store implements `Journal` beside it, and is made in
the place that makes the SQLite one (`transports.server_parts`).
"""

from __future__ import annotations

from typing import Protocol

from hostup_mcp.execution.journal.limits import (
    START_LEASE_SECONDS,
    DuplicateWindow,
    Retention,
)
from hostup_mcp.execution.journal.records import (
    LOCAL,
    EndKind,
    Execution,
    Intent,
    Output,
    Stream,
)


class Journal(Protocol):
    """Executions and their results, shared by all processes that have the same journal open.

    - Every method raises `JournalError` when the store fails, and then nothing has changed.
    - Every method is atomic: all of it is stored or nothing, also against other processes.
    - A change is on disk when its method returns, also if the power fails then. The exceptions may
      be lost with the power, since they can be found out again: `forget`, `replace_output`,
      `mark_read` and `lease`.
    - A step that `records.GOES_TO` does not have changes nothing. Methods that return an execution
      return it as it is stored now, and raise `RecordGone` if it was deleted.
    - Calls are served in the order in which they come. A call that is cancelled while it waits
      changes nothing; one that has begun is finished.
    """

    @property
    def location(self) -> str:
        """Where it is, for messages; holds no secret."""
        ...

    async def aclose(self) -> None:
        """Close it. Every later call raises `JournalError`."""
        ...

    async def is_writable(self) -> bool:
        """Whether it takes writes now. Does not wait behind other calls, and does not raise."""
        ...

    # ------------------------------------------------------------------ an order

    async def record_intent(
        self,
        vps_id: str,
        command: str,
        policy: str,
        *,
        principal: str = LOCAL,
        key: str | None = None,
        duplicates: DuplicateWindow | None = None,
    ) -> Intent:
        """Record that a command is about to run, unless an earlier order answers this one.

        This process owns the new execution, and has its lease for `START_LEASE_SECONDS`.

        Args:
            vps_id: where.
            command: the judged text.
            policy: the label of the policy that allowed it.
            principal: who orders it; orders and keys of other principals do not count.
            key: the caller's idempotency key. With one, only the same key is a duplicate.
                Without one, the same command with an unknown outcome is in the way, however old,
                until it was ordered with a key after that.
            duplicates: when the same command is a duplicate; None for never.

        Raises:
            KeyConflict: the key belongs to another command.
        """
        ...

    async def record_foreign(
        self, vps_id: str, pid: int, lease_seconds: float, principal: str = LOCAL
    ) -> tuple[Execution, bool] | None:
        """The newest execution with this pid; else a new record for a foreign command.

        The new record is stored at once, so that no other process polls for the same pid.

        Returns:
            The execution, and whether its record is new; None if the pid is that of another
            principal's command, which nobody else may ask for.
        """
        ...

    async def forget(self, record: Execution) -> None:
        """Delete the record of a foreign command that HostUp does not know."""
        ...

    # ------------------------------------------------------------------ a life

    async def mark_sent(self, record: Execution) -> Execution:
        """Record that the request to start it goes out now."""
        ...

    async def mark_unsent(self, record: Execution) -> Execution:
        """Record that the request certainly did not arrive, so that it may be sent again."""
        ...

    async def mark_running(
        self, record: Execution, pid: int, lease_seconds: float = START_LEASE_SECONDS
    ) -> Execution:
        """Record the process id that HostUp returned.

        The guest gives a pid to a new command only when the older command is gone. So an older
        execution with this pid becomes `lost` (`pid_reused`), and a result that came for the pid
        since this command was sent becomes this command's.
        """
        ...

    async def complete(
        self,
        record: Execution,
        *,
        exit_code: int | None,
        signal: int | None,
        stdout: Stream,
        stderr: Stream,
        is_contested: bool = False,
    ) -> Execution:
        """Record the result, as it came.

        Args:
            record: whose pid the result came for. If a newer command has that pid by now, the
                result is the newer one's.
            exit_code: None after an abnormal end.
            signal: the signal's number where HostUp gave one.
            stdout: as it came.
            stderr: as it came.
            is_contested: whether a start is pending on this VPS that may be given this pid. Then,
                or if another process has a pending start there, the execution stays `running`
                with its result until `confirm_result`.
        """
        ...

    async def confirm_result(self, record: Execution) -> Execution:
        """Complete an execution whose result was contested: its pid was given to no other."""
        ...

    async def end(
        self, record: Execution, kind: EndKind, *, code: str, message: str, advice: str
    ) -> Execution:
        """Record that it is over without a result, and why."""
        ...

    async def give_up(self, record: Execution) -> Execution:
        """Record a running execution as `lost` (`given_up`): nobody polls for it any more.

        Nothing changes while a process holds its lease.
        """
        ...

    async def replace_output(
        self, record: Execution, prepared: Output, *, keep_raw: bool
    ) -> Execution:
        """Put the prepared output of a result in place of what came.

        Args:
            record: a completed execution.
            prepared: what may be shown.
            keep_raw: whether to keep what came beside it. If not, and secrets were removed, what
                came is erased from the disk, at once or by `erase_replaced`.
        """
        ...

    async def mark_read(self, record: Execution) -> None:
        """Record that a caller was told its end."""
        ...

    async def lease(
        self, record: Execution, seconds: float, *, owner_is_gone: bool = False
    ) -> bool:
        """Take or renew the right to poll for an execution; whether this process has it now.

        Args:
            record: the execution; its `owner` is whom the lease is taken from.
            seconds: for how long.
            owner_is_gone: whether that process is known to be dead, so that its lease is void.
        """
        ...

    # ------------------------------------------------------------------ reading

    async def get(self, exec_id: str) -> Execution | None:
        """The execution with this handle."""
        ...

    async def output(self, record: Execution) -> Output:
        """What a command wrote, as it is stored now; empty where there is nothing."""
        ...

    async def starts_elsewhere(self, vps_id: str) -> list[Execution]:
        """Executions that other processes are starting on this VPS: each may be given any pid."""
        ...

    async def unfinished(self, since: float, limit: int) -> list[Execution]:
        """Executions that were ordered after `since` and are not over; newest first."""
        ...

    async def overdue(self, until: float, limit: int) -> list[Execution]:
        """Executions ordered until then that are not over and have no lease; newest first."""
        ...

    async def unprepared(self, limit: int) -> list[Execution]:
        """Results whose output was not prepared, since their process ended; newest first."""
        ...

    # ------------------------------------------------------------------ retention

    async def purge(self, limits: Retention, now: float) -> int:
        """Drop outputs and records that are beyond the limits. Only what is over is touched.

        The clock may be wrong, by years: a machine starts without one, or somebody mistypes a date.
        So nothing is dropped when it is first found to be too old. The time is noted instead, and
        the thing is dropped

        - an hour later, if it is still too old then. A clock that was put right within the hour
          costs nothing: notes of what is not too old, and notes in the future, are removed.
        - after its whole term once more, if nobody has seen it or it keeps a command from running
          twice: an end that nobody was told, a record with an idempotency key, an unknown outcome.

        The same holds for what was recorded while the clock was far behind. A clock that is wrong
        for hours costs outputs, and records without a key, of commands whose end was told.

        Args:
            limits: what is kept.
            now: seconds since the epoch.

        Returns:
            How many outputs were dropped. Their records stay, with the time.
        """
        ...

    async def erase_replaced(self) -> bool:
        """Erase from the disk what was replaced or dropped, where that was not possible before.

        Returns:
            Whether nothing is left to erase.
        """
        ...
