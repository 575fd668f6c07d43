"""Runs commands: from the probe to the result that is on disk.

Each execution is driven by a task of its own, which no caller's cancellation reaches: a request
to HostUp that is under way is finished and its answer kept, because the guest agent hands a
result out once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskGroup

from hostup_mcp.execution.job import Fault, Job
from hostup_mcp.execution.journal import Journal, JournalError
from hostup_mcp.execution.owner import current_owner, is_alive
from hostup_mcp.execution.recorder import Recorder
from hostup_mcp.execution.records import (
    Completed,
    Ended,
    EndKind,
    Execution,
    Intended,
    Running,
    Sent,
)
from hostup_mcp.execution.schedule import Schedule
from hostup_mcp.hostup.agent import CommandState
from hostup_mcp.hostup.client import HostUpClient
from hostup_mcp.hostup.errors import (
    ApiError,
    HostUpError,
    MalformedReply,
    RateLimited,
    ReplyTooLarge,
)
from hostup_mcp.output.clean import one_line
from hostup_mcp.policy.judge import ApprovedCommand

_FINISH_SECONDS: Final = 1.5
_RATE_LIMIT_SECONDS: Final = 5.0
# A backup freezes a guest for minutes at most; after an hour its pids may name other commands.
_LOST_IS_ASKED_AGAIN_SECONDS: Final = 3600.0

_CHECK_BEFORE_REPEAT: Final = (
    "Do not send it again before you have checked whether it ran, for example by what it changes."
)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things are put up with, in seconds.

    Attributes:
        lost_after: how long HostUp must deny a started command, again and again, before its
            result is taken for lost.
        retry_after_longest: the longest `Retry-After` that is obeyed.
    """

    lost_after: float = 15.0
    retry_after_longest: float = 900.0


