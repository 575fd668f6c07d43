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

    Work that takes too long stays behind in a thread. A process that must not wait for that thread
    ends with `os._exit`.

    Raises:
        TimeoutError: the work takes longer than `seconds`.
    """
    outcome: Future[_Result] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised in the caller
            outcome.set_exception(error)

    return _outcome(outcome, run, seconds)


def within_loop(seconds: float, work: Callable[[], Awaitable[_Result]]) -> _Result:
    """The result of async `work`, which runs in its own event loop.

    It does not wait until the loop is closed: closing waits for name look-ups that nobody needs.

    Raises:
        TimeoutError: the work takes longer than `seconds`.
    """
    outcome: Future[_Result] = Future()

    async def run() -> None:
        try:
            outcome.set_result(await work())
        except BaseException as error:  # noqa: BLE001 - it is raised in the caller
            outcome.set_exception(error)

    return _outcome(outcome, lambda: anyio.run(run), seconds)


def _outcome(outcome: Future[_Result], run: Callable[[], None], seconds: float) -> _Result:
    threading.Thread(target=run, daemon=True).start()
    return outcome.result(seconds)
