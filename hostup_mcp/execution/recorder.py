"""The journal as the event loop uses it: in a thread, one write after the other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import Final, TypeVar

import anyio
import anyio.to_thread

from hostup_mcp.execution.database import JournalBusy, JournalError, RecordGone
from hostup_mcp.execution.faults import Fault
from hostup_mcp.execution.job import Job
from hostup_mcp.execution.journal import Journal
from hostup_mcp.execution.records import Completed, EndKind, Execution, Output, Stream
from hostup_mcp.hostup.agent import CommandState

_BUSY_SECONDS: Final = 10.0
# Well under the moment that is given on shutdown, so that a refused write is tried again.
_AGAIN_SECONDS: Final = 0.5
# Prepared in a moment, so that a thread of its own would cost more than it saves.
_SHORT_BYTES: Final = 16_384
_LONG_AT_ONCE: Final = 2


_Value = TypeVar("_Value")


class Recorder:
    """Reads and writes one journal without blocking the event loop."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        # The disk serves one at a time; a thread for each would take them all from the transport.
        self._turn = anyio.CapacityLimiter(1)
        self._long = anyio.Semaphore(_LONG_AT_ONCE)

    async def once(self, call: Callable[[], _Value]) -> _Value:
        """Call a method of the journal. Raises `JournalError`."""
        return await anyio.to_thread.run_sync(call, limiter=self._turn)

    async def promptly(self, call: Callable[[], _Value]) -> _Value:
        """The same for a caller who waits: the queue has a limit. Raises `JournalError`."""
        with anyio.move_on_after(_BUSY_SECONDS):
            return await self.once(call)
        raise JournalBusy(self._journal.path)

    async def insist(self, job: Job, write: Callable[[], Execution]) -> None:
        """Put it on disk, however long the disk refuses; callers see the problem meanwhile.

        Only where the record itself is gone, that stays the problem and nothing is written.
        """
        while True:
            try:
                job.execution = await self.once(write)
            except RecordGone as error:
                job.problem = Fault.of(error)
                return
            except JournalError as error:
                job.problem = Fault.of(error)
                await anyio.sleep(_AGAIN_SECONDS)
            else:
                job.problem = None
                return

    async def complete(self, job: Job, state: CommandState, *, is_contested: bool) -> None:
        """Record the result; see `Journal.complete`."""
        write = partial(
            self._journal.complete,
            job.execution,
            exit_code=state.exit_code,
            signal=state.signal,
            stdout=Stream(state.stdout, state.stdout_truncated),
            stderr=Stream(state.stderr, state.stderr_truncated),
            is_contested=is_contested,
        )
        await self.insist(job, write)

    async def show(self, record: Execution, secret: str, *, keep_raw: bool) -> Execution:
        """Prepare a result to be shown, and put that in its place. Raises `JournalError`."""

        def prepared() -> Output:
            came = self._journal.output(record)
            return Output(_prepared(came.stdout, secret), _prepared(came.stderr, secret))

        def show_as(output: Output) -> Execution:
            return self._journal.show_as(record, output, keep_raw=keep_raw)

        if not _is_long(record):
            return await self.once(lambda: show_as(prepared()))
        # A long output takes seconds, in which the disk serves others.
        async with self._long:
            output = await anyio.to_thread.run_sync(prepared)
            return await self.once(partial(show_as, output))

    @asynccontextmanager
    async def output(self, record: Execution) -> AsyncGenerator[Output]:
        """What a command wrote, while the block runs. Raises `JournalError`.

        A long one is in memory several times meanwhile, so that others wait.
        """
        if not isinstance(record.state, Completed):
            yield Output(Stream(""), Stream(""))
            return
        async with self._long if _is_long(record) else nullcontext():
            yield await self.promptly(partial(self._journal.output, record))

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


def _is_long(record: Execution) -> bool:
    state = record.state
    return isinstance(state, Completed) and state.output_bytes > _SHORT_BYTES


def _prepared(stream: Stream, secret: str) -> Stream:
    from hostup_mcp.output.prepare import prepare  # noqa: PLC0415 - RE2 waits until it is needed

    done = prepare(stream.text, secret)
    counts = {**done.counts, **({"repaired": 1} if done.repaired else {})}
    return Stream(done.text, stream.truncated, counts)
