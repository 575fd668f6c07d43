"""Limits how many large results are in memory at once. The others wait on the wire."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import anyio

_PLACES: Final = 2


class LargeResults:
    """Places for large results, from their first MiB until they are on disk."""

    def __init__(self) -> None:
        self._places = anyio.Semaphore(_PLACES)

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[Callable[[], Awaitable[None]]]:
        """A place for one result, if it turns out to need one.

        Yields:
            What waits for the place. The end of the block gives it back.
        """
        taken = False

        async def take() -> None:
            nonlocal taken
            await self._places.acquire()
            taken = True

        try:
            yield take
        finally:
            if taken:
                self._places.release()
