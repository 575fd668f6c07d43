"""The official client on each transport, in each revision of MCP, and the server at the other end.

It can leave without a word, as a client does that is killed: its transport is taken from under it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol, get_args
from unittest.mock import patch

import anyio
import anyio.to_thread
import httpx2
from anyio.abc import TaskStatus
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from tests.faults.ground import Ground, wait_until
from tests.transports.http_process import HttpServer

TransportName = Literal["stdio", "http", "sse", "uds"]
Revision = Literal["2024-11-05", "2025-06-18", "2025-11-25", "2026-07-28"]
TRANSPORTS: Final[tuple[TransportName, ...]] = get_args(TransportName)
REVISIONS: Final[tuple[Revision, ...]] = get_args(Revision)
MODERN: Final[Revision] = "2026-07-28"
"""The one revision without a handshake."""

Streams = AbstractAsyncContextManager[Any]
"""What the official client calls a transport."""

# The shell stays, to tell the exit code of the server, whose pipes are the client's.
_TELLS: Final = (
    'exec 3<&0; "$@" <&3 3<&- & echo $! >"$0.pid"; exec 3<&-; wait $!; echo $? >"$0.code"'
)
_END_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a server ended.

    Attributes:
        code: its exit code; of a shell, which makes 128 and the number out of a signal.
        seconds: from the signal to the end.
        log: all of its stderr.
    """

    code: int
    seconds: float
    log: str


class Server(Protocol):
    """A server that clients connect to; on stdio, one process for each of them."""

    def streams(self) -> Streams:
        """A new connection."""
        ...

    async def terminate(self) -> Ended:
        """SIGTERM, and the wait for the end."""
        ...

    def log(self) -> str:
        """All of its stderr."""
        ...


# ------------------------------------------------------------------ stdio


class _StdioServer:
    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._folder = ground.folder / f"stdio-{time.monotonic_ns()}"
        self._folder.mkdir()
        self._started = 0

    @asynccontextmanager
    async def streams(self) -> AsyncGenerator[Any]:
        self._started += 1
        name = self._folder / str(self._started)
        parameters = StdioServerParameters(
            command="/bin/sh",
            args=["-c", _TELLS, str(name), sys.executable, "-m", "hostup_mcp"],
            env=self._ground.environment(),
        )
        with name.with_suffix(".err").open("w") as errlog:
            async with stdio_client(parameters, errlog=errlog) as streams:
                yield streams

    async def terminate(self) -> Ended:
        (name,) = (
            path for path in self._folder.glob("*.pid") if not path.with_suffix(".code").exists()
        )
        began = time.monotonic()
        os.kill(int(name.read_text()), signal.SIGTERM)
        await wait_until(lambda: _exit_code(name) is not None)
        took = time.monotonic() - began
        return Ended(_exit_code(name) or 0, took, self.log())

    def log(self) -> str:
        return "".join(path.read_text() for path in sorted(self._folder.glob("*.err")))


def _exit_code(name: Path) -> int | None:
    file = name.with_suffix(".code")
    told = file.read_text() if file.exists() else ""
    return int(told) if told.endswith("\n") else None


# ------------------------------------------------------------------ HTTP


class _HttpServer:
    def __init__(self, process: HttpServer, transport: TransportName, socket: Path) -> None:
        self._process = process
        self._transport = transport
        self._socket = socket

    def streams(self) -> Streams:
        if self._transport == "sse":
            url = f"{self._process.url}/sse"
            return sse_client(url, headers=self._process.bearer)
        return self._streamable()

    @asynccontextmanager
    async def _streamable(self) -> AsyncGenerator[Any]:
        if self._transport == "uds":
            url, headers = "http://localhost/mcp", {}
            http = httpx2.AsyncHTTPTransport(uds=str(self._socket))
        else:
            url, headers = f"{self._process.url}/mcp", self._process.bearer
            http = httpx2.AsyncHTTPTransport()
        # No DELETE at the end: who is killed sends none either.
        async with (
            httpx2.AsyncClient(transport=http, headers=headers, timeout=30) as client,
            streamable_http_client(url, http_client=client, terminate_on_close=False) as streams,
        ):
            yield streams

    async def terminate(self) -> Ended:
        took = await anyio.to_thread.run_sync(self._process.stop)
        return Ended(self._process.process.returncode, took, self.log())

    def log(self) -> str:
        return self._process.log()


@asynccontextmanager
async def serving(transport: TransportName, ground: Ground) -> AsyncGenerator[Server]:
    """A new server on the state folder of this ground, which is killed if it is still there."""
    if transport == "stdio":
        yield _StdioServer(ground)
        return
    socket = ground.folder / "s"
    given = {
        "http": ("--transport", "http", "--port", "0"),
        "sse": ("--transport", "sse", "--port", "0"),
        "uds": ("--transport", "http", "--uds", str(socket)),
    }[transport]
    config = {"HOSTUP_MCP_CONFIG": str(ground.config)}
    process = HttpServer(ground.proxy.url, ground.sandbox.api_key, ground.state, *given, **config)
    await anyio.to_thread.run_sync(process.__enter__)
    try:
        yield _HttpServer(process, transport, socket)
    finally:
        process.__exit__()


# ------------------------------------------------------------------ the client


@asynccontextmanager
async def connected(server: Server, revision: Revision) -> AsyncGenerator[Client]:
    """The official client, with this revision agreed on."""
    async with _client(server.streams(), revision) as client:
        yield client


async def offered(server: Server, revision: Revision) -> str:
    """Offer this revision in a handshake; the one that was agreed on."""
    async with _handshake(server.streams(), revision) as client:
        return client.protocol_version


@asynccontextmanager
async def leaving(
    server: Server, revision: Revision
) -> AsyncGenerator[tuple[Client, Callable[[], None]]]:
    """The same as `connected`, and what ends its connection as if its process had been killed.

    The transport is closed while the client knows nothing of it, so that it cancels nothing.
    """
    gone = anyio.Event()
    async with anyio.create_task_group() as tasks:
        streams = await tasks.start(_hold, server.streams(), gone)
        try:
            async with _client(nullcontext(streams), revision) as client:
                yield client, gone.set
        finally:
            gone.set()


_offering: Final = anyio.Lock()
"""One at a time changes what the client offers, since it is changed for all."""


async def _hold(streams: Streams, gone: anyio.Event, *, task_status: TaskStatus[Any]) -> None:
    async with streams as made:
        task_status.started(made)
        await gone.wait()


@asynccontextmanager
async def _client(streams: Streams, revision: Revision) -> AsyncGenerator[Client]:
    connecting = (
        Client(streams, mode="auto") if revision == MODERN else _handshake(streams, revision)
    )
    async with connecting as client:
        assert client.protocol_version == revision
        assert (client.session.discover_result is not None) == (revision == MODERN)
        yield client


@asynccontextmanager
async def _handshake(streams: Streams, revision: Revision) -> AsyncGenerator[Client]:
    """The client after a handshake in which it offered this revision; it has no option for it.

    The constant is what `ClientSession.initialize` offers, and nothing else. A server that does not
    agree answers with another revision, which is what the client then has.
    """
    async with AsyncExitStack() as stack:
        async with _offering:
            with patch("mcp.client.session.LATEST_HANDSHAKE_VERSION", revision):
                client = await stack.enter_async_context(Client(streams, mode="legacy"))
        yield client
