"""The output of commands: prepared once to be shown, and in memory only while it is needed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Final

import anyio
import anyio.to_thread

from hostup_mcp.execution.journal.protocol import Journal
from hostup_mcp.execution.journal.records import Completed, Execution, Output, Stream
from hostup_mcp.execution.storing import promptly

_SHORT_BYTES: Final = 16_384
_LONG_AT_ONCE: Final = 2


class Outputs:
    """Prepares and reads outputs. Long ones take turns, since each needs several times its size."""

    def __init__(self, journal: Journal, secret: str, *, keep_raw: bool) -> None:
        """The outputs of one journal.

        Args:
            journal: where they are.
            secret: HostUp's key, which is removed from them.
            keep_raw: whether the journal keeps them as they came, too.
        """
        self._journal = journal
        self._secret = secret
        self._keep_raw = keep_raw
        self._long = anyio.Semaphore(_LONG_AT_ONCE)
        # Short ones take moments; a thread for each would take all from the transport.
        self._short = anyio.CapacityLimiter(1)

    async def prepared(self, execution: Execution) -> Execution:
        """The execution with its output prepared, which happens once. Raises `JournalError`."""
        state = execution.state
        if not isinstance(state, Completed) or state.is_prepared:
            return execution
        async with self._place(state):
            came = await self._journal.output(execution)
            limiter = None if _is_long(state) else self._short
            output = await anyio.to_thread.run_sync(_prepared, came, self._secret, limiter=limiter)
            return await self._journal.replace_output(execution, output, keep_raw=self._keep_raw)

    @asynccontextmanager
    async def read(self, execution: Execution) -> AsyncGenerator[Output]:
        """What a command wrote, while the block runs. Raises `JournalError`."""
        if not isinstance(execution.state, Completed):
            yield Output(Stream(""), Stream(""))
            return
        async with self._place(execution.state):
            yield await promptly(self._journal, self._journal.output(execution))

    def _place(self, state: Completed) -> AbstractAsyncContextManager[object]:
        return self._long if _is_long(state) else nullcontext()


def _is_long(state: Completed) -> bool:
    return state.output_bytes > _SHORT_BYTES


def _prepared(came: Output, secret: str) -> Output:
    return Output(_prepared_stream(came.stdout, secret), _prepared_stream(came.stderr, secret))


def _prepared_stream(stream: Stream, secret: str) -> Stream:
    from hostup_mcp.output.prepare import prepare  # noqa: PLC0415 - RE2 waits until it is needed

    done = prepare(stream.text, secret)
    counts = {**done.counts, **({"repaired": 1} if done.repaired else {})}
    return Stream(done.text, stream.truncated, counts)
