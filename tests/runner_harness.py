"""A runner in this process: over a real socket, with a real journal."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from pydantic import SecretStr

from hostup_mcp.execution.journal import Journal, JournalError
from hostup_mcp.execution.runner import Patience, Runner
from hostup_mcp.execution.schedule import Schedule
from hostup_mcp.hostup.client import HostUpClient
from hostup_mcp.hostup.http import HttpTransport, Timeouts
from hostup_mcp.policy.judge import ApprovedCommand
from hostup_mcp.policy.policies import Policies, PolicyData
from tests.scripted_api import Answer, Received, ScriptedApi, json_answer

VPS = "vps_1"
DONE = json_answer({"exited": True, "exitCode": 0, "stdout": "out"})
Script = Callable[[Received], Answer]
POLICY = Policies(PolicyData()).default


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


@asynccontextmanager
async def running(
    api: ScriptedApi, journal: Journal, clock: Callable[[], float] = time.time
) -> AsyncGenerator[Runner]:
    http = HttpTransport(api.url, Timeouts(read=2, total=5))
    client = HostUpClient(http, SecretStr("some_key_123"))
    async with anyio.create_task_group() as tasks:
        runner = Runner(client, journal, tasks, Schedule(), Patience(1.0, 3.0), clock)
        try:
            yield runner
        finally:
            await runner.aclose()
        tasks.cancel_scope.cancel()


def refusing(method: Callable[..., Any], times: int) -> Callable[..., Any]:
    """A method of the journal that fails so many times, as with a full disk, and then works."""
    left = iter(range(times))

    def refuse(*arguments: Any, **more: Any) -> Any:
        if next(left, None) is not None:
            raise JournalError(Path("journal"), "disk full")
        return method(*arguments, **more)

    return refuse
