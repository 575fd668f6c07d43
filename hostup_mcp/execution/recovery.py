"""Recovers executions that ended processes left: they are resumed, given up, prepared or purged."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import anyio

from hostup_mcp.execution.job import Job
from hostup_mcp.execution.journal.errors import JournalError
from hostup_mcp.execution.journal.limits import Retention
from hostup_mcp.execution.journal.owner import is_ours_to_take
from hostup_mcp.execution.journal.protocol import Journal
from hostup_mcp.execution.journal.records import Execution, Running

_AGAIN_SECONDS: Final = 60.0
_AT_ONCE: Final = 50
_SEEN: Final = 1000
_PURGE_AGAIN_SECONDS: Final = 3600.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RecoveryActions:
    """What recovery asks of the runner.

    Attributes:
        is_at_work: whether this process drives the execution with this handle.
        resume: drives an execution on.
        prepare: prepares an execution's output to be shown.
    """

    is_at_work: Callable[[str], bool]
    resume: Callable[[Execution], Awaitable[Job]]
    prepare: Callable[[Execution], Awaitable[Execution]]


class Recovery:
    """Looks through the journal once a minute."""

    def __init__(
        self,
        journal: Journal,
        actions: RecoveryActions,
        *,
        reap_seconds: float,
        retention: Retention | None,
        closing: anyio.Event,
        clock: Callable[[], float],
        me: Callable[[], str],
    ) -> None:
        """Recovery for one journal.

        Args:
            journal: where to look.
            actions: what can be done for what is found.
            reap_seconds: how long after its start a command is polled for.
            retention: what the journal keeps; None for everything.
            closing: set when the server ends.
            clock: seconds since the epoch.
            me: names this process, as an owner of executions.
        """
        self._journal = journal
        self._actions = actions
        self._reap_seconds = reap_seconds
        self._retention = retention
        self._closing = closing
        self._clock = clock
        self._me = me
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
        await self._resume()
        await self._prepare()
        await self.purge()
        await self._journal.erase_replaced()

    async def _resume(self) -> None:
        since = self._clock() - self._reap_seconds
        for execution in self._orphans(await self._journal.unfinished(since, _SEEN)):
            # A foreign command is its starter's, unless somebody asks for it here.
            if execution.command:
                await self._actions.resume(execution)
        for execution in self._orphans(await self._journal.overdue(since, _SEEN)):
            state = execution.state
            if not execution.command:
                await self._journal.forget(execution)
            elif isinstance(state, Running) and state.received_at is None:
                await self._journal.give_up(execution)
            else:
                await self._actions.resume(execution)

    async def _prepare(self) -> None:
        for execution in self._orphans(await self._journal.unprepared(_SEEN)):
            try:
                await self._actions.prepare(execution)
            except JournalError:
                raise
            except Exception:  # a fault in one result must not keep the others unprepared
                _logger.exception("the result of %s", execution.exec_id)

    def _orphans(self, executions: list[Execution]) -> list[Execution]:
        """Those that no living process drives, this one included; some of them, if many."""
        return [
            execution
            for execution in executions
            if not self._actions.is_at_work(execution.exec_id)
            and is_ours_to_take(execution, self._me(), self._clock())
        ][:_AT_ONCE]

    async def purge(self) -> None:
        """Drop what is beyond the limits, once an hour. Raises `JournalError`."""
        now = self._clock()
        # The other bound is for a clock that was ahead and has been put right.
        is_soon = self._purge_at - _PURGE_AGAIN_SECONDS <= now < self._purge_at
        if self._retention is None or is_soon:
            return
        self._purge_at = now + _PURGE_AGAIN_SECONDS
        dropped = await self._journal.purge(self._retention, now)
        if dropped:
            _logger.info("the output of %d old results was dropped", dropped)
