"""What running commands costs: `python benchmarks/execution.py [instant | many]`.

Prints the tables of benchmarks/README.md. The API is the sandbox's, in a process of its own on a
loopback socket, with a round trip that is made up and, where that is said, with HostUp's rate-limit
headers on every reply. Its guests run the commands on this machine.
"""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, cast

import anyio
import httpx
import mcp_types as types
import uvicorn
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
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
from hostup_mcp.policy.judge import ApprovedCommand
from hostup_mcp.policy.policies import Policies, PolicyData
from hostup_mcp.sandbox.api import READ, WRITE, SandboxApi, SandboxVps
from hostup_mcp.sandbox.guests import LocalGuest
from hostup_mcp.server.service import Answer, Caller, CallLimits, ToolService

KEY: Final = "benchmark_key_0123456789"
# The window of the sandbox's rate limit.
WINDOW_SECONDS: Final = 60.0
ROUND_TRIP: Final = 0.03
ROUNDS: Final = 80
UNLIMITED: Final = 10**9
MACHINES: Final = 50
COMMANDS: Final = 200
BIG_BYTES: Final = 5 * 1024 * 1024

# This script once more, as a process of its own.
SERVE: Final = "serve"
BULK: Final = "bulk"

POLICIES: Final = Policies(PolicyData(preset="unrestricted"))


def main() -> None:
    """Print what is asked for, or be one of the processes that it takes."""
    match sys.argv[1:]:
        case [part, options] if part == SERVE:
            asyncio.run(serve(Shape(**json.loads(options))))
        case [part, options] if part == BULK:
            print(json.dumps(anyio.run(partial(bulk, **json.loads(options)))))
        case ["instant"]:
            anyio.run(instant)
        case ["many"]:
            many()
        case []:
            anyio.run(instant)
            print()
            many()
        case _:
            raise SystemExit(__doc__)


# ------------------------------------------------------------------ the API


@dataclass(frozen=True, slots=True)
class Shape:
    """What the API is like.

    Attributes:
        machines: how many VPSs there are; all take commands.
        limit: requests in a minute.
        is_told: whether every reply says what is left of them; else only a 429 does.
        round_trip: seconds, one half before a request arrives and one before its reply does.
    """

    machines: int
    limit: int
    is_told: bool = True
    round_trip: float = ROUND_TRIP


class Metered:
    """The sandbox's API behind a long line; it counts as the sandbox does."""

    def __init__(self, app: ASGIApp, shape: Shape) -> None:
        """None counted yet."""
        self._app = app
        self._shape = shape
        self._began = float("-inf")
        self._used = 0
        self._minute: deque[float] = deque()
        self._first = 0.0
        self.counts = {"requests": 0, "in_window": 0, "in_minute": 0, "refused": 0, "seconds": 0.0}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await asyncio.sleep(self._shape.round_trip / 2)
        told = self._count()

        async def reply(message: Message) -> None:
            if message["type"] == "http.response.start":
                await asyncio.sleep(self._shape.round_trip / 2)
                if message["status"] == 429:
                    self.counts["refused"] += 1
                elif self._shape.is_told:
                    message = {**message, "headers": [*message["headers"], *told]}
            await send(message)

        await self._app(scope, receive, reply)

    def _count(self) -> list[tuple[bytes, bytes]]:
        """Count a request that arrives; the headers for its reply."""
        now = time.time()
        if now - self._began >= WINDOW_SECONDS:
            self._began, self._used = now, 0
        self._used += 1
        self._minute.append(now)
        while now - self._minute[0] >= WINDOW_SECONDS:
            self._minute.popleft()
        self._first = self._first or now
        counts = self.counts
        counts["requests"] += 1
        counts["in_window"] = max(counts["in_window"], self._used)
        counts["in_minute"] = max(counts["in_minute"], len(self._minute))
        counts["seconds"] = now - self._first
        limit = self._shape.limit
        reset = datetime.fromtimestamp(self._began + WINDOW_SECONDS, UTC)
        return [
            (b"x-ratelimit-limit", str(limit).encode()),
            (b"x-ratelimit-remaining", str(max(0, limit - self._used)).encode()),
            (b"x-ratelimit-reset", reset.isoformat(timespec="milliseconds").encode()),
        ]


