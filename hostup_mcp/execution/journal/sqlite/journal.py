"""The journal in an SQLite file, as the event loop uses it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import CoroutineType
from typing import Any, Concatenate, ParamSpec, TypeVar

import anyio
import anyio.to_thread

from hostup_mcp.execution.journal.sqlite.store import SqliteStore

_Arguments = ParamSpec("_Arguments")
_Value = TypeVar("_Value")


def _in_thread(
    method: Callable[Concatenate[SqliteStore, _Arguments], _Value],
) -> Callable[Concatenate[SqliteJournal, _Arguments], CoroutineType[Any, Any, _Value]]:
    """A method of the store, as one that runs in a thread when its turn comes."""

    async def call(
        self: SqliteJournal, /, *arguments: _Arguments.args, **more: _Arguments.kwargs
    ) -> _Value:
        blocking = partial(getattr(self.store, method.__name__), *arguments, **more)
        return await anyio.to_thread.run_sync(blocking, limiter=self.turns)

    return call


class SqliteJournal:
    """A `Journal`. Its calls run in threads, one at a time."""

    def __init__(self, store: SqliteStore) -> None:
        """A journal.

        Args:
            store: the open file, which this closes.
        """
        self.store = store
        # The disk serves one call at a time; a thread for each would take all from the transport.
        self.turns = anyio.CapacityLimiter(1)

    @property
    def location(self) -> str:
        """The file."""
        return str(self.store.path)

    async def aclose(self) -> None:
        """Close the file. Blocks the event loop until a write under way has ended."""
        self.store.close()

    async def is_writable(self) -> bool:
        """Whether the file takes writes now; asked in a thread of its own."""
        return await anyio.to_thread.run_sync(self.store.is_writable)

    record_intent = _in_thread(SqliteStore.record_intent)
    record_foreign = _in_thread(SqliteStore.record_foreign)
    forget = _in_thread(SqliteStore.forget)

    mark_sent = _in_thread(SqliteStore.mark_sent)
    mark_unsent = _in_thread(SqliteStore.mark_unsent)
    mark_running = _in_thread(SqliteStore.mark_running)
    complete = _in_thread(SqliteStore.complete)
    confirm_result = _in_thread(SqliteStore.confirm_result)
    end = _in_thread(SqliteStore.end)
    give_up = _in_thread(SqliteStore.give_up)
    replace_output = _in_thread(SqliteStore.replace_output)
    mark_read = _in_thread(SqliteStore.mark_read)
    lease = _in_thread(SqliteStore.lease)

    get = _in_thread(SqliteStore.get)
    output = _in_thread(SqliteStore.output)
    starts_elsewhere = _in_thread(SqliteStore.starts_elsewhere)
    unfinished = _in_thread(SqliteStore.unfinished)
    overdue = _in_thread(SqliteStore.overdue)
    unprepared = _in_thread(SqliteStore.unprepared)

    purge = _in_thread(SqliteStore.purge)
    erase_replaced = _in_thread(SqliteStore.erase_replaced)
