"""Serving MCP on stdin and stdout.

stdout belongs to the protocol; file descriptor 1 points at stderr meanwhile (`wire`), so a stray
print cannot reach a client.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.stdio import stdio_server

from hostup_mcp.config import Settings
from hostup_mcp.execution.journal.protocol import Journal
from hostup_mcp.execution.runner import Runner
from hostup_mcp.policy.policies import Policies
from hostup_mcp.transports.errors import StdoutFailed
from hostup_mcp.transports.serving import opened, serving
from hostup_mcp.transports.stdin_lines import stdin_lines
from hostup_mcp.wire import stdout_wire

# Of the 3 s after a signal; the runner gives requests to HostUp that are under way 1.5 s.
_ANSWER_SECONDS: Final = 0.3
_FLUSH_SECONDS: Final = 0.2
# After the end of stdin: the runner's 1.5 s, and 0.5 s for answers.
_LAST_SECONDS: Final = 2.0

_logger = logging.getLogger(__name__)


def serve_stdio(settings: Settings, policies: Policies) -> None:
    """Serve one client on stdin and stdout, until its end of stdin or a signal.

    Raises:
        JournalError: the state folder cannot be used.
        StdoutFailed: answers cannot be written, though the client is there.
    """
    failure: StdoutFailed | None = None
    with opened(settings, policies) as journal:
        try:
            anyio.run(_serve, settings, policies, journal)
        except* (BrokenPipeError, anyio.BrokenResourceError):
            # A client that goes away first breaks the pipe under an answer; no error of ours.
            _logger.info("the client went away")
        except* OSError as errors:
            failure = StdoutFailed(str(errors.exceptions[0]))
    if failure is not None:
        raise failure


async def _serve(settings: Settings, policies: Policies, journal: Journal) -> None:
    async with serving(settings, policies, journal) as served:
        server = served.server
        if sys.platform != "win32":
            calls = _Calls()
            server.middleware.append(calls)
            served.tasks.start_soon(_stop_on_signal, served.runner, calls, journal)
        with (
            _leaving_at_last() as at_end,
            stdin_lines(at_end.start) as stdin,
            stdout_wire(served.receipts) as stdout,
        ):
            async with stdio_server(stdin, stdout) as (receive, send):
                await server.run(receive, send, server.create_initialization_options())


@contextmanager
def _leaving_at_last() -> Generator[threading.Timer]:
    """A clock, to be started at the end of stdin, that ends the process unless the block ends.

    A write to a stdout that nobody reads cannot be interrupted, and the SDK waits for it. What the
    journal has is on disk at any moment.
    """
    last = threading.Timer(_LAST_SECONDS, os._exit, (0,))
    last.daemon = True
    try:
        yield last
    finally:
        last.cancel()


class _Calls:
    """Server middleware that knows how many tool calls are under way."""

    def __init__(self) -> None:
        self.under_way = 0
        self._ended = anyio.Event()

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        if ctx.method != "tools/call":
            return await call_next(ctx)
        self.under_way += 1
        try:
            return await call_next(ctx)
        finally:
            self.under_way -= 1
            self._ended.set()

    async def ended(self) -> None:
        """Wait until none is under way."""
        while self.under_way:
            self._ended = anyio.Event()
            await self._ended.wait()


async def _stop_on_signal(runner: Runner, calls: _Calls, journal: Journal) -> None:
    """End in good order on SIGTERM or SIGINT, also while a thread blocks on stdin."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            are_owed = calls.under_way > 0
            await runner.aclose()
            if are_owed:
                # With what is known by now, which is at least the handle.
                with anyio.move_on_after(_ANSWER_SECONDS):
                    await calls.ended()
                # The SDK writes an answer once its call has ended.
                await anyio.sleep(_FLUSH_SECONDS)
            await journal.aclose()
            # The SDK's reader thread sits in a read that nothing can interrupt.
            os._exit(128 + number)
