"""Starts a command: from an intent on disk to a pid on disk, with a request never sent twice."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

import anyio

from hostup_mcp.execution.availability import Availability
from hostup_mcp.execution.faults import CANCELLED, PID_MISSING, Fault, of_start
from hostup_mcp.execution.job import Job
from hostup_mcp.execution.journal.protocol import Journal
from hostup_mcp.execution.journal.records import Intended, Sent
from hostup_mcp.execution.pending_starts import PendingStarts
from hostup_mcp.execution.schedule import rate_limit_pause
from hostup_mcp.execution.storing import store_end, write_until_stored
from hostup_mcp.hostup.client import HostUpClient
from hostup_mcp.hostup.errors import HostUpError, NotSent, RateLimited, TlsFailed
from hostup_mcp.policy.judge import ApprovedCommand

# A name or a port that is missing now is seldom there soon: two more tries, then it is an error.
_UNREACHABLE_SECONDS: Final = 0.5
_UNREACHABLE_TRIES: Final = 3


class _Withdrawn(Exception):
    """The execution must not be sent: its record says so, or nobody wants it any more."""


class Starter:
    """Probes a VPS, sends it a command, and keeps the pid."""

    def __init__(
        self,
        journal: Journal,
        availability: Availability,
        pending: PendingStarts,
        *,
        retry_seconds: float,
        closing: anyio.Event,
    ) -> None:
        """The starter.

        Args:
            journal: where the execution is.
            availability: the probe.
            pending: told of every start.
            retry_seconds: how long a start that certainly did not arrive is retried.
            closing: set when nothing new may be sent.
        """
        self._journal = journal
        self._availability = availability
        self._pending = pending
        self._retry_seconds = retry_seconds
        self._closing = closing

    async def start(
        self, job: Job, command: ApprovedCommand, service_status: str, client: HostUpClient
    ) -> None:
        """Bring an execution from `intended` to `running`, or to its end.

        Args:
            job: the execution.
            command: what is sent.
            service_status: its status in HostUp's inventory, when last read; empty if none.
            client: the API, on the execution's own connection.
        """
        until: float | None = None
        unreachable = 0
        while error := await self._attempt(job, command, service_status, client):
            # To wait for a turn is no failure, so the time counts from the first failure.
            until = anyio.current_time() + self._retry_seconds if until is None else until
            unreachable += isinstance(error, NotSent)
            pause = _pause(error)
            in_time = pause is not None and anyio.current_time() + pause < until
            if pause is None or not in_time or unreachable >= _UNREACHABLE_TRIES or job.is_deserted:
                await self._give_up(job, error, command)
                return
            if isinstance(job.execution.state, Sent):
                job.execution = await self._journal.mark_unsent(job.execution)
            job.problem = Fault.of(error)
            with anyio.move_on_after(pause):
                await self._closing.wait()

    async def _attempt(
        self, job: Job, command: ApprovedCommand, service_status: str, client: HostUpClient
    ) -> HostUpError | None:
        """Try once: the error that came, or None if the execution has gone on or has ended."""
        vps_id = job.execution.vps_id
        try:
            fault = await self._availability.check(vps_id, service_status, client)
            if fault is not None:
                await store_end(self._journal, job, "not_started", fault)
                return None
            await self._send(job, command, client)
        except HostUpError as error:
            self._availability.forget(vps_id)
            return error
        return None

    async def _send(self, job: Job, command: ApprovedCommand, client: HostUpClient) -> None:
        vps_id = job.execution.vps_id
        with ExitStack() as pending:

            async def go() -> None:
                # Its turn may have come late.
                if job.is_deserted or self._closing.is_set():
                    raise _Withdrawn
                pending.enter_context(self._pending.pending(vps_id))
                job.execution = await self._journal.mark_sent(job.execution)
                is_ours = isinstance(job.execution.state, Sent)
                if not is_ours or job.is_deserted or self._closing.is_set():
                    raise _Withdrawn

            try:
                started = await client.start_command(vps_id, command.sent, go)
            except _Withdrawn:
                if isinstance(job.execution.state, Intended | Sent):
                    await store_end(self._journal, job, "not_started", CANCELLED)
                return
            pid = started.pid
            if pid is None:
                await store_end(self._journal, job, "unknown", PID_MISSING)
                return
            job.pid, job.started_at = pid, anyio.current_time()
            sent = job.execution
            await write_until_stored(job, lambda: self._journal.mark_running(sent, pid))

    async def _give_up(self, job: Job, error: HostUpError, command: ApprovedCommand) -> None:
        if isinstance(job.execution.state, Sent):
            kind, fault = of_start(error, command.sent)
        else:
            kind, fault = "not_started", Fault.of(error)
        await store_end(self._journal, job, kind, fault)


def _pause(error: HostUpError) -> float | None:
    """Seconds after which a request that had no effect may be sent again; None for never."""
    if isinstance(error, RateLimited):
        return rate_limit_pause(error)
    if isinstance(error, NotSent) and not isinstance(error, TlsFailed):
        return _UNREACHABLE_SECONDS
    return None
