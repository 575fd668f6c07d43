"""One lock for each key: of several callers with one question, one asks and the others read."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio


class OneByOne:
    """A lock for each name, kept while a task holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: dict[str, anyio.Lock] = {}

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncGenerator[None]:
        """Hold the lock of this name."""
        lock = self._locks.setdefault(name, anyio.Lock())
        try:
            async with lock:
                yield
        finally:
            # If others wait, one of them holds the lock already.
            if not lock.locked():
                self._locks.pop(name, None)