class Runner:
    """Drives executions in the background, and hands out their jobs."""

    def __init__(
        self,
        client: HostUpClient,
        journal: Journal,
        tasks: TaskGroup,
        schedule: Schedule,
        patience: Patience,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """A runner for one journal.

        Args:
            client: the API.
            journal: where everything is kept.
            tasks: where executions are driven; whoever owns it calls `aclose` before it ends.
            schedule: when to poll.
            patience: how long to go on.
            clock: seconds since the epoch.
        """
        self._client = client
        self._journal = journal
        self._tasks = tasks
        self._schedule = schedule
        self._patience = patience
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        self._closing = anyio.Event()
        self._recorder = Recorder(journal)

    async def aclose(self) -> None:
        """Stop polling, and give the requests that are under way a moment to end.

        What is still running stays so in the journal.
        """
        self._closing.set()
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(_FINISH_SECONDS):
                for job in list(self._jobs.values()):
                    await job.done.wait()
            await self._client.aclose()

    async def start(self, vps_id: str, command: ApprovedCommand) -> Job:
        """Begin a new execution: its intent is on disk when this returns.

        Raises:
            JournalError: it could not be recorded, so it will not be sent.
        """
        intend = partial(self._journal.intend, vps_id, command.body, command.policy)
        execution = await self._recorder.promptly(intend)
        return self._drive(Job(execution), command)

    async def get(self, exec_id: str) -> Execution | None:
        """The execution with this handle, from the journal. Raises `JournalError`."""
        return await self._recorder.promptly(partial(self._journal.get, exec_id))

    async def resume(self, execution: Execution) -> Job:
        """A job for an execution of the journal: the one that is at work, or a new poller.

        An execution that is over gives a job that is done.
        """
        if job := self._jobs.get(execution.exec_id):
            return job
        job = Job(execution)
        if isinstance(execution.state, Running) or self._may_be_found(execution):
            return self._drive(job, None)
        if isinstance(execution.state, Intended | Sent):
            await self._close_orphan(job)
        job.close()
        return job

    async def follow(self, vps_id: str, pid: int) -> Job:
        """A job for the newest execution with this pid, also one that somebody else started."""
        if job := self._at_work(vps_id, pid):
            return job
        known = await self._recorder.promptly(partial(self._journal.find, vps_id, pid))
        if known is not None:
            return await self.resume(known)
        if job := self._at_work(vps_id, pid):
            return job
        return self._drive(Job(self._journal.foreign(vps_id, pid), is_recorded=False), None)

    def _at_work(self, vps_id: str, pid: int) -> Job | None:
        """The job with this pid, also while the pid is not on disk yet."""
        jobs = self._jobs.values()
        return next((j for j in jobs if j.pid == pid and j.execution.vps_id == vps_id), None)

    def suggest(self, execution: Execution) -> int:
        """Whole seconds after which to ask for this execution again."""
        return self._schedule.suggest(self.elapsed(execution))

    def elapsed(self, execution: Execution) -> float:
        """Seconds since it was sent, until its end was seen or until now."""
        state = execution.state
        if isinstance(state, Intended | Ended):
            return 0.0
        until = self._clock() if isinstance(state, Sent | Running) else state.finished_at
        return max(0.0, until - state.sent_at)

    # ------------------------------------------------------------------ the driver

    def _may_be_found(self, execution: Execution) -> bool:
        """Whether a lost result may turn up: a frozen or restarting guest denies it for a while."""
        state = execution.state
        if not isinstance(state, Ended) or state.kind != "lost":
            return False
        return self._clock() - state.ended_at < _LOST_IS_ASKED_AGAIN_SECONDS

    def _drive(self, job: Job, command: ApprovedCommand | None) -> Job:
        self._jobs[job.execution.exec_id] = job
        self._tasks.start_soon(self._run, job, command)
        return job

    async def _run(self, job: Job, command: ApprovedCommand | None) -> None:
        try:
            if command is not None:
                await self._start(job, command)
            job.started.set()
            if job.pid is not None:
                await self._poll(job, job.pid)
        except JournalError as error:
            job.problem = Fault.of(error)
        except Exception:  # one execution's fault must not end the others
            _logger.exception("execution %s", job.execution.exec_id)
            job.problem = Fault(
                "internal_error",
                "hostup-mcp failed in a way it should not.",
                "Ask for the result again; the operator finds the cause in the server's log.",
            )
        finally:
            self._jobs.pop(job.execution.exec_id, None)
            job.close()

    async def _start(self, job: Job, command: ApprovedCommand) -> None:
        vps_id = job.execution.vps_id
        try:
            availability = await self._client.get_availability(vps_id)
        except HostUpError as error:
            await self._recorder.end(job, "not_started", Fault.of(error))
            return
        if availability.available is not True:
            reason = one_line(availability.reason or "HostUp gives no reason").rstrip(".")
            await self._recorder.end(
                job,
                "not_started",
                Fault(
                    "vps_unavailable",
                    f"The VPS takes no commands now: {reason}.",
                    "Start the VPS, or install and start qemu-guest-agent in it, then try again.",
                ),
            )
            return
        job.execution = await self._recorder.once(partial(self._journal.mark_sent, job.execution))
        if job.abandoned or self._closing.is_set():
            fault = Fault(
                "cancelled",
                "The call was cancelled before the command was sent.",
                "Send it again if it is still wanted.",
            )
            await self._recorder.end(job, "not_started", fault)
            return
        try:
            started = await self._client.start_command(vps_id, command.sent)
        except HostUpError as error:
            if error.nothing_ran:
                await self._recorder.end(job, "not_started", Fault.of(error))
            else:
                message = f"It is not known whether the command ran. {error.message}"
                fault = Fault(error.code, message, _CHECK_BEFORE_REPEAT)
                await self._recorder.end(job, "unknown", fault)
            return
        if started.pid is None:
            message = "HostUp accepted the command but gave no pid, so it may have run."
            fault = Fault("pid_missing", message, _CHECK_BEFORE_REPEAT)
            await self._recorder.end(job, "unknown", fault)
            return
        job.pid = started.pid
        await self._recorder.insist(
            job, partial(self._journal.mark_running, job.execution, started.pid)
        )

    async def _poll(self, job: Job, pid: int) -> None:
        vps_id = job.execution.vps_id
        began = anyio.current_time()
        denied_since: float | None = None
        pause = self._schedule.pause(0, 0.0)
        hurry = True
        while not await self._pause(job, pause, hurry=hurry):
            hurry = True
            job.polls += 1
            pause = self._schedule.pause(job.polls, anyio.current_time() - began)
            try:
                state = await self._client.get_command(vps_id, pid)
            except HostUpError as error:
                if isinstance(job.execution.state, Ended):
                    return  # taken for lost before, and not found again
                if _denies(error):
                    now = anyio.current_time()
                    denied_since = now if denied_since is None else denied_since
                    if await self._denied(job, error, now - denied_since):
                        return
                    pause = min(pause, max(self._patience.lost_after / 8, self._schedule.shortest))
                elif isinstance(error, RateLimited):
                    asked = error.rate_limit.retry_after if error.rate_limit else None
                    obeyed = min(asked or _RATE_LIMIT_SECONDS, self._patience.retry_after_longest)
                    pause = max(pause, obeyed)
                    hurry = False
                elif not error.transient:
                    job.problem = Fault.of(error)
                    return
                job.problem = Fault.of(error)
                job.answer()
                continue
            job.problem = None
            denied_since = None
            if await self._take(job, pid, state):
                return
            job.answer()

    async def _take(self, job: Job, pid: int, state: CommandState) -> bool:
        """HostUp knows the command: put what it says on disk. True: that was its end."""
        if not job.is_recorded:
            await self._recorder.adopt(job)
        if state.exited:
            await self._recorder.complete(job, state)
        elif isinstance(job.execution.state, Ended):  # taken for lost, and here after all
            again = partial(self._journal.mark_running, job.execution, pid)
            await self._recorder.insist(job, again)
        return state.exited

    async def _denied(self, job: Job, error: HostUpError, seconds: float) -> bool:
        """HostUp has no result to give, for so long now: whether that is the end of it."""
        other = await self._recorder.once(partial(self._journal.get, job.execution.exec_id))
        if other is not None and isinstance(other.state, Completed):
            # Another process read the result, and put it where it belongs.
            job.execution, job.problem = other, None
            return True
        if not job.is_recorded:
            job.problem = Fault(
                "pid_unknown",
                f"HostUp gives no result for this pid. {error.message}",
                "The pid never was a command here, its result was read already, or HostUp cannot "
                "answer now; a result that this server has read has an exec_id.",
            )
            return True
        if seconds < self._patience.lost_after:
            return False
        message = f"The command was started, and HostUp no longer has its result. {error.message}"
        advice = (
            "It may have been read elsewhere, or the VPS or its agent was restarted; check in the "
            "VPS what the command did. After a backup of the VPS, ask again."
        )
        await self._recorder.end(job, "lost", Fault(error.code, message, advice))
        return True

    async def _pause(self, job: Job, seconds: float, *, hurry: bool) -> bool:
        """Sleep, less if somebody asks and haste is allowed; True if the runner is closing."""
        job.wake = anyio.Event()
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as tasks:
                for event in (self._closing, *([job.wake] if hurry else [])):
                    tasks.start_soon(_cancel_after, event, tasks.cancel_scope)
        return self._closing.is_set()

    async def _close_orphan(self, job: Job) -> None:
        """An execution that nobody drives here: say what is certain, once its owner is gone."""
        execution = job.execution
        if execution.owner != current_owner() and is_alive(execution.owner):
            return
        if isinstance(execution.state, Intended):
            kind: EndKind = "not_started"
            fault = Fault(
                "interrupted",
                "The command was not sent: the server stopped, or could not go on, before.",
                "Send it again if it is still wanted.",
            )
        else:
            kind = "unknown"
            fault = Fault(
                "interrupted",
                "The server stopped, or could not go on, while the command was being sent, so it "
                "may have run.",
                _CHECK_BEFORE_REPEAT,
            )
        with anyio.move_on_after(_FINISH_SECONDS):
            await self._recorder.end(job, kind, fault)


async def _cancel_after(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def _denies(error: HostUpError) -> bool:
    """Whether HostUp answered for this very command, and has no result to give.

    What it answers for a pid that is unknown or was read already is not documented, so an error
    document with one of these statuses counts, a 500 too; so does a reply that was received and
    cannot be read, since the agent has given its result away with it. What comes without HostUp's
    error document does not count, however long, nor does a frozen guest, which keeps its results
    (the guest agent's own word, should HostUp pass it on).
    """
    if isinstance(error, MalformedReply | ReplyTooLarge):
        return True
    if not isinstance(error, ApiError) or not error.api_code or "frozen" in error.detail:
        return False
    return error.status in {400, 404, 410, 422, 500}
