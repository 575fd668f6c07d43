"""A runner in this process: over a real socket, with a real journal."""

from __future__ import annotations

import subprocess
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
from pydantic import SecretStr

from hostup_mcp.execution.job import Job
from hostup_mcp.execution.journal.errors import JournalError
from hostup_mcp.execution.journal.limits import DuplicateWindow
from hostup_mcp.execution.journal.owner import current_owner
from hostup_mcp.execution.journal.records import LOCAL, Completed, Execution
from hostup_mcp.execution.journal.sqlite.journal import SqliteJournal
from hostup_mcp.execution.journal.sqlite.store import SqliteStore
from hostup_mcp.execution.runner import Order, Runner
from hostup_mcp.execution.schedule import RetryLimits, Schedule
from hostup_mcp.hostup.client import HostUpClient
from hostup_mcp.hostup.http import HttpTransport, Timeouts
from hostup_mcp.hostup.pacer import Pacer
from hostup_mcp.policy.judge import ApprovedCommand
from hostup_mcp.policy.policies import Policies, PolicyData
from hostup_mcp.server.service import Caller, CallLimits, ToolService
from tests.scripted_api import Answer, Received, ScriptedApi, json_answer

VPS = "vps_1"
KEY = "some_key_123"
DONE = json_answer({"exited": True, "exitCode": 0, "stdout": "out"})
Script = Callable[[Received], Answer]
GOES_ON = json_answer({"exited": False})
POLICIES = Policies(PolicyData())
POLICY = POLICIES.default


def approved(text: str = "uptime") -> ApprovedCommand:
    verdict = POLICY.judge(text)
    assert isinstance(verdict, ApprovedCommand)
    return verdict


def flow(
    poll: Callable[[], Answer] = lambda: DONE, start: Answer | None = None, probe_delay: float = 0
) -> Script:
    """Available, started with pid 7, and then what `poll` gives."""

    def script(request: Received) -> Answer:
        if "pid=" in request.path:
            return poll()
        if request.method == "POST":
            return start or json_answer({"pid": 7})
        probe = json_answer({"available": True})
        return Answer(200, probe.body, delay=probe_delay)

    return script


def after_boot(uptime: object, poll: Callable[[], Answer] = lambda: DONE) -> Callable[..., Answer]:
    """A VPS that has been up for so long."""

    def script(request: Received) -> Answer:
        if request.path.endswith("/status"):
            if isinstance(uptime, Answer):
                return uptime
            return json_answer({"powerState": "running", "uptimeSeconds": uptime})
        return flow(poll)(request)

    return script


def order(text: str = "uptime", key: str | None = None, vps_id: str = VPS) -> Order:
    return Order(vps_id, approved(text), key)


DUPLICATES = DuplicateWindow()
RETRY_LIMITS = RetryLimits(lost_after=1.0, retry_after_longest=3.0, start=3.0)


def client_of(url: str, longest_wait: float = 3.0) -> HostUpClient:
    http = HttpTransport(url, Timeouts(read=2, total=5))
    return HostUpClient(http, SecretStr(KEY), Pacer(longest=longest_wait))


@asynccontextmanager
async def running(
    api: ScriptedApi,
    journal: SqliteStore,
    clock: Callable[[], float] = time.time,
    duplicates: DuplicateWindow | None = None,
    limits: RetryLimits = RETRY_LIMITS,
    schedule: Schedule | None = None,
    client: HostUpClient | None = None,
    **more: Any,
) -> AsyncGenerator[Runner]:
    client, more = (
        client or client_of(api.url),
        {
            "duplicates": duplicates,
            "clock": clock,
            "me": acting,
            **more,
        },
    )
    async with anyio.create_task_group() as tasks:
        store = SqliteJournal(journal)
        runner = Runner(client, store, tasks, schedule or Schedule(), limits, **more)
        try:
            yield runner
        finally:
            await runner.aclose()
        tasks.cancel_scope.cancel()


ACTING: ContextVar[str | None] = ContextVar("ACTING", default=None)
"""Whom the journal takes the running code for, where a test plays several processes."""


def acting() -> str:
    """The process that the running code plays; this one where it plays none."""
    return ACTING.get() or current_owner()


@contextmanager
def processes(*owners: str) -> Generator[None]:
    """Let the code run as one of these processes, by `ACTING`; at first as the first of them."""
    token = ACTING.set(owners[0])
    yield
    ACTING.reset(token)


@contextmanager
def another_process() -> Generator[subprocess.Popen[bytes]]:
    """A process that is there, and does nothing; a test may kill it."""
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            yield process
        finally:
            process.kill()


async def _send_nothing(progress: float, total: None, message: str) -> None:
    pass


@dataclass(frozen=True)
class Tools:
    """The tools, as a client of some name calls them."""

    service: ToolService
    client_name: str | None
    principal: str = LOCAL

    async def call(self, name: str, **arguments: Any) -> types.CallToolResult:
        caller = Caller(_send_nothing, self.client_name, self.principal)
        answer = await self.service.call(name, arguments, caller)
        assert isinstance(answer, types.CallToolResult), "nobody here takes tasks"
        return answer

    async def exec(self, command: str = "uptime", **more: Any) -> types.CallToolResult:
        return await self.call("vps_exec", **{"vps_id": VPS, "command": command, **more})


@asynccontextmanager
async def tools(
    api: ScriptedApi,
    journal: SqliteStore,
    *,
    client_name: str | None = "claude-ai",
    duplicates: DuplicateWindow | None = DUPLICATES,
    longest_wait: float = 3.0,
    **more: Any,
) -> AsyncGenerator[Tools]:
    """The tools in this process, with the settings' defaults for repeats."""
    client = client_of(api.url, longest_wait)
    async with running(api, journal, duplicates=duplicates, client=client, **more) as runner:
        service = ToolService(client, runner, Policies(PolicyData()), CallLimits())
        yield Tools(service, client_name)


async def followed(runner: Runner, pid: int) -> Job:
    """The job of a command that is asked for by its pid."""
    job = await runner.follow(VPS, pid)
    assert job is not None
    return job


def wrote(journal: SqliteStore, execution: Execution) -> str:
    """The stdout of a command that has ended."""
    assert isinstance(execution.state, Completed)
    return journal.output(execution).stdout.text


async def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what happens in another task or thread, which has no event for it."""
    with anyio.fail_after(20):
        while not condition():  # noqa: ASYNC110 - see above
            await anyio.sleep(0.01)


def polls(api: ScriptedApi) -> int:
    return sum("pid=" in request.path for request in api.received)


def starts(api: ScriptedApi) -> int:
    return sum(request.method == "POST" for request in api.received)


def refusing(method: Callable[..., Any], times: int) -> Callable[..., Any]:
    """A method of the journal that fails so many times, as with a full disk, and then works."""
    left = iter(range(times))

    def refuse(*arguments: Any, **more: Any) -> Any:
        if next(left, None) is not None:
            raise JournalError(Path("journal"), "disk full")
        return method(*arguments, **more)

    return refuse
