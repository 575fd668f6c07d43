"""From an intent on disk to a pid on disk: the one request that must never be made twice."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final

import anyio

from hostup_mcp.execution.availability import Availability
from hostup_mcp.execution.events import first_of
from hostup_mcp.execution.faults import CANCELLED, PID_MISSING, Fault, of_start
from hostup_mcp.execution.job import Job
from hostup_mcp.execution.journal import Journal
from hostup_mcp.execution.recorder import Recorder
from hostup_mcp.execution.records import Intended, Sent
from hostup_mcp.hostup.client import HostUpClient
from hostup_mcp.hostup.errors import HostUpError, NotSent, RateLimited, TlsFailed
from hostup_mcp.policy.judge import ApprovedCommand

_RATE_LIMIT_SECONDS: Final = 5.0
# A name or a port that is not there now is seldom there soon: two more tries, then that is said.
_UNREACHABLE_SECONDS: Final = 0.5
_UNREACHABLE_TRIES: Final = 3


class StartsUnderWay:
    """Which VPSs are being sent a command, so that nobody takes a new pid for an old one."""

    def __init__(self) -> None:
        self._starts: dict[int, str] = {}
        self._begun = 0
        self._changed = anyio.Event()

    @contextmanager
    def start(self, vps_id: str) -> Generator[None]:
        """A start on this VPS, from its request until its pid is on disk."""
        self._begun += 1
        number = self._begun
        self._starts[number] = vps_id
        try:
            yield
        finally:
            del self._starts[number]
            self._changed.set()
            self._changed = anyio.Event()

    def now(self, vps_id: str) -> frozenset[int]:
        """The starts that are under way there now."""
        return frozenset(number for number, where in self._starts.items() if where == vps_id)

    async def ended(self, starts: frozenset[int], closing: anyio.Event) -> None:
        """Wait until these have ended, or the server closes."""
        while starts & self._starts.keys() and not closing.is_set():
            await first_of(self._changed, closing)


class _Withdrawn(Exception):
    """The execution is not to be sent: its record says so, or nobody wants it any more."""


class Starter:
    """Probes a VPS, sends it a command, and keeps the pid."""

    def __init__(
        self,
        journal: Journal,
        recorder: Recorder,
        availability: Availability,
        under_way: StartsUnderWay,
        *,
        patience_seconds: float,
        closing: anyio.Event,
    ) -> None:
        """The starter.

        Args:
            journal: what is called through `recorder`.
            recorder: writes the journal.
            availability: the probe.
            under_way: told of every start.
            patience_seconds: for how long a start that certainly did not arrive is tried again.
            closing: set when nothing new may be sent.
        """
        self._journal = journal
        self._recorder = recorder
        self._availability = availability
        self._under_way = under_way
        self._patience = patience_seconds
        self._closing = closing

    async def start(
        self, job: Job, command: ApprovedCommand, service_status: str, client: HostUpClient
    ) -> None:
        """Bring an execution from `intended` to `running`, or to its end.

        Args:
            job: the execution.
            command: what is sent.
            service_status: what HostUp's inventory said of the VPS last; empty if nothing.
            client: the API, on the execution's own connection.
        """
        until: float | None = None
        unreachable = 0
        while error := await self._attempt(job, command, service_status, client):
            # Waiting for a turn is no failure, so patience begins with the first one.
            until = anyio.current_time() + self._patience if until is None else until
            unreachable += isinstance(error, NotSent)
            pause = _pause(error)
            in_time = pause is not None and anyio.current_time() + pause < until
            if pause is None or not in_time or unreachable >= _UNREACHABLE_TRIES or job.is_deserted:
                await self._give_up(job, error, command)
                return
            if isinstance(job.execution.state, Sent):
                unsent = partial(self._journal.mark_unsent, job.execution)
                job.execution = await self._recorder.once(unsent)
            job.problem = Fault.of(error)
            with anyio.move_on_after(pause):
                await self._closing.wait()

    async def _attempt(
        self, job: Job, command: ApprovedCommand, service_status: str, client: HostUpClient
    ) -> HostUpError | None:
        """One try: the error that it met, or None when the execution has come on or has ended."""
        vps_id = job.execution.vps_id
        try:
            fault = await self._availability.check(vps_id, service_status, client)
            if fault is not None:
                await self._recorder.end(job, "not_started", fault)
                return None
            await self._send(job, command, client)
        except HostUpError as error:
            self._availability.forget(vps_id)
            return error
        return None

    async def _send(self, job: Job, command: ApprovedCommand, client: HostUpClient) -> None:
        vps_id = job.execution.vps_id
        with ExitStack() as under_way:

            async def go() -> None:
                # Its turn may have been long in coming.
                if job.is_deserted or self._closing.is_set():
                    raise _Withdrawn
                under_way.enter_context(self._under_way.start(vps_id))
                mark_sent = partial(self._journal.mark_sent, job.execution)
                job.execution = await self._recorder.once(mark_sent)
                is_ours = isinstance(job.execution.state, Sent)
                if not is_ours or job.is_deserted or self._closing.is_set():
                    raise _Withdrawn

            try:
                started = await client.start_command(vps_id, command.sent, go)
            except _Withdrawn:
                if isinstance(job.execution.state, Intended | Sent):
                    await self._recorder.end(job, "not_started", CANCELLED)
                return
            if started.pid is None:
                await self._recorder.end(job, "unknown", PID_MISSING)
                return
            job.pid, job.started_at = started.pid, anyio.current_time()
            mark_running = partial(self._journal.mark_running, job.execution, started.pid)
            await self._recorder.insist(job, mark_running)

    async def _give_up(self, job: Job, error: HostUpError, command: ApprovedCommand) -> None:
        if isinstance(job.execution.state, Sent):
            kind, fault = of_start(error, command.sent)
        else:
            kind, fault = "not_started", Fault.of(error)
        await self._recorder.end(job, kind, fault)


def _pause(error: HostUpError) -> float | None:
    """After how many seconds a request that had no effect may be made again; None for never."""
    if isinstance(error, RateLimited):
        asked = error.rate_limit.retry_after if error.rate_limit else None
        return _RATE_LIMIT_SECONDS if asked is None else asked
    if isinstance(error, NotSent) and not isinstance(error, TlsFailed):
        return _UNREACHABLE_SECONDS
    return None