async def serve(shape: Shape) -> None:
    """Be the API until stdin ends; print its address at first, and its counts at last."""
    fleet = [SandboxVps(Vps(id=vps(number)), LocalGuest()) for number in range(shape.machines)]
    sandbox = SandboxApi(fleet, {KEY: frozenset({READ, WRITE})}, shape.limit)
    api = Metered(sandbox.app, shape)
    config = uvicorn.Config(api, lifespan="on", ws="none", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    # Named as TCP, so that asyncio turns Nagle's algorithm off.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    print(json.dumps(f"http://127.0.0.1:{listener.getsockname()[1]}"), flush=True)
    serving = asyncio.create_task(server.serve([listener]))
    await asyncio.to_thread(sys.stdin.read)
    server.should_exit = True
    await serving
    print(json.dumps(api.counts))


def vps(number: int) -> str:
    """The id of a VPS."""
    return f"vps_{number}"


class Api:
    """The API as a process, for a `with` block.

    Attributes:
        url: its address.
        counts: what it counted, once it has ended.
    """

    def __init__(self, shape: Shape) -> None:
        """Not started yet."""
        self._shape = shape
        self.url = ""
        self.counts: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__, SERVE, json.dumps(asdict(self._shape))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.url = json.loads(next(iter(self._process.stdout or ()), b'""'))
        return self

    def __exit__(self, *exception: object) -> None:
        out, _ = self._process.communicate(timeout=60)
        self.counts = json.loads(out)


# ------------------------------------------------------------------ ways to run a command

Run = Callable[[str, str], Awaitable[None]]
"""Runs a command on a VPS and has its result."""


@asynccontextmanager
async def bare(url: str) -> AsyncGenerator[Run]:
    """The HTTP requests that it takes, and nothing else: probe, POST, and polls without a pause."""
    limits = Timeouts()
    timeout = httpx.Timeout(
        connect=limits.connect, read=limits.read, write=limits.write, pool=limits.pool
    )
    headers = {"Authorization": f"Bearer {KEY}"}
    http = httpx.AsyncClient(base_url=url, timeout=timeout, headers=headers, trust_env=False)

    async def run(vps_id: str, command: str) -> None:
        path = f"/api/v2/vps/{vps_id}/agent/exec"
        approved = cast("ApprovedCommand", POLICIES.default.judge(command))
        (await http.get(path)).raise_for_status()
        pid = (await http.post(path, json={"command": approved.sent})).json()["pid"]
        while not (await http.get(path, params={"pid": pid})).json()["exited"]:
            pass

    async with http:
        yield run


@asynccontextmanager
async def tools(url: str) -> AsyncGenerator[ToolService]:
    """What the server serves, with its defaults, apart from the protocol."""
    client = HostUpClient(HttpTransport(url, Timeouts()), SecretStr(KEY), Pacer())
    with tempfile.TemporaryDirectory() as folder:
        journal = SqliteStore(Path(folder) / "journal.sqlite3")
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
            yield ToolService(client, runner, POLICIES, CallLimits(client_seconds=3600))
            await runner.aclose()
        journal.close()


async def silent(_progress: float, _total: None, _message: str) -> None:
    """Progress that nobody asked for."""


@asynccontextmanager
async def in_process(url: str) -> AsyncGenerator[Run]:
    """`vps_exec` without the protocol."""
    async with tools(url) as service:

        async def run(vps_id: str, command: str) -> None:
            arguments = {"vps_id": vps_id, "command": command}
            facts(await service.call("vps_exec", arguments, Caller(silent)))

        yield run


@asynccontextmanager
async def over_stdio(url: str) -> AsyncGenerator[Run]:
    """`vps_exec` of a server process, with the official client."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.toml"
        config.write_text('[policy]\npreset = "unrestricted"\n')
        env = {
            "HOME": folder,
            "HOSTUP_API_KEY": KEY,
            "HOSTUP_BASE_URL": url,
            "HOSTUP_MCP_CONFIG": str(config),
            "HOSTUP_MCP_STATE_DIR": folder,
            "HOSTUP_MCP__SERVER__CLIENT_TIMEOUT_SECONDS": "60",
        }
        server = StdioServerParameters(command=sys.executable, args=["-m", "hostup_mcp"], env=env)
        log = tempfile.TemporaryFile("w", dir=folder)  # noqa: SIM115 - gone with the folder
        async with Client(stdio_client(server, log)) as client:

            async def run(vps_id: str, command: str) -> None:
                arguments = {"vps_id": vps_id, "command": command}
                facts(await client.call_tool("vps_exec", arguments))

            yield run
        log.close()


def facts(result: Answer) -> Mapping[str, Any]:
    """The facts of an answer that is a result."""
    if not isinstance(result, types.CallToolResult):
        raise TypeError("a task")
    found = result.structured_content
    if result.is_error or not isinstance(found, dict):
        raise RuntimeError(str(result.content))
    return cast("dict[str, Any]", found)


# ------------------------------------------------------------------ an instant command


async def instant() -> None:
    """What an instant command costs beside the bare requests."""
    ways = {"bare": bare, "in process": in_process, "over stdio": over_stdio}
    first: dict[str, list[float]] = {way: [] for way in ways}
    later: dict[str, list[float]] = {way: [] for way in ways}
    with Api(Shape(ROUNDS + 1, UNLIMITED, is_told=False)) as api:
        async with AsyncExitStack() as stack:
            runs = {way: await stack.enter_async_context(ways[way](api.url)) for way in ways}
            for run in runs.values():
                await run(vps(ROUNDS), "echo warm")
            for number in range(ROUNDS):
                for way, run in runs.items():
                    first[way].append(await timed(run, vps(number), f"echo first {number}"))
                for way, run in runs.items():
                    later[way].append(await timed(run, vps(number), f"echo later {number}"))
    print(f"A round trip of {ROUND_TRIP * 1000:.0f} ms, {ROUNDS} VPSs, interleaved.\n")
    print("| `echo`, ms (median, 90 %) | first on a VPS | ratio | then | ratio |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for way in ways:
        cells = [f"{cell(first[way])} | {ratio(first[way], first['bare'])}"]
        cells.append(f"{cell(later[way])} | {ratio(later[way], later['bare'])}")
        print(f"| {way} | {' | '.join(cells)} |")


async def timed(run: Run, vps_id: str, command: str) -> float:
    """Seconds that one run takes."""
    began = time.perf_counter()
    await run(vps_id, command)
    return time.perf_counter() - began


def cell(times: list[float]) -> str:
    """Median and nine tenths, in milliseconds."""
    tenths = statistics.quantiles(times, n=10)
    return f"{statistics.median(times) * 1000:.1f}, {tenths[-1] * 1000:.1f}"


def ratio(times: list[float], base: list[float]) -> str:
    """Of the medians."""
    return f"{statistics.median(times) / statistics.median(base):.2f}"


# ------------------------------------------------------------------ many at once


def many() -> None:
    """200 commands at once over 50 VPSs, with limits that are told and that are not."""
    print(f"{COMMANDS} commands at once over {MACHINES} VPSs, each prints its own number.\n")
    rows: list[list[str]] = []
    for limit, is_told, big in ((600, True, 0), (600, True, 20), (240, True, 0), (600, False, 0)):
        with Api(Shape(MACHINES, limit, is_told)) as api:
            options = json.dumps({"url": api.url, "big": big})
            done = subprocess.run(
                [sys.executable, __file__, BULK, options], check=True, stdout=subprocess.PIPE
            )
        kind = (str(limit), "yes" if is_told else "no", str(big))
        rows.append([*kind, *figures(limit, json.loads(done.stdout), api.counts)])
    names = (
        "limit a minute", "told", "of 5 MiB", "right", "memory before, MiB", "most memory, MiB",
        "requests", "a second", "most in a window", "in any 60 s", "429", "median answer, s",
        "longest, s", "of the time at that rate",
    )  # fmt: skip
    for cells in zip(names, *rows, strict=True):
        print(f"| {' | '.join(cells)} |")
        if cells[0] == names[0]:
            print(f"| --- |{' ---: |' * len(rows)}")


def figures(limit: int, came: Mapping[str, Any], counts: Mapping[str, float]) -> list[str]:
    """What one run showed."""
    longest = max(came["times"])
    return [
        f"{came['right']} of {COMMANDS}",
        f"{came['memory'][0] / 1024:.0f}",
        f"{came['memory'][1] / 1024:.0f}",
        f"{counts['requests']}",
        f"{counts['requests'] / counts['seconds']:.1f}",
        f"{counts['in_window']}",
        f"{counts['in_minute']}",
        f"{counts['refused']}",
        f"{statistics.median(came['times']):.1f}",
        f"{longest:.1f}",
        f"{longest / (counts['requests'] * WINDOW_SECONDS / limit):.2f}",
    ]


async def bulk(url: str, big: int) -> dict[str, Any]:
    """Run them all: how many results are right, the memory in KiB, the seconds of each."""
    async with tools(url) as service:
        before = peak_memory()
        right: list[bool] = []
        times: list[float] = []

        async def one(number: int) -> None:
            began = time.perf_counter()
            is_big = number < big
            command = f"yes {number} | head -c {BIG_BYTES}" if is_big else f"echo {number}"
            arguments = {"vps_id": vps(number % MACHINES), "command": command, "wait_seconds": 240}
            answer = facts(await service.call("vps_exec", arguments, Caller(silent)))
            size = BIG_BYTES if is_big else len(f"{number}\n")
            shown = answer["stdout"].startswith(f"{number}\n")
            right.append(shown and answer["stdout_bytes"] == size)
            times.append(time.perf_counter() - began)

        async with anyio.create_task_group() as tasks:
            for number in range(COMMANDS):
                tasks.start_soon(one, number)
    return {"right": sum(right), "times": times, "memory": (before, peak_memory())}


def peak_memory() -> int:
    """The most that this process had in memory, in KiB (proc(5); getrusage counts its parent)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    main()
