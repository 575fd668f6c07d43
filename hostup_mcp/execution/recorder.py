"""The journal as the event loop uses it: in a thread, one write after the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

import anyio
import anyio.to_thread

from hostup_mcp.execution.job import Fault, Job
from hostup_mcp.execution.journal import Journal, JournalBusy, JournalError
from hostup_mcp.execution.records import EndKind, Execution
from hostup_mcp.hostup.agent import CommandState

_BUSY_SECONDS: Final = 10.0
# Well under the moment that is given on shutdown, so that a refused write is tried again.
_AGAIN_SECONDS: Final = 0.5

_Value = TypeVar("_Value")


class Recorder:
    """Reads and writes one journal without blocking the event loop."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        # The disk serves one at a time; a thread for each would take them all from the transport.
        self._turn = anyio.CapacityLimiter(1)

    async def once(self, call: Callable[[], _Value]) -> _Value:
        """Call a method of the journal. Raises `JournalError`."""
        return await anyio.to_thread.run_sync(call, limiter=self._turn)

    async def promptly(self, call: Callable[[], _Value]) -> _Value:
        """The same for a caller who waits: the queue has a limit. Raises `JournalError`."""
        with anyio.move_on_after(_BUSY_SECONDS):
            return await self.once(call)
        raise JournalBusy(self._journal.path)

    async def insist(self, job: Job, write: Callable[[], Execution]) -> None:
        """Put it on disk, however long the disk refuses; callers see the problem meanwhile."""
        while True:
            try:
                job.execution = await self.once(write)
            except JournalError as error:
                job.problem = Fault.of(error)
                await anyio.sleep(_AGAIN_SECONDS)
            else:
                job.problem = None
                return

    async def adopt(self, job: Job) -> None:
        """Record a foreign command: HostUp is seen to know it."""
        await self.insist(job, partial(self._journal.adopt, job.execution))
        job.is_recorded = True

    async def complete(self, job: Job, state: CommandState) -> None:
        """Record the result."""
        write = partial(
            self._journal.complete,
            job.execution,
            exit_code=state.exit_code,
            signal=state.signal,
            stdout=state.stdout,
            stderr=state.stderr,
            stdout_truncated=state.stdout_truncated,
            stderr_truncated=state.stderr_truncated,
        )
        await self.insist(job, write)

    async def end(self, job: Job, kind: EndKind, fault: Fault) -> None:
        """Record that it is over without a result, and why."""
        write = partial(
            self._journal.end,
            job.execution,
            kind,
            code=fault.code,
            message=fault.message,
            advice=fault.advice,
        )
        await self.insist(job, write)
