"""Runs commands: from an order to the result on disk.

Each execution has a task of its own, which no caller's cancellation reaches. The guest agent
returns a result only once, so a request to HostUp that is under way is finished and its answer
kept. Polling goes on when no caller waits any more, and for what another process left unfinished.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskGroup

from hostup_mcp.execution.availability import Availability
from hostup_mcp.execution.connections import Connections
from hostup_mcp.execution.faults import (
    INTERNAL,
    INTERRUPTED_BEFORE,
    INTERRUPTED_WHILE,
    Fault,
)
from hostup_mcp.execution.job import Job
from hostup_mcp.execution.journal.errors import JournalError
from hostup_mcp.execution.journal.limits import DuplicateWindow, Retention
from hostup_mcp.execution.journal.losses import GIVEN_UP, GONE_FOR_GOOD
from hostup_mcp.execution.journal.owner import current_owner, is_ours_to_take
from hostup_mcp.execution.journal.protocol import Journal
from hostup_mcp.execution.journal.records import (
    LOCAL,
    Claim,
    Completed,
    Ended,
    Execution,
    Intended,
    Intent,
    Output,
    Running,
    Sent,
)
from hostup_mcp.execution.outputs import Outputs
from hostup_mcp.execution.pending_starts import PendingStarts
from hostup_mcp.execution.polling import Poller
from hostup_mcp.execution.recovery import Recovery, RecoveryActions
from hostup_mcp.execution.schedule import RetryLimits, Schedule
from hostup_mcp.execution.starting import Starter
from hostup_mcp.execution.storing import promptly, store_end
from hostup_mcp.hostup.client import HostUpClient
from hostup_mcp.hostup.errors import HostUpError
from hostup_mcp.policy.judge import ApprovedCommand

_FINISH_SECONDS: Final = 1.5
# A backup freezes a guest for minutes at most; after an hour a pid may be another command's.
_LOST_IS_ASKED_AGAIN_SECONDS: Final = 3600.0
_FOREIGN_LEASE_SECONDS: Final = 120.0

_Begin = Callable[[Job, HostUpClient], Awaitable[None]]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    """A command to be run.

    Attributes:
        vps_id: where.
        command: the approved command.
        idempotency_key: the caller's; None for none.
        service_status: its status in HostUp's inventory, when last read; empty if none.
        principal: who orders it.
    """

    vps_id: str
    command: ApprovedCommand
    idempotency_key: str | None = None
    service_status: str = ""
    principal: str = LOCAL


class Runner:
    """Drives executions in the background, and hands out their jobs."""

    def __init__(
        self,
        client: HostUpClient,
        journal: Journal,
        tasks: TaskGroup,
        schedule: Schedule,
        limits: RetryLimits,
        *,
        duplicates: DuplicateWindow | None = None,
        retention: Retention | None = None,
        secret: str = "",
        keep_raw: bool = False,
        clock: Callable[[], float] = time.time,
        me: Callable[[], str] = current_owner,
    ) -> None:
        """A runner for one journal.

        Args:
            client: the API.
            journal: where everything is kept.
            tasks: where executions are driven; whoever owns it calls `aclose` before it ends.
            schedule: when to poll.
            limits: how long to go on.
            duplicates: when an order is a duplicate of an earlier one; None for never.
            retention: what the journal keeps; None for everything.
            secret: HostUp's key, which is removed from output.
            keep_raw: whether output is kept as it came, too.
            clock: seconds since the epoch.
            me: names this process, as an owner of executions.
        """
        self._client = client
        self._journal = journal
        self._tasks = tasks
        self._schedule = schedule
        self._duplicates = duplicates
        self._clock = clock
        self._me = me
        self._jobs: dict[str, Job] = {}
        self._closing = anyio.Event()
        self._outputs = Outputs(journal, secret, keep_raw=keep_raw)
        self.availability = Availability(client)
        pending = PendingStarts()
        self._connections = Connections(client)
        self._starter = Starter(
            journal,
            self.availability,
            pending,
            retry_seconds=limits.start,
            closing=self._closing,
        )
        self.recovery = Recovery(
            journal,
            RecoveryActions(self._jobs.__contains__, self.resume, self.shown),
            reap_seconds=limits.reap,
            retention=retention,
            closing=self._closing,
            clock=clock,
            me=me,
        )
        self._poller = Poller(
            client,
            journal,
            schedule,
            limits,
            pending,
            closing=self._closing,
            clock=clock,
            me=me,
        )

    async def aclose(self) -> None:
        """Stop polling, and give requests under way 1.5 s to end.

        Commands that still run stay `running` in the journal.
        """
        self._closing.set()
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(_FINISH_SECONDS):
                for job in list(self._jobs.values()):
                    await job.done.wait()
            await self._connections.aclose()
            await self._client.aclose()

    # ------------------------------------------------------------------ jobs

    async def start(self, order: Order) -> tuple[Job, Claim]:
        """Begin a new execution, or find the earlier one that answers the order.

        Its intent is on disk when this returns.

        Returns:
            The job, and what became of the order; for `unclear`, the job is done already.

        Raises:
            JournalError: the order could not be recorded, so it will not be sent.
            KeyConflict: its idempotency key belongs to another command.
        """
        while True:
            intent = await self._record_intent(order)
            if intent.claim == "new":
                run = partial(self._start, order)
                return self._drive(Job(intent.execution), run), "new"
            if intent.claim == "unclear":
                job = Job(intent.execution)
                job.close()
                return job, "unclear"
            job = await self.resume(intent.execution)
            # One that an ended process left unsent makes room for this order.
            if not _certainly_not_run(job.execution):
                return job, intent.claim

    async def _record_intent(self, order: Order) -> Intent:
        recorded = self._journal.record_intent(
            order.vps_id,
            order.command.body,
            order.command.policy,
            principal=order.principal,
            key=order.idempotency_key,
            duplicates=self._duplicates,
        )
        return await promptly(self._journal, recorded)

    async def look_ahead(self, vps_id: str) -> None:
        """Probe a VPS before a command needs it. If that fails, the command probes again."""
        client = self._connections.new()
        try:
            await self.availability.check(vps_id, client=client)
        except HostUpError:
            self.availability.forget(vps_id)
        finally:
            with anyio.CancelScope(shield=True):
                await self._connections.keep(vps_id, client)

    async def get(self, exec_id: str, principal: str = LOCAL) -> Execution | None:
        """This principal's execution with this handle, from the journal. Raises `JournalError`."""
        found = await promptly(self._journal, self._journal.get(exec_id))
        return found if found is not None and found.principal == principal else None

    async def resume(self, execution: Execution) -> Job:
        """A job for an execution of the journal: the one at work, or a new one.

        An execution that is over gives a job that is done.
        """
        if job := self._jobs.get(execution.exec_id):
            return job
        # Only HostUp's answer tells that a foreign command exists.
        job = Job(execution, is_confirmed=bool(execution.command))
        state = execution.state
        is_unprepared = isinstance(state, Completed) and not state.is_prepared
        if isinstance(state, Running) or is_unprepared or self._may_be_found(execution):
            return self._drive(job, None)
        if isinstance(state, Intended | Sent) and await self._close_orphan(job) is None:
            return self._drive(job, self._watch)
        job.close()
        return job

    async def follow(self, vps_id: str, pid: int, principal: str = LOCAL) -> Job | None:
        """A job for the newest execution with this pid, or for a foreign command.

        None if it is another principal's. Raises `JournalError`.
        """
        job = self._at_work(vps_id, pid)
        if job is None:
            known = await promptly(
                self._journal,
                self._journal.record_foreign(vps_id, pid, _FOREIGN_LEASE_SECONDS, principal),
            )
            if known is None:
                return None
            record, is_new = known
            job = self._at_work(vps_id, pid)  # begun while the journal was asked
            if job is None and is_new:
                job = self._drive(Job(record, is_confirmed=False), None)
            elif job is None:
                job = await self.resume(record)
        return job if job.execution.principal == principal else None

    def at_work(self, principal: str) -> int:
        """How many executions of this principal are not over."""
        return sum(job.execution.principal == principal for job in self._jobs.values())

    def _at_work(self, vps_id: str, pid: int) -> Job | None:
        """The job with this pid, which may not be on disk yet."""
        jobs = self._jobs.values()
        return next((j for j in jobs if j.pid == pid and j.execution.vps_id == vps_id), None)

    async def shown(self, execution: Execution) -> Execution:
        """The execution with its output as it may be shown. Raises `JournalError`."""
        return await self._outputs.prepared(execution)

    def output(self, execution: Execution) -> AbstractAsyncContextManager[Output]:
        """What a command wrote, while the block runs. Raises `JournalError`."""
        return self._outputs.read(execution)

    def was_told(self, execution: Execution) -> None:
        """The same as `told`, without waiting for the journal."""
        if not self._closing.is_set():
            self._tasks.start_soon(self.told, execution)

    async def told(self, execution: Execution) -> None:
        """Record that a caller was told the end of an execution."""
        if execution.read_at is None and isinstance(execution.state, Completed | Ended):
            try:
                await promptly(self._journal, self._journal.mark_read(execution))
            except JournalError:
                _logger.warning("it cannot be noted that a result was told")

    def suggest(self, execution: Execution, waited: float) -> tuple[int, str]:
        """Whole seconds after which to ask for this execution again, and why then."""
        return self._schedule.suggest(self.elapsed(execution), waited)

    def elapsed(self, execution: Execution) -> float:
        """Seconds since it was sent, until its end was seen or until now."""
        match execution.state:
            case Intended():
                return 0.0
            case Sent(sent_at=sent_at) | Running(sent_at=sent_at):
                return max(0.0, self._clock() - sent_at)
            case Completed(sent_at=sent_at, finished_at=until):
                return max(0.0, until - sent_at)
            case Ended(sent_at=sent_at, ended_at=until):
                return 0.0 if sent_at is None else max(0.0, until - sent_at)

    async def recover(self) -> None:
        """Resume what ended processes left unfinished, again and again until the server closes."""
        await self.recovery.run()

    # ------------------------------------------------------------------ the driver

    def _may_be_found(self, execution: Execution) -> bool:
        """Whether a lost result may still come: a frozen guest denies it for a while."""
        state = execution.state
        if not isinstance(state, Ended) or state.kind != "lost" or state.code in GONE_FOR_GOOD:
            return False
        if state.code == GIVEN_UP.code:  # nobody polled since, and now somebody asks
            return True
        return self._clock() - state.ended_at < _LOST_IS_ASKED_AGAIN_SECONDS

    def _drive(self, job: Job, begin: _Begin | None) -> Job:
        self._jobs[job.execution.exec_id] = job
        self._tasks.start_soon(self._run, job, begin)
        return job

    async def _run(self, job: Job, begin: _Begin | None) -> None:
        client = self._connections.take(job.execution.vps_id)
        try:
            if begin is not None:
                await begin(job, client)
            job.started.set()
            if job.pid is not None and not isinstance(job.execution.state, Completed):
                # If another process started it, that process keeps polling.
                is_ours = job.execution.owner == self._me() and not job.is_confirmed
                resumed = job.started_at is None and not is_ours
                await self._poller.poll(job, job.pid, client, resumed=resumed)
            job.execution = await self.shown(job.execution)
        except JournalError as error:
            job.problem = Fault.of(error)
        except Exception:  # a fault in one execution must not end the others
            _logger.exception("execution %s", job.execution.exec_id)
            job.problem = INTERNAL
        finally:
            self._jobs.pop(job.execution.exec_id, None)
            job.close()
            with anyio.CancelScope(shield=True):
                await client.aclose()

    async def _start(self, order: Order, job: Job, client: HostUpClient) -> None:
        await self._starter.start(job, order.command, order.service_status, client)

    async def _watch(self, job: Job, _client: HostUpClient) -> None:
        """Wait while another process starts it, until it has or has ended."""
        while isinstance(job.execution.state, Intended | Sent) and not self._closing.is_set():
            if await self._close_orphan(job) is not None:
                return
            with anyio.move_on_after(_WATCH_SECONDS):
                await self._closing.wait()
            found = await promptly(self._journal, self._journal.get(job.execution.exec_id))
            job.execution = found or job.execution
            job.pid = job.execution.pid

    async def _close_orphan(self, job: Job) -> Fault | None:
        """End an execution whose starter has ended; None, and nothing done, if it has not."""
        execution = job.execution
        if not is_ours_to_take(execution, self._me(), self._clock()):
            return None
        sent = isinstance(execution.state, Sent)
        fault = INTERRUPTED_WHILE if sent else INTERRUPTED_BEFORE
        with anyio.move_on_after(_FINISH_SECONDS):
            await store_end(self._journal, job, "unknown" if sent else "not_started", fault)
        return fault


_WATCH_SECONDS: Final = 0.2


def _certainly_not_run(execution: Execution) -> bool:
    return isinstance(execution.state, Ended) and execution.state.kind == "not_started"
