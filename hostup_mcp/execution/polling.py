"""From a pid on disk to a result on disk: one poller for a command, over all processes.

The guest agent hands a result out once, so only the process that holds the lease asks. The others
watch the journal, and take over when the lease runs out or its holder is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio

from hostup_mcp.execution.admission import Admission
from hostup_mcp.execution.database import JournalError
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
from hostup_mcp.execution.journal import Journal
from hostup_mcp.execution.owner import has_gone
from hostup_mcp.execution.recorder import Recorder
from hostup_mcp.execution.records import Completed, Ended, Execution, Running
from hostup_mcp.execution.schedule import Schedule
from hostup_mcp.execution.starting import StartsUnderWay
from hostup_mcp.hostup.agent import CommandState
from hostup_mcp.hostup.client import HostUpClient
from hostup_mcp.hostup.errors import ApiError, HostUpError, MalformedReply, PageReply, RateLimited

_RATE_LIMIT_SECONDS: Final = 5.0
_WATCH_SECONDS: Final = (0.1, 2.0)
# An uptime may be some seconds old when HostUp tells it.
_UPTIME_SLACK_SECONDS: Final = 60.0
_STATUS_AGAIN_SECONDS: Final = 10.0
# Without an uptime: too soon for a restart, and for another command with the same pid.
_LOST_IS_OURS_SECONDS: Final = 120.0
# One request may take a minute; then there are the journal and a machine that is busy.
_LEASE_MARGIN_SECONDS: Final = 90.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things are put up with, in seconds.

    Attributes:
        lost_after: how long HostUp must deny a started command, again and again, before its
            result is taken for lost.
        retry_after_longest: the longest `Retry-After` that is obeyed.
        start: for how long a start that certainly did not arrive is tried again.
        reap: for how long after its start a command is asked for that nobody waits for.
    """

    lost_after: float = 15.0
    retry_after_longest: float = 900.0
    start: float = 30.0
    reap: float = 86_400.0


