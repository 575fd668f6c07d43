"""How an execution's task uses the journal: callers wait briefly, results as long as it takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio

from hostup_mcp.execution.faults import Fault
from hostup_mcp.execution.job import Job
from hostup_mcp.execution.journal.errors import JournalBusy, JournalError, RecordGone
from hostup_mcp.execution.journal.protocol import Journal
from hostup_mcp.execution.journal.records import EndKind, Execution

_CALLER_SECONDS: Final = 10.0
# Well under the time that a shutdown leaves, so that a failed write is tried again in it.
_AGAIN_SECONDS: Final = 0.5

_Value = TypeVar("_Value")


async def promptly(journal: Journal, call: Awaitable[_Value]) -> _Value:
    """Wait for a call of the journal on behalf of a caller: 10 s at most.

    Raises:
        JournalBusy: the call did not get its turn by then.
        JournalError: the call failed.
    """
    with anyio.move_on_after(_CALLER_SECONDS):
        return await call
    raise JournalBusy(journal.location)


async def write_until_stored(job: Job, write: Callable[[], Awaitable[Execution]]) -> None:
    """Retry a write until it is stored; meanwhile `job.problem` has the journal's error.

    If the record was deleted, that stays the problem and the write is not retried.
    """
    while True:
        try:
            job.execution = await write()
        except RecordGone as error:
            job.problem = Fault.of(error)
            return
        except JournalError as error:
            job.problem = Fault.of(error)
            await anyio.sleep(_AGAIN_SECONDS)
        else:
            job.problem = None
            return


async def store_end(journal: Journal, job: Job, kind: EndKind, fault: Fault) -> None:
    """Record that an execution is over without a result, and why; retried until stored."""
    record = job.execution

    async def write() -> Execution:
        return await journal.end(
            record, kind, code=fault.code, message=fault.message, advice=fault.advice
        )

    await write_until_stored(job, write)
