"""Sends progress notifications while a call goes on: one at once, then at most one a second."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import anyio

INTERVAL_SECONDS: Final = 1.0

Send = Callable[[float, None, str], Awaitable[None]]
"""Sends one notification: progress, total, message. Does nothing if the client wants none."""


@asynccontextmanager
async def reporting(send: Send, describe: Callable[[], str]) -> AsyncGenerator[None]:
    """Report while the block runs.

    The progress value is the elapsed time in seconds: it grows, and it has no known total.

    Args:
        send: sends a notification.
        describe: returns what the call is doing now.
    """
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_report, send, describe)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised below, outside the group that would wrap it
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _report(send: Send, describe: Callable[[], str]) -> None:
    began = anyio.current_time()
    elapsed = 0.0
    try:
        while True:
            await send(elapsed, None, f"{elapsed:.0f} s: {describe()}")
            await anyio.sleep(INTERVAL_SECONDS)
            elapsed = anyio.current_time() - began
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return  # the client has gone; the call itself will learn of it
