"""Serving MCP: stdio.

stdout belongs to the protocol; file descriptor 1 points at stderr meanwhile (`wire`), so a stray
print cannot reach a client.
"""

from __future__ import annotations

import logging
import os
import signal
import sys

import anyio
from anyio.abc import TaskGroup
from mcp.server.stdio import stdio_server
from pydantic import SecretStr

from hostup_mcp import logs
from hostup_mcp.config import Settings
from hostup_mcp.execution.journal import Journal, Repeats
from hostup_mcp.execution.polling import Patience
from hostup_mcp.execution.retention import Retention
from hostup_mcp.execution.runner import Runner
from hostup_mcp.execution.schedule import Schedule
from hostup_mcp.hostup.client import HostUpClient
from hostup_mcp.hostup.http import HttpTransport, Timeouts
from hostup_mcp.hostup.pacer import Pacer
from hostup_mcp.policy.policies import Policies
from hostup_mcp.receipts import Receipts
from hostup_mcp.server import CallLimits, ToolService, build
from hostup_mcp.wire import stdout_wire

_logger = logging.getLogger(__name__)


class StdoutFailed(Exception):
    """stdout takes nothing more, for a reason other than a client that has gone."""

    code = "stdout_failed"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.message = f"Answers cannot be written to stdout ({reason})."
        self.advice = "Check what stdout is connected to."


def serve_stdio(settings: Settings, policies: Policies) -> None:
    """Serve one client on stdin and stdout, until its end of stdin or a signal.

    Raises:
        JournalError: the state folder cannot be used.
        StdoutFailed: answers cannot be written, though the client is there.
    """
    key = settings.hostup.api_key
    logs.configure(settings.server.log_level, key.get_secret_value() if key else "")
    if key is None:
        _logger.warning("no API key: the tools are listed, and every call will say so")
    if policies.is_unrestricted_somewhere:
        # Said at every log level.
        _logger.critical("policy unrestricted: any command that parses is sent, as root")
    journal = Journal(settings.state.path / "journal.sqlite3")
    failure: StdoutFailed | None = None
    try:
        anyio.run(_serve, settings, policies, journal, key)
    except* (BrokenPipeError, anyio.BrokenResourceError):
        # A client that goes away first breaks the pipe under an answer; that is no error of ours.
        _logger.info("the client went away")
    except* OSError as errors:
        failure = StdoutFailed(str(errors.exceptions[0]))
    finally:
        journal.close()
    if failure is not None:
        raise failure


async def _serve(
    settings: Settings, policies: Policies, journal: Journal, key: SecretStr | None
) -> None:
    execution = settings.execution
    pacer = Pacer(rate=execution.requests_per_second, longest=execution.retry_after_longest_seconds)
    http = HttpTransport(settings.hostup.base_url, _timeouts(settings))
    client = HostUpClient(http, key, pacer)
    limits = CallLimits(settings.output.window_bytes, settings.server.client_timeout_seconds)
    async with anyio.create_task_group() as tasks:
        runner = _runner(settings, client, journal, tasks)
        receipts = Receipts()
        service = ToolService(client, runner, policies, limits, receipts)
        server = build(service, policies)
        if key is not None:
            tasks.start_soon(runner.reap_leftovers)
        if sys.platform != "win32":
            tasks.start_soon(_stop_on_signal, runner, journal)
        try:
            with stdout_wire(receipts) as stdout:
                async with stdio_server(stdout=stdout) as (receive, send):
                    await server.run(receive, send, server.create_initialization_options())
        finally:
            await runner.aclose()
        tasks.cancel_scope.cancel()


async def _stop_on_signal(runner: Runner, journal: Journal) -> None:
    """End in good order on SIGTERM or SIGINT, also while a thread blocks on stdin."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            await runner.aclose()
            journal.close()
            # The SDK's reader thread sits in a read that nothing can interrupt.
            os._exit(128 + number)


def _runner(settings: Settings, client: HostUpClient, journal: Journal, tasks: TaskGroup) -> Runner:
    execution, key = settings.execution, settings.hostup.api_key
    return Runner(
        client,
        journal,
        tasks,
        Schedule(first=execution.poll_first_seconds, longest=execution.poll_longest_seconds),
        Patience(
            lost_after=execution.lost_after_seconds,
            retry_after_longest=execution.retry_after_longest_seconds,
            start=execution.start_retry_seconds,
            reap=execution.reap_seconds,
        ),
        repeats=Repeats(execution.repeat_window_seconds),
        retention=Retention(settings.state.keep_days, settings.state.keep_mebibytes),
        secret=key.get_secret_value() if key else "",
        keep_raw=settings.output.keep_raw,
    )


def _timeouts(settings: Settings) -> Timeouts:
    hostup = settings.hostup
    return Timeouts(
        connect=hostup.connect_timeout_seconds,
        read=hostup.read_timeout_seconds,
        write=hostup.write_timeout_seconds,
        pool=hostup.pool_timeout_seconds,
        total=hostup.total_timeout_seconds,
    )
