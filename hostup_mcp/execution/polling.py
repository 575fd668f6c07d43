"""Polls for a result: from a pid on disk to a result on disk, with one poller over all processes.

The guest agent returns a result only once, so only the process that holds the lease polls. The
others watch the journal, and take over when the lease runs out or its holder has ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import anyio

from hostup_mcp.execution.events import first_of
from hostup_mcp.execution.faults import (
    GUEST_FROZEN,
    PID_UNKNOWN,
    VPS_REBOOTED,
    Fault,
    denies,
    lost,
    recognised,
)
from hostup_mcp.execution.job import Job
from hostup_mcp.execution.journal.errors import JournalError
from hostup_mcp.execution.journal.owner import current_owner, has_gone
from hostup_mcp.execution.journal.protocol import Journal
from hostup_mcp.execution.journal.records import Completed, Ended, Execution, Running, Stream
from hostup_mcp.execution.large_results import LargeResults
from hostup_mcp.execution.pending_starts import PendingStarts
from hostup_mcp.execution.schedule import RetryLimits, Schedule, rate_limit_pause
from hostup_mcp.execution.storing import store_end, write_until_stored
from hostup_mcp.hostup.agent import CommandState
from hostup_mcp.hostup.client import HostUpClient
from hostup_mcp.hostup.errors import ApiError, HostUpError, MalformedReply, PageReply, RateLimited

_WATCH_SECONDS: Final = (0.1, 2.0)
# An uptime may be some seconds old when HostUp tells it.
_UPTIME_SLACK_SECONDS: Final = 60.0
_STATUS_AGAIN_SECONDS: Final = 10.0
# Without an uptime: too short for a restart, and for another command with the same pid.
_LOST_IS_OURS_SECONDS: Final = 120.0
# One request may take a minute; the journal and a busy machine take more.
_LEASE_MARGIN_SECONDS: Final = 90.0


class Poller:
    """Asks for results until they are on disk."""

    def __init__(
        self,
        client: HostUpClient,
        journal: Journal,
        schedule: Schedule,
        limits: RetryLimits,
        pending: PendingStarts,
        *,
        closing: anyio.Event,
        clock: Callable[[], float] = time.time,
        me: Callable[[], str] = current_owner,
    ) -> None:
        """The poller.

        Args:
            client: the API.
            journal: where the executions are.
            schedule: when to poll.
            limits: how long to go on.
            pending: the starts that may be given any pid.
            closing: set when the server ends.
            clock: seconds since the epoch.
            me: names this process, as an owner of executions.
        """
        self._client = client
        self._journal = journal
        self._schedule = schedule
        self._limits = limits
        self._pending = pending
        self._closing = closing
        self._clock = clock
        self._me = me
        self._large_results = LargeResults()

    async def poll(self, job: Job, pid: int, client: HostUpClient, *, resumed: bool) -> None:
        """Poll until the end of a command is on disk, or this server closes.

        Args:
            job: whose execution is running, or was lost lately.
            pid: its process id.
            client: the API, on the execution's own connection.
            resumed: whether polling has a gap: another process began it, or this one stopped.
        """
        if resumed and not await self._wait_for_lease(job):
            return
        state = job.execution.state
        if isinstance(state, Running) and state.received_at is not None:
            await self._confirm_result(job)
            return
        poll = _PollState(job, pid, client, suspect=resumed, lease_until=job.execution.lease_until)
        now = anyio.current_time()
        began = now if job.started_at is None else job.started_at
        # The time that it took to store the pid is part of the first pause.
        pause = max(0.0, self._schedule.pause(0, 0.0) - (now - began))
        while not await self._pause(job, pause, hurry=poll.hurry):
            job.polls += 1
            pause = self._schedule.pause(job.polls, anyio.current_time() - began)
            if not await self._keep_lease(poll, pause):
                return
            asked = await self._ask(poll)
            if asked is None:
                return
            await client.aclose()  # the next poll goes over a new connection
            pause = max(pause, asked) if asked else pause
            if poll.denied_since is not None:
                pause = min(pause, max(self._limits.lost_after / 8, self._schedule.shortest))
            if job.waiting == 0 and self._is_too_old(job.execution):
                return

    def _is_too_old(self, execution: Execution) -> bool:
        return self._clock() - execution.created_at > self._limits.reap

    # ------------------------------------------------------------------ leases

    async def _wait_for_lease(self, job: Job) -> bool:
        """Wait for the lease; False if the end is stored first, or the server closes."""
        pause, longest = _WATCH_SECONDS
        while True:
            record = await self._journal.get(job.execution.exec_id)
            if record is None:  # forgotten: a foreign command that HostUp does not know
                job.problem = PID_UNKNOWN
                return False
            job.execution = record
            if isinstance(record.state, Completed):
                return False
            gone = has_gone(record, self._me(), self._clock())
            if await self._journal.lease(record, _LEASE_MARGIN_SECONDS, owner_is_gone=gone):
                return True
            if isinstance(record.state, Ended):
                return False
            if await self._pause(job, pause, hurry=False):
                return False
            job.answer()
            pause = min(longest, pause * 1.5)

    async def _keep_lease(self, poll: _PollState, pause: float) -> bool:
        """Renew the lease if it would run out before the next poll; False if it cannot be had."""
        now = self._clock()
        if poll.lease_until - now > _LEASE_MARGIN_SECONDS:
            return True
        seconds = pause + 2 * _LEASE_MARGIN_SECONDS + self._client.waiting_seconds
        if await self._journal.lease(poll.job.execution, seconds):
            poll.lease_until = now + seconds
            return True
        if not await self._wait_for_lease(poll.job):
            return False
        poll.suspect = True
        poll.lease_until = now + _LEASE_MARGIN_SECONDS
        return True

    # ------------------------------------------------------------------ one poll

    async def _ask(self, poll: _PollState) -> float | None:
        """Poll once; None if it is over, else the seconds that HostUp wants to pass, mostly 0."""
        job = poll.job
        if poll.suspect and await self._is_anothers(poll):
            return None
        poll.hurry = True
        async with self._large_results.place() as take_place:
            try:
                state = await poll.client.get_command(job.execution.vps_id, poll.pid, take_place)
            except HostUpError as error:
                return await self._failed(poll, error)
            job.problem = None
            poll.denied_since, poll.reply_was_lost, poll.was_unreadable = None, False, False
            starts = self._pending.now(job.execution.vps_id)
            await self._store_reply(poll, state, is_contested=bool(starts))
        if state.exited:
            await self._confirm_result(job, starts)
            return None
        job.answer()
        return 0.0

    async def _failed(self, poll: _PollState, error: HostUpError) -> float | None:
        job, pause = poll.job, 0.0
        poll.suspect = True
        if isinstance(job.execution.state, Ended):
            return None  # it counted as lost before, and was not found again
        is_denial = denies(error)
        poll.was_unreadable |= is_denial and isinstance(error, MalformedReply)
        if not isinstance(error, PageReply):
            poll.reply_was_lost |= error.transient and not error.nothing_ran and not is_denial
        if is_denial:
            now = anyio.current_time()
            poll.denied_since = now if poll.denied_since is None else poll.denied_since
            if await self._denied(poll, error, now - poll.denied_since):
                return None
        elif isinstance(error, RateLimited):
            asked = rate_limit_pause(error, zero_is_unsaid=True)
            pause = min(asked, self._limits.retry_after_longest)
            poll.hurry = False
        elif not error.transient:
            job.problem = Fault.of(error)
            if not job.is_confirmed:
                await self._journal.forget(job.execution)
            return None
        frozen = isinstance(error, ApiError) and recognised(error.detail) == GUEST_FROZEN
        job.problem = GUEST_FROZEN if frozen else Fault.of(error)
        job.answer()
        return pause

    async def _store_reply(
        self, poll: _PollState, state: CommandState, *, is_contested: bool
    ) -> None:
        """Store what HostUp says of a command that it knows."""
        job, record = poll.job, poll.job.execution
        job.is_confirmed = True
        if state.exited:
            await write_until_stored(
                job,
                lambda: self._journal.complete(
                    record,
                    exit_code=state.exit_code,
                    signal=state.signal,
                    stdout=Stream(state.stdout, state.stdout_truncated),
                    stderr=Stream(state.stderr, state.stderr_truncated),
                    is_contested=is_contested,
                ),
            )
        elif isinstance(record.state, Ended):  # it counted as lost, and is here after all
            await write_until_stored(job, lambda: self._journal.mark_running(record, poll.pid))

    async def _confirm_result(self, job: Job, starts: frozenset[int] = frozenset()) -> None:
        """Wait until it is known whose a contested result is: a start may be given its pid.

        Only starts count that were pending when it came, here or in living processes.
        """
        state = job.execution.state
        if not isinstance(state, Running) or state.received_at is None:
            return
        await self._pending.ended(starts, self._closing)
        record = job.execution
        others: frozenset[str] | None = None
        while not self._closing.is_set():
            with suppress(JournalError):
                found = await self._journal.starts_elsewhere(record.vps_id)
                me, now = self._me(), self._clock()
                left = frozenset(o.exec_id for o in found if not has_gone(o, me, now))
                others = left if others is None else others & left
            if others is not None and not others:
                await write_until_stored(job, lambda: self._journal.confirm_result(record))
                return
            await anyio.sleep(_WATCH_SECONDS[0])

    async def _denied(self, poll: _PollState, error: HostUpError, seconds: float) -> bool:
        """HostUp has denied the result for so many seconds: whether that is the end of it."""
        job = poll.job
        other = await self._journal.get(job.execution.exec_id)
        if other is not None and isinstance(other.state, Completed | Ended):
            # The result is stored already, or known to be gone.
            job.execution, job.problem = other, None
            return True
        if not job.is_confirmed:
            await self._journal.forget(job.execution)
            message = f"{PID_UNKNOWN.message} {error.message}"
            job.problem = Fault(PID_UNKNOWN.code, message, PID_UNKNOWN.advice)
            return True
        if seconds < self._limits.lost_after:
            return False
        fault = lost(error, reply_was_lost=poll.reply_was_lost, was_unreadable=poll.was_unreadable)
        await store_end(self._journal, job, "lost", fault)
        return True

    async def _is_anothers(self, poll: _PollState) -> bool:
        """Whether the pid must not be asked for: the VPS was restarted since, or may have been."""
        job = poll.job
        rebooted = await self._rebooted(poll)
        state = job.execution.state
        if isinstance(state, Running) and rebooted:
            await store_end(self._journal, job, "lost", VPS_REBOOTED)
            return True
        if isinstance(state, Ended) and rebooted is None:
            return self._clock() - state.ended_at > _LOST_IS_OURS_SECONDS
        return bool(rebooted)

    async def _rebooted(self, poll: _PollState) -> bool | None:
        """Whether the VPS was started after the command was; None if HostUp does not tell.

        The command's age comes from the clock that does not jump, if this process started it.
        """
        job = poll.job
        state = job.execution.state
        sent_at = state.sent_at if isinstance(state, Running | Ended) else None
        if sent_at is None or not job.is_confirmed:
            poll.suspect = False
            return False
        now = anyio.current_time()
        if now - poll.status_at < _STATUS_AGAIN_SECONDS:
            return None
        poll.status_at = now
        try:
            status = await self._client.get_status(job.execution.vps_id)
        except HostUpError:
            return None
        poll.suspect = False
        if status.uptime_seconds is None:
            return None
        age = self._clock() - sent_at if job.started_at is None else now - job.started_at
        return status.uptime_seconds < age - _UPTIME_SLACK_SECONDS

    async def _pause(self, job: Job, seconds: float, *, hurry: bool) -> bool:
        """Sleep, less if `hurry` and somebody asks; True if the runner is closing."""
        job.wake = anyio.Event()
        with anyio.move_on_after(seconds):
            await first_of(self._closing, *([job.wake] if hurry else []))
        return self._closing.is_set()


@dataclass(slots=True)
class _PollState:
    """What the poller knows of one command.

    Attributes:
        job: the command.
        pid: its process id.
        client: polls go over its connection.
        suspect: whether the pid may be another command's by now, so that the uptime comes first.
        lease_until: when the lease ends, seconds since the epoch.
        denied_since: since when HostUp denies it without a break, on anyio's clock; None if it
            does not.
        reply_was_lost: whether a reply that may have held the result did not arrive.
        was_unreadable: whether a reply arrived that could not be read.
        hurry: whether somebody who asks may shorten the pause.
        status_at: when the uptime was last asked for, on anyio's clock.
    """

    job: Job
    pid: int
    client: HostUpClient
    suspect: bool
    lease_until: float
    denied_since: float | None = None
    reply_was_lost: bool = False
    was_unreadable: bool = False
    hurry: bool = True
    status_at: float = float("-inf")
