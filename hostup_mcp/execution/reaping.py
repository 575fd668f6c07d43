"""Takes up what processes that are gone left behind, and keeps the journal within its limits."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import anyio

from hostup_mcp.execution.database import JournalError
from hostup_mcp.execution.job import Job
from hostup_mcp.execution.journal import Journal
from hostup_mcp.execution.owner import current_owner, is_alive
from hostup_mcp.execution.recorder import Recorder
from hostup_mcp.execution.records import Execution, Running
from hostup_mcp.execution.retention import Retention, purge

_AGAIN_SECONDS: Final = 60.0
_PURGE_AGAIN_SECONDS: Final = 3600.0
_AT_ONCE: Final = 50
_SEEN: Final = 1000

_logger = logging.getLogger(__name__)


class Reaper:
    """Looks through one journal, again and again."""

    def __init__(
        self,
        journal: Journal,
        recorder: Recorder,
        reap_seconds: float,
        retention: Retention | None,
        clock: Callable[[], float],
        *,
        is_at_work: Callable[[str], bool],
        resume: Callable[[Execution], Awaitable[Job]],
        show: Callable[[Execution], Awaitable[Execution]],
    ) -> None:
        """A reaper.

        Args:
            journal: what is called through `recorder`.
            recorder: reads and writes the journal.
            reap_seconds: for how long after its start a command is taken up.
            retention: what the journal keeps; None for everything.
            clock: seconds since the epoch.
            is_at_work: whether this process works on the execution with this handle.
            resume: goes on with an execution.
            show: prepares a result to be shown.
        """
        self._journal = journal
        self._recorder = recorder
        self._reap_seconds = reap_seconds
        self._retention = retention
        self._clock = clock
        self._is_at_work = is_at_work
        self._resume = resume
        self._show = show
        self._purge_at = 0.0

    async def run(self, closing: anyio.Event) -> None:
        """Do all of it now and every minute, until the event is set."""
        while not closing.is_set():
            try:
                await self.take_up()
                await self.purge()
                await self._recorder.once(self._journal.database.settle_if_owed)
            except JournalError as error:
                _logger.warning("leftovers: %s", error)
            with anyio.move_on_after(_AGAIN_SECONDS):
                await closing.wait()

    async def take_up(self) -> None:
        """Go on with what nobody works on, or end it. Raises `JournalError`.

        What runs is asked for while it is young enough, and given up later; of what was not
        started, it is said whether it may have been; a result that stands as it came is prepared.
        """
        since = self._clock() - self._reap_seconds
        for execution in await self._left(partial(self._journal.unfinished, since, _SEEN)):
            await self._resume(execution)
        for execution in await self._left(partial(self._journal.overdue, since, _SEEN)):
            if isinstance(execution.state, Running):
                await self._recorder.once(partial(self._journal.give_up, execution))
            else:
                await self._resume(execution)
        for execution in await self._left(partial(self._journal.unprepared, _SEEN)):
            try:
                await self._show(execution)
            except JournalError:
                raise
            except Exception:  # one result's fault must not keep the others as they came
                _logger.exception("the result of %s", execution.exec_id)

    async def _left(self, find: Callable[[], list[Execution]]) -> list[Execution]:
        """Of these executions some that nobody works on: here, or in another living process."""
        return [
            execution
            for execution in await self._recorder.once(find)
            if not self._is_at_work(execution.exec_id)
            and (execution.owner == current_owner() or not is_alive(execution.owner))
        ][:_AT_ONCE]

    async def purge(self) -> None:
        """Drop what is beyond the limits, once an hour. Raises `JournalError`."""
        now = self._clock()
        # Also after a clock that was ahead has been put right.
        is_soon = self._purge_at - _PURGE_AGAIN_SECONDS <= now < self._purge_at
        if self._retention is None or is_soon:
            return
        self._purge_at = now + _PURGE_AGAIN_SECONDS
        dropped = await self._recorder.once(
            partial(purge, self._journal.database, self._retention, now)
        )
        if dropped:
            _logger.info("the output of %d old results was dropped", dropped)
