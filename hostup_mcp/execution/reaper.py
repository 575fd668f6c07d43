"""What processes that are gone left behind: taken up, given up, prepared, and one day dropped."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio

from hostup_mcp.execution.database import JournalError
from hostup_mcp.execution.job import Job
from hostup_mcp.execution.journal import Journal
from hostup_mcp.execution.owner import is_ours_to_take
from hostup_mcp.execution.recorder import Recorder
from hostup_mcp.execution.records import Execution, Running
from hostup_mcp.execution.retention import Retention, purge

_AGAIN_SECONDS: Final = 60.0
_AT_ONCE: Final = 50
_SEEN: Final = 1000
_PURGE_AGAIN_SECONDS: Final = 3600.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Care:
    """What can be done for an execution that was left behind.

    Attributes:
        is_at_work: whether this process drives the one with this handle.
        resume: drives it on.
        show: prepares its output to be shown.
    """

    is_at_work: Callable[[str], bool]
    resume: Callable[[Execution], Awaitable[Job]]
    show: Callable[[Execution], Awaitable[Execution]]


class Reaper:
    """Looks through the journal once a minute."""

    def __init__(
        self,
        journal: Journal,
        recorder: Recorder,
        care: Care,
        *,
        reap_seconds: float,
        retention: Retention | None,
        closing: anyio.Event,
        clock: Callable[[], float],
    ) -> None:
        """A reaper.

        Args:
            journal: what is called through `recorder`.
            recorder: reads and writes the journal.
            care: what is done for what is found.
            reap_seconds: for how long after its start a command is asked for.
            retention: what the journal keeps; None for everything.
            closing: set when the server ends.
            clock: seconds since the epoch.
        """
        self._journal = journal
        self._recorder = recorder
        self._care = care
        self._reap_seconds = reap_seconds
        self._retention = retention
        self._closing = closing
        self._clock = clock
        self._purge_at = 0.0

    async def run(self) -> None:
        """Go on until the server closes."""
        while not self._closing.is_set():
            try:
                await self.look()
            except JournalError as error:
                _logger.warning("leftovers: %s", error)
            with anyio.move_on_after(_AGAIN_SECONDS):
                await self._closing.wait()

    async def look(self) -> None:
        """Look once. Raises `JournalError`."""
        await self._take_up()
        await self._prepare()
        await self.purge()
        await self._recorder.once(self._journal.database.settle_if_owed)

    async def _take_up(self) -> None:
        since = self._clock() - self._reap_seconds
        for execution in await self._left(partial(self._journal.unfinished, since, _SEEN)):
            # One that was started elsewhere is its starter's, unless somebody asks for it here.
            if execution.command:
                await self._care.resume(execution)
        for execution in await self._left(partial(self._journal.overdue, since, _SEEN)):
            state = execution.state
            if not execution.command:
                await self._recorder.once(partial(self._journal.forget, execution))
            elif isinstance(state, Running) and state.received_at is None:
                await self._recorder.once(partial(self._journal.give_up, execution))
            else:
                await self._care.resume(execution)

    async def _prepare(self) -> None:
        for execution in await self._left(partial(self._journal.unprepared, _SEEN)):
            try:
                await self._care.show(execution)
            except JournalError:
                raise
            except Exception:  # one result's fault must not keep the others as they came
                _logger.exception("the result of %s", execution.exec_id)

    async def _left(self, find: Callable[[], list[Execution]]) -> list[Execution]:
        """Of these executions some that nobody works on: here, or in another living process."""
        return [
            execution
            for execution in await self._recorder.once(find)
            if not self._care.is_at_work(execution.exec_id)
            and is_ours_to_take(execution, self._clock())
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
