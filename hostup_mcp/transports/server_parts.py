"""The parts of a server, made from the settings: one journal, one HostUp client and one runner."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import TaskGroup
from mcp.server.lowlevel import Server

from hostup_mcp import logs
from hostup_mcp.config.loading import Settings
from hostup_mcp.execution.journal.limits import DuplicateWindow, Retention
from hostup_mcp.execution.journal.protocol import Journal
from hostup_mcp.execution.journal.sqlite.journal import SqliteJournal
from hostup_mcp.execution.journal.sqlite.store import SqliteStore
from hostup_mcp.execution.runner import Runner
from hostup_mcp.execution.schedule import RetryLimits, Schedule
from hostup_mcp.hostup import proxies
from hostup_mcp.hostup.client import HostUpClient
from hostup_mcp.hostup.http import HttpTransport, Timeouts
from hostup_mcp.policy.policies import Policies
from hostup_mcp.server.delivery import Receipts
from hostup_mcp.server.protocol import build
from hostup_mcp.server.refusal_log import RefusalLog
from hostup_mcp.server.service import CallLimits, ToolService
from hostup_mcp.transports.last_reply import ReplyTimePacer

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServerParts:
    """The parts that a transport works with.

    Attributes:
        server: the MCP server; sessions of every transport can run on it.
        runner: drives executions, in `tasks`.
        pacer: knows when HostUp last replied.
        receipts: told what went out.
        tasks: cancelled when the transport ends.
    """

    server: Server[Any]
    runner: Runner
    pacer: ReplyTimePacer
    receipts: Receipts
    tasks: TaskGroup


@contextmanager
def open_journal(settings: Settings, policies: Policies) -> Generator[Journal]:
    """Set up logging, warn the operator, and keep the journal open while the block runs.

    Raises:
        JournalError: the state folder cannot be used.
    """
    key = settings.hostup.api_key
    logs.configure(settings.server.log_level, key.get_secret_value() if key else "")
    logs.hide(proxies.secrets())
    if key is None:
        why = settings.hostup.key_fault or "no API key."
        _logger.warning("%s The tools are listed, but every call fails and says so.", why)
    if policies.is_unrestricted_somewhere:
        # Logged at every log level.
        _logger.critical("policy unrestricted: any command that parses is sent, as root")
    store = SqliteStore(settings.state.path / "journal.sqlite3")
    try:
        yield SqliteJournal(store)
    finally:
        store.close()


@asynccontextmanager
async def start_server_parts(
    settings: Settings, policies: Policies, journal: Journal
) -> AsyncGenerator[ServerParts]:
    """Make the parts, and stop them when the block ends.

    Commands that still run then run on, and the journal keeps them as running.
    """
    execution, key = settings.execution, settings.hostup.api_key
    pacer = ReplyTimePacer(
        rate=execution.requests_per_second, longest=execution.retry_after_longest_seconds
    )
    http = HttpTransport(settings.hostup.base_url, _timeouts(settings))
    client = HostUpClient(http, key, pacer, settings.hostup.key_fault)
    limits = CallLimits(
        settings.output.window_bytes,
        settings.server.client_timeout_seconds,
        keep_seconds=settings.state.keep_days * 86_400,
        commands_at_once=execution.commands_at_once,
    )
    async with anyio.create_task_group() as tasks:
        runner = _runner(settings, client, journal, tasks)
        receipts = Receipts()
        refusals = RefusalLog(key.get_secret_value() if key else "")
        service = ToolService(client, runner, policies, limits, receipts, refusals)
        server = build(service, policies)
        if key is not None:
            tasks.start_soon(runner.recover)
        try:
            yield ServerParts(server, runner, pacer, receipts, tasks)
        finally:
            await runner.aclose()
        tasks.cancel_scope.cancel()


def _runner(settings: Settings, client: HostUpClient, journal: Journal, tasks: TaskGroup) -> Runner:
    execution, key = settings.execution, settings.hostup.api_key
    return Runner(
        client,
        journal,
        tasks,
        Schedule(first=execution.poll_first_seconds, longest=execution.poll_longest_seconds),
        RetryLimits(
            lost_after=execution.lost_after_seconds,
            retry_after_longest=execution.retry_after_longest_seconds,
            start=execution.start_retry_seconds,
            reap=execution.reap_seconds,
        ),
        duplicates=DuplicateWindow(execution.repeat_window_seconds, execution.reap_seconds),
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
