"""Gives up work that takes too long, whatever it hangs in: a name, a socket, a disk."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import TypeVar

import anyio

_Result = TypeVar("_Result")


def within(seconds: float, work: Callable[[], _Result]) -> _Result:
    """The result of `work`, which may block.

    Work that is given up stays behind in a thread, so that a process which is to end for certain
    must end by `os._exit`.

    Raises:
        TimeoutError: it takes longer.
    """
    outcome: Future[_Result] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            outcome.set_exception(error)

    return _outcome(outcome, run, seconds)


def within_loop(seconds: float, work: Callable[[], Awaitable[_Result]]) -> _Result:
    """The same for work in an event loop of its own.

    The loop's end is not waited for: it waits for name look-ups that nobody needs any more.

    Raises:
        TimeoutError: it takes longer.
    """
    outcome: Future[_Result] = Future()

    async def run() -> None:
        try:
            outcome.set_result(await work())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            outcome.set_exception(error)

    return _outcome(outcome, lambda: anyio.run(run), seconds)


def _outcome(outcome: Future[_Result], run: Callable[[], None], seconds: float) -> _Result:
    threading.Thread(target=run, daemon=True).start()
    return outcome.result(seconds)
