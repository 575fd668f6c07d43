"""MCP over stdin and stdout, from the settings to the end of the process."""

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

from hostup_mcp.config.loading import Settings
from hostup_mcp.execution.journal.protocol import Journal
from hostup_mcp.execution.runner import Runner
from hostup_mcp.policy.policies import Policies
from hostup_mcp.transports.errors import StdoutFailed
from hostup_mcp.transports.server_parts import open_journal, start_server_parts
from hostup_mcp.transports.stdio_streams import stdio_streams

# A server ends within 3 s of a signal. The runner first gives requests to HostUp 1.5 s to end.
_ANSWER_SECONDS: Final = 0.3
_FLUSH_SECONDS: Final = 0.2
# After the end of stdin: the runner's 1.5 s, and 0.5 s for answers to be written.
_LAST_SECONDS: Final = 2.0

_logger = logging.getLogger(__name__)


def serve_stdio(settings: Settings, policies: Policies) -> None:
    """Serve one client on stdin and stdout, until stdin ends or a signal comes.

    Raises:
        JournalError: the state folder cannot be used.
        StdoutFailed: answers cannot be written, and not because the client has left.
    """
    failure: StdoutFailed | None = None
    with open_journal(settings, policies) as journal:
        try:
            anyio.run(_serve, settings, policies, journal)
        except* (BrokenPipeError, anyio.BrokenResourceError):
            # The client closed the pipe before it had an answer. That is no error of ours.
            _logger.info("the client left")
        except* OSError as errors:
            failure = StdoutFailed(str(errors.exceptions[0]))
    if failure is not None:
        raise failure


async def _serve(settings: Settings, policies: Policies, journal: Journal) -> None:
    async with start_server_parts(settings, policies, journal) as parts:
        server = parts.server
        if sys.platform != "win32":
            calls = _CallsInProgress()
            server.middleware.append(calls)
            parts.tasks.start_soon(_stop_on_signal, parts.runner, calls, journal)
        with (
            _exit_timer() as timer,
            stdio_streams(timer.start, parts.receipts) as (stdin, stdout),
        ):
            async with stdio_server(stdin, stdout) as (receive, send):
                await server.run(receive, send, server.create_initialization_options())


@contextmanager
def _exit_timer() -> Generator[threading.Timer]:
    """A timer that ends the process once it is started, unless the block ends first.

    A write to a stdout that nobody reads cannot be interrupted, and the SDK waits for it. The
    exit loses nothing: the journal is always on disk.
    """
    timer = threading.Timer(_LAST_SECONDS, os._exit, (0,))
    timer.daemon = True
    try:
        yield timer
    finally:
        timer.cancel()


class _CallsInProgress:
    """Server middleware that counts the tool calls in progress."""

    def __init__(self) -> None:
        self.count = 0
        self._ended = anyio.Event()

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        if ctx.method != "tools/call":
            return await call_next(ctx)
        self.count += 1
        try:
            return await call_next(ctx)
        finally:
            self.count -= 1
            self._ended.set()

    async def ended(self) -> None:
        """Wait until no call is in progress."""
        while self.count:
            self._ended = anyio.Event()
            await self._ended.wait()


async def _stop_on_signal(runner: Runner, calls: _CallsInProgress, journal: Journal) -> None:
    """End in good order on SIGTERM or SIGINT, even while a thread blocks on stdin."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            had_calls = calls.count > 0
            await runner.aclose()
            if had_calls:
                # Each call now answers with what is known: at least the handle.
                with anyio.move_on_after(_ANSWER_SECONDS):
                    await calls.ended()
                # The SDK writes an answer once its call has ended.
                await anyio.sleep(_FLUSH_SECONDS)
            await journal.aclose()
            # Nothing can interrupt the SDK's thread that reads stdin.
            os._exit(128 + number)
