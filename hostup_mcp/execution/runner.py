"""Runs commands: from the probe to the result that is on disk.

Each execution is driven by a task of its own, which no caller's cancellation reaches: a request
to HostUp that is under way is finished and its answer kept, because the guest agent hands a
result out once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from hostup_mcp.execution.job import Job, Problem
from hostup_mcp.execution.journal import Journal, JournalError
from hostup_mcp.execution.records import (
    Ended,
    EndKind,
    Execution,
    Intended,
    Running,
    Sent,
)
from hostup_mcp.execution.schedule import Schedule
from hostup_mcp.hostup.client import HostUpClient
from hostup_mcp.hostup.errors import (
    ApiError,
    HostUpError,
    MalformedReply,
    RateLimited,
    ReplyTooLarge,
)
from hostup_mcp.hostup.models import CommandState
from hostup_mcp.policy.judge import ApprovedCommand

_FINISH_SECONDS: Final = 1.5
_SAVE_AGAIN_SECONDS: Final = 2.0
_RATE_LIMIT_SECONDS: Final = 5.0
# Longer than the whole of a start takes at its slowest; after it, nobody is at work on it.
_ORPHAN_SECONDS: Final = 180.0

_CHECK_BEFORE_REPEAT: Final = (
    "Do not send it again before you have checked whether it ran, for example by what it changes."
)


_Value = TypeVar("_Value")

_logger = logging.getLogger(__name__)


class Runner:
    """Drives executions in the background, and hands out their jobs."""

    def __init__(
        self,
        client: HostUpClient,
        journal: Journal,
        schedule: Schedule,
        lost_after: float,
        tasks: TaskGroup,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """A runner for one journal.

        Args:
            client: the API.
            journal: where everything is kept.
            schedule: when to poll.
            lost_after: seconds during which HostUp must deny a started command, again and again,
                before its result is taken for lost.
            tasks: where executions are driven; whoever owns it calls `aclose` before it ends.
            clock: seconds since the epoch.
        """
        self._client = client
        self._journal = journal
        self._schedule = schedule
        self._lost_after = lost_after
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        self._closing = anyio.Event()
        self._tasks = tasks

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
        execution = await self._in_thread(partial(self._journal.intend, vps_id, command.text))
        return self._drive(Job(execution), command)

    async def resume(self, execution: Execution) -> Job:
        """A job for an execution of the journal: the one that is at work, or a new poller.

        An execution that is over gives a job that is done.
        """
        if job := self._jobs.get(execution.exec_id):
            return job
        job = Job(execution)
        match execution.state:
            case Running():
                return self._drive(job, None)
            case Intended() | Sent():
                await self._close_orphan(job)
            case _:
                pass
        job.close()
        return job

    async def get(self, exec_id: str) -> Execution | None:
        """The execution with this handle, from the journal."""
        return await self._in_thread(partial(self._journal.get, exec_id))

    async def find(self, vps_id: str, pid: int) -> Execution:
        """The newest execution with this pid; one that is not known is recorded as foreign."""
        known = await self._in_thread(partial(self._journal.find, vps_id, pid))
        # A foreign pid that led nowhere may by now name another foreign command.
        if known is None or (not known.command and isinstance(known.state, Ended)):
            return await self._in_thread(partial(self._journal.adopt, vps_id, pid))
        return known

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

    def _drive(self, job: Job, command: ApprovedCommand | None) -> Job:
        self._jobs[job.execution.exec_id] = job
        self._tasks.start_soon(self._run, job, command)
        return job

    async def _run(self, job: Job, command: ApprovedCommand | None) -> None:
        try:
            if command is not None:
                await self._start(job, command)
            job.started.set()
            if isinstance(job.execution.state, Running):
                await self._poll(job)
        except JournalError as error:
            job.problem = Problem.of(error)
        except Exception:  # one execution's fault must not end the others
            _logger.exception("execution %s", job.execution.exec_id)
            job.problem = Problem(
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
            await self._end(job, "not_started", error.code, error.message, error.advice)
            return
        if availability.available is not True:
            reason = availability.reason or "HostUp gives no reason"
            await self._end(
                job,
                "not_started",
                "vps_unavailable",
                f"The VPS takes no commands now: {reason.strip().rstrip('.')}.",
                "Start the VPS, or install and start qemu-guest-agent in it, then try again.",
            )
            return
        if job.abandoned or self._closing.is_set():
            await self._end(
                job,
                "not_started",
                "cancelled",
                "The call was cancelled before the command was sent.",
                "Send it again if it is still wanted.",
            )
            return
        job.execution = await self._in_thread(partial(self._journal.mark_sent, job.execution))
        try:
            started = await self._client.start_command(vps_id, command.text)
        except HostUpError as error:
            if error.nothing_ran:
                await self._end(job, "not_started", error.code, error.message, error.advice)
            else:
                message = f"It is not known whether the command ran. {error.message}"
                await self._end(job, "unknown", error.code, message, _CHECK_BEFORE_REPEAT)
            return
        if started.pid is None:
            message = "HostUp accepted the command but gave no pid, so it may have run."
            await self._end(job, "unknown", "pid_missing", message, _CHECK_BEFORE_REPEAT)
            return
        mark = partial(self._journal.mark_running, job.execution, started.pid)
        job.execution = await self._in_thread(mark)

    async def _poll(self, job: Job) -> None:
        vps_id, pid = job.execution.vps_id, job.execution.pid or 0
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
                job.answer()
                job.problem = Problem.of(error)
                if isinstance(error, RateLimited):
                    asked = error.rate_limit.retry_after if error.rate_limit else None
                    pause = max(pause, asked or _RATE_LIMIT_SECONDS)
                    hurry = False
                elif _denies(error):
                    now = anyio.current_time()
                    denied_since = denied_since or now
                    foreign = not job.execution.command
                    if foreign or now - denied_since >= self._lost_after:
                        await self._give_up(job, error)
                        return
                    pause = min(pause, max(self._lost_after / 8, self._schedule.shortest))
                elif not error.transient:
                    return
                continue
            job.problem = None
            denied_since = None
            if state.exited:
                await self._save(job, state)
                return
            job.answer()

    async def _pause(self, job: Job, seconds: float, *, hurry: bool) -> bool:
        """Sleep, less if somebody asks and haste is allowed; True if the runner is closing."""
        job.wake = anyio.Event()
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as tasks:
                for event in (self._closing, *([job.wake] if hurry else [])):
                    tasks.start_soon(_cancel_after, event, tasks.cancel_scope)
        return self._closing.is_set()

    async def _save(self, job: Job, state: CommandState) -> None:
        """Put the result on disk, however long the disk refuses: HostUp will not repeat it."""
        save = partial(
            self._journal.complete,
            job.execution,
            exit_code=state.exit_code,
            signal=state.signal,
            stdout=state.stdout,
            stderr=state.stderr,
        )
        while True:
            try:
                job.execution = await self._in_thread(save)
            except JournalError as error:
                job.problem = Problem.of(error)
                await anyio.sleep(_SAVE_AGAIN_SECONDS)
            else:
                job.problem = None
                return

    async def _give_up(self, job: Job, error: HostUpError) -> None:
        await self._end(
            job,
            "lost",
            error.code,
            f"The command was started, and HostUp no longer has its result. {error.message}",
            "It may have been read elsewhere, or the VPS or its agent was restarted; check in the "
            "VPS what the command did.",
        )

    async def _close_orphan(self, job: Job) -> None:
        """An execution that nobody drives here: say what is certain, once it is old enough."""
        execution = job.execution
        since = execution.created_at
        if self._clock() - since < _ORPHAN_SECONDS:
            return
        if isinstance(execution.state, Intended):
            await self._end(
                job,
                "not_started",
                "interrupted",
                "The server stopped before the command was sent.",
                "Send it again if it is still wanted.",
            )
        else:
            message = "The server stopped while the command was being sent, so it may have run."
            await self._end(job, "unknown", "interrupted", message, _CHECK_BEFORE_REPEAT)

    async def _end(self, job: Job, kind: EndKind, code: str, message: str, advice: str) -> None:
        end = partial(
            self._journal.end, job.execution, kind, code=code, message=message, advice=advice
        )
        job.execution = await self._in_thread(end)

    async def _in_thread(self, call: Callable[[], _Value]) -> _Value:
        return await anyio.to_thread.run_sync(call)


async def _cancel_after(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def _denies(error: HostUpError) -> bool:
    """Whether HostUp answered for this very command, and has no result to give.

    What it answers for a pid that is unknown or was read already is not documented, so every
    error document counts but those about the key, the scope or the rate; so does a reply that
    was received and cannot be read, since the agent has given its result away with it. An outage
    between us and HostUp does not count, however long.
    """
    if isinstance(error, MalformedReply | ReplyTooLarge):
        return True
    if not isinstance(error, ApiError) or not error.api_code:
        return False
    return error.status in {400, 404, 409, 410, 422, 500}