class Poller:
    """Asks for results until they are on disk."""

    def __init__(
        self,
        client: HostUpClient,
        journal: Journal,
        recorder: Recorder,
        schedule: Schedule,
        patience: Patience,
        under_way: StartsUnderWay,
        *,
        closing: anyio.Event,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """The poller.

        Args:
            client: the API.
            journal: what is called through `recorder`.
            recorder: writes the journal.
            schedule: when to ask.
            patience: how long to go on.
            under_way: the starts that a new pid may come from.
            closing: set when the server ends.
            clock: seconds since the epoch.
        """
        self._client = client
        self._journal = journal
        self._recorder = recorder
        self._schedule = schedule
        self._patience = patience
        self._under_way = under_way
        self._closing = closing
        self._clock = clock
        self._admission = Admission()

    async def poll(self, job: Job, pid: int, client: HostUpClient, *, resumed: bool) -> None:
        """Ask until the end of a command is on disk, or this server closes.

        Args:
            job: whose execution is running, or was lost lately.
            pid: its process id.
            client: the API, on the execution's own connection.
            resumed: whether somebody else began it: another process, or this one before a pause.
        """
        if resumed and not await self._come_by_lease(job):
            return
        state = job.execution.state
        if isinstance(state, Running) and state.received_at is not None:
            await self._settle(job)
            return
        turn = _Turn(job, pid, client, suspect=resumed, lease_until=job.execution.lease_until)
        now = anyio.current_time()
        began = now if job.started_at is None else job.started_at
        # What putting the pid on disk took is part of the first pause.
        pause = max(0.0, self._schedule.pause(0, 0.0) - (now - began))
        while not await self._pause(job, pause, hurry=turn.hurry):
            job.polls += 1
            pause = self._schedule.pause(job.polls, anyio.current_time() - began)
            if not await self._keep_lease(turn, pause):
                return
            asked = await self._ask(turn)
            if asked is None:
                return
            await client.aclose()  # the next question goes over a new connection
            pause = max(pause, asked) if asked else pause
            if turn.denied_since is not None:
                pause = min(pause, max(self._patience.lost_after / 8, self._schedule.shortest))
            if job.waiting == 0 and self._is_too_old(job.execution):
                return

    def _is_too_old(self, execution: Execution) -> bool:
        return self._clock() - execution.created_at > self._patience.reap

    # ------------------------------------------------------------------ leases

    async def _come_by_lease(self, job: Job) -> bool:
        """Wait until this process may ask; False if the end came to disk, or we close, before."""
        pause, longest = _WATCH_SECONDS
        while True:
            record = await self._recorder.once(partial(self._journal.get, job.execution.exec_id))
            if record is None:  # of a foreign command that HostUp does not know
                job.problem = PID_UNKNOWN
                return False
            job.execution = record
            if isinstance(record.state, Completed):
                return False
            gone = has_gone(record, self._clock())
            take = partial(self._journal.lease, record, _LEASE_MARGIN_SECONDS, owner_is_gone=gone)
            if await self._recorder.once(take):
                return True
            if isinstance(record.state, Ended):
                return False
            if await self._pause(job, pause, hurry=False):
                return False
            job.answer()
            pause = min(longest, pause * 1.5)

    async def _keep_lease(self, turn: _Turn, pause: float) -> bool:
        """Renew the lease where it would run out before the next question; False: it is lost."""
        now = self._clock()
        if turn.lease_until - now > _LEASE_MARGIN_SECONDS:
            return True
        seconds = pause + 2 * _LEASE_MARGIN_SECONDS + self._client.waiting_seconds
        take = partial(self._journal.lease, turn.job.execution, seconds)
        if await self._recorder.once(take):
            turn.lease_until = now + seconds
            return True
        if not await self._come_by_lease(turn.job):
            return False
        turn.suspect = True
        turn.lease_until = now + _LEASE_MARGIN_SECONDS
        return True

    # ------------------------------------------------------------------ one question

    async def _ask(self, turn: _Turn) -> float | None:
        """Ask once. None: it is over. Else the least pause that HostUp wants, mostly 0."""
        job = turn.job
        if turn.suspect and await self._is_anothers(turn):
            return None
        turn.hurry = True
        async with self._admission.place() as take_place:
            try:
                state = await turn.client.get_command(job.execution.vps_id, turn.pid, take_place)
            except HostUpError as error:
                return await self._failed(turn, error)
            job.problem = None
            turn.denied_since, turn.reply_was_lost, turn.was_unreadable = None, False, False
            starts = self._under_way.now(job.execution.vps_id)
            await self._take(turn, state, is_contested=bool(starts))
        if state.exited:
            await self._settle(job, starts)
            return None
        job.answer()
        return 0.0

    async def _failed(self, turn: _Turn, error: HostUpError) -> float | None:
        job, pause = turn.job, 0.0
        turn.suspect = True
        if isinstance(job.execution.state, Ended):
            return None  # taken for lost before, and not found again
        is_denial = denies(error)
        turn.was_unreadable |= is_denial and isinstance(error, MalformedReply)
        if not isinstance(error, PageReply):
            turn.reply_was_lost |= error.transient and not error.nothing_ran and not is_denial
        if is_denial:
            now = anyio.current_time()
            turn.denied_since = now if turn.denied_since is None else turn.denied_since
            if await self._denied(turn, error, now - turn.denied_since):
                return None
        elif isinstance(error, RateLimited):
            asked = error.rate_limit.retry_after if error.rate_limit else None
            pause = min(asked or _RATE_LIMIT_SECONDS, self._patience.retry_after_longest)
            turn.hurry = False
        elif not error.transient:
            job.problem = Fault.of(error)
            if not job.is_confirmed:
                await self._recorder.once(partial(self._journal.forget, job.execution))
            return None
        frozen = isinstance(error, ApiError) and recognised(error.detail) == GUEST_FROZEN
        job.problem = GUEST_FROZEN if frozen else Fault.of(error)
        job.answer()
        return pause

    async def _take(self, turn: _Turn, state: CommandState, *, is_contested: bool) -> None:
        """HostUp knows the command: put what it says on disk."""
        job = turn.job
        job.is_confirmed = True
        if state.exited:
            await self._recorder.complete(job, state, is_contested=is_contested)
        elif isinstance(job.execution.state, Ended):  # taken for lost, and here after all
            again = partial(self._journal.mark_running, job.execution, turn.pid)
            await self._recorder.insist(job, again)

    async def _settle(self, job: Job, starts: frozenset[int] = frozenset()) -> None:
        """Wait until it is known whose a result on disk is: a start may be given its pid.

        Only starts count that were under way when it came: here, or in living processes.
        """
        state = job.execution.state
        if not isinstance(state, Running) or state.received_at is None:
            return
        await self._under_way.ended(starts, self._closing)
        find = partial(self._journal.being_sent, job.execution.vps_id)
        others: frozenset[str] | None = None
        while not self._closing.is_set():
            with suppress(JournalError):
                found = await self._recorder.once(find)
                left = frozenset(o.exec_id for o in found if not has_gone(o, self._clock()))
                others = left if others is None else others & left
            if others is not None and not others:
                await self._recorder.insist(job, partial(self._journal.settle, job.execution))
                return
            await anyio.sleep(_WATCH_SECONDS[0])

    async def _denied(self, turn: _Turn, error: HostUpError, seconds: float) -> bool:
        """HostUp has no result to give, for so long now: whether that is the end of it."""
        job = turn.job
        other = await self._recorder.once(partial(self._journal.get, job.execution.exec_id))
        if other is not None and isinstance(other.state, Completed | Ended):
            # The result is where it belongs already, or known to be gone.
            job.execution, job.problem = other, None
            return True
        if not job.is_confirmed:
            await self._recorder.once(partial(self._journal.forget, job.execution))
            message = f"{PID_UNKNOWN.message} {error.message}"
            job.problem = Fault(PID_UNKNOWN.code, message, PID_UNKNOWN.advice)
            return True
        if seconds < self._patience.lost_after:
            return False
        fault = lost(error, reply_was_lost=turn.reply_was_lost, was_unreadable=turn.was_unreadable)
        await self._recorder.end(job, "lost", fault)
        return True

    async def _is_anothers(self, turn: _Turn) -> bool:
        """Whether the pid must be left alone: the VPS was restarted since, or may have been."""
        job = turn.job
        rebooted = await self._rebooted(turn)
        state = job.execution.state
        if isinstance(state, Running) and rebooted:
            await self._recorder.end(job, "lost", VPS_REBOOTED)
            return True
        if isinstance(state, Ended) and rebooted is None:
            return self._clock() - state.ended_at > _LOST_IS_OURS_SECONDS
        return bool(rebooted)

    async def _rebooted(self, turn: _Turn) -> bool | None:
        """Whether the VPS was started after the command was; None if HostUp does not tell.

        How long ago that was is told by the clock that does not jump, if this process started it.
        """
        job = turn.job
        state = job.execution.state
        sent_at = state.sent_at if isinstance(state, Running | Ended) else None
        if sent_at is None or not job.is_confirmed:
            turn.suspect = False
            return False
        now = anyio.current_time()
        if now - turn.status_at < _STATUS_AGAIN_SECONDS:
            return None
        turn.status_at = now
        try:
            status = await self._client.get_status(job.execution.vps_id)
        except HostUpError:
            return None
        turn.suspect = False
        if status.uptime_seconds is None:
            return None
        age = self._clock() - sent_at if job.started_at is None else now - job.started_at
        return status.uptime_seconds < age - _UPTIME_SLACK_SECONDS

    async def _pause(self, job: Job, seconds: float, *, hurry: bool) -> bool:
        """Sleep, less if somebody asks and haste is allowed; True if the runner is closing."""
        job.wake = anyio.Event()
        with anyio.move_on_after(seconds):
            await first_of(self._closing, *([job.wake] if hurry else []))
        return self._closing.is_set()


@dataclass(slots=True)
class _Turn:
    """What a poller remembers of one command.

    Attributes:
        job: the command.
        pid: its process id.
        client: over whose connection results are asked for.
        suspect: whether the pid may have become another's, so that the uptime must be seen first.
        lease_until: seconds since the epoch.
        denied_since: since when HostUp denies it without a break; on anyio's clock.
        reply_was_lost: whether a reply that may have held the result did not arrive.
        was_unreadable: whether one arrived that could not be read.
        hurry: whether somebody who asks may shorten the pause.
        status_at: when the uptime was asked last; on anyio's clock.
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
