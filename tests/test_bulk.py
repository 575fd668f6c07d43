"""200 commands at once over 50 VPSs, by a process of its own: right, in bounds, under the limit."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import pytest
import uvicorn
from pydantic import SecretStr
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hostup_mcp.execution.journal.limits import DuplicateWindow
from hostup_mcp.execution.journal.sqlite.journal import SqliteJournal
from hostup_mcp.execution.journal.sqlite.store import SqliteStore
from hostup_mcp.execution.runner import Runner
from hostup_mcp.execution.schedule import RetryLimits, Schedule
from hostup_mcp.hostup.client import HostUpClient
from hostup_mcp.hostup.http import HttpTransport, Timeouts
from hostup_mcp.hostup.models import Vps
from hostup_mcp.hostup.pacer import Pacer
from hostup_mcp.policy.policies import Policies, PolicyData
from hostup_mcp.sandbox.api import READ, WRITE, SandboxApi, SandboxVps
from hostup_mcp.sandbox.guests import Exit, LocalGuest
from hostup_mcp.server.service import Caller, CallLimits, ToolService
from tests.stdio_client import facts

KEY = "some_key_123"
MACHINES = 50
COMMANDS = 200
WINDOW_SECONDS = 2.5
LIMIT = 350
UNTOLD_RATE = 120.0
"""Requests a second where no reply tells the limit, which it fits, burst and all."""
BIG = 10
BIG_BYTES = 2 * 1024 * 1024
MEMORY_MIB = 300
"""About 90 before the first command, and some 130 with all of them."""


class Guest(LocalGuest):
    """Notes whose turn it was, in one list for all guests."""

    def __init__(self, turns: list[int]) -> None:
        super().__init__()
        self._turns = turns

    async def start(self, command: str) -> int:
        pid = await super().start(command)
        self._turns.append(pid)
        return pid

    async def read(self, pid: int) -> Exit | None:
        self._turns.append(pid)
        return await super().read(pid)


class Counted:
    """An API that counts in short windows, and may tell what is left."""

    def __init__(self, app: ASGIApp, *, is_told: bool) -> None:
        self._app = app
        self._is_told = is_told
        self._began = float("-inf")
        self._used = 0
        self.requests = 0
        self.most = 0
        self.statuses: set[int] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        now = time.time()
        if now - self._began >= WINDOW_SECONDS:
            self._began, self._used = now, 0
        self._used += 1
        self.requests += 1
        self.most = max(self.most, self._used)
        reset = datetime.fromtimestamp(self._began + WINDOW_SECONDS, UTC)
        headers = [
            (b"x-ratelimit-limit", str(LIMIT).encode()),
            (b"x-ratelimit-remaining", str(max(0, LIMIT - self._used)).encode()),
            (b"x-ratelimit-reset", reset.isoformat(timespec="milliseconds").encode()),
        ]

        async def reply(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.statuses.add(message["status"])
                if self._is_told:
                    message = {**message, "headers": [*message["headers"], *headers]}
            await send(message)

        await self._app(scope, receive, reply)


@contextmanager
def serving(app: ASGIApp) -> Generator[str]:
    # Named as TCP, so that asyncio turns Nagle's algorithm off.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="on", ws="none", log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("is_told", [True, False])
def test_many_commands_at_once(tmp_path: Path, *, is_told: bool) -> None:
    turns: list[int] = []
    fleet = [SandboxVps(Vps(id=f"vps_{number}"), Guest(turns)) for number in range(MACHINES)]
    sandbox = SandboxApi(fleet, {KEY: frozenset({READ, WRITE})}, 1_000_000)
    api = Counted(sandbox.app, is_told=is_told)
    with serving(api) as url:
        done = subprocess.run(
            [sys.executable, "-m", "tests.test_bulk", url, str(tmp_path)],
            check=True,
            capture_output=True,
            cwd=Path(__file__).parents[1],
        )
    came = json.loads(done.stdout)
    assert came["answers"] == [
        [f"{number}\n{number}\n", BIG_BYTES]
        if number < BIG
        else [f"{number}\n", len(f"{number}\n")]
        for number in range(COMMANDS)
    ]
    assert came["peak_mib"] < MEMORY_MIB
    assert api.most <= LIMIT
    assert api.statuses == {200}
    # Each VPS is described once and probed once, however many ask.
    assert api.requests <= 2 * MACHINES + len(turns)
    # First come, first served: a command waits for one request of each other command, and for
    # those that are under way; twice that where the disk holds some up.
    assert longest_wait(turns) <= 2 * (COMMANDS + 100)


def longest_wait(turns: list[int]) -> int:
    """How many turns others had between a command's start and the first question for it."""
    begun: dict[int, int] = {}
    waits: dict[int, int] = {}
    for turn, pid in enumerate(turns):
        if pid in begun:
            waits.setdefault(pid, turn - begun[pid])
        begun.setdefault(pid, turn)
    assert len(waits) == COMMANDS
    return max(waits.values())


# ------------------------------------------------------------------ the process


async def run_all(url: str, folder: str) -> dict[str, Any]:
    """Give all commands at once; what each printed, as the tool tells it."""
    http = HttpTransport(url, Timeouts())
    client = HostUpClient(http, SecretStr(KEY), Pacer(rate=UNTOLD_RATE))
    journal = SqliteStore(Path(folder) / "journal")
    policies = Policies(PolicyData(preset="unrestricted"))
    answers: list[tuple[str, int]] = [("", 0)] * COMMANDS

    async def run(service: ToolService, number: int) -> None:
        command = f"yes {number} | head -c {BIG_BYTES}" if number < BIG else f"echo {number}"
        arguments = {
            "vps_id": f"vps_{number % MACHINES}",
            "command": command,
            "wait_seconds": 60,
        }
        answer = await service.call("vps_exec", arguments, Caller(silent))
        assert isinstance(answer, types.CallToolResult)
        told = facts(answer)
        answers[number] = (told["stdout"][: 2 * len(f"{number}\n")], told["stdout_bytes"])

    async with anyio.create_task_group() as tasks:
        runner = Runner(
            client,
            SqliteJournal(journal),
            tasks,
            Schedule(),
            RetryLimits(),
            duplicates=DuplicateWindow(),
            secret=KEY,
        )
        service = ToolService(client, runner, policies, CallLimits(client_seconds=600))
        async with anyio.create_task_group() as calls:
            for number in range(COMMANDS):
                calls.start_soon(run, service, number)
        await runner.aclose()
    journal.close()
    return {"answers": answers, "peak_mib": peak_mib()}


async def silent(_progress: float, _total: None, _message: str) -> None:
    pass


def peak_mib() -> float:
    """The most memory of this process (proc(5)); getrusage counts that of its parent in."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    print(json.dumps(anyio.run(run_all, sys.argv[1], sys.argv[2])))  # noqa: T201
