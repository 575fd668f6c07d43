"""A real server process over HTTP, and ways to talk to it down to the single byte."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self

import httpx2
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from hostup_mcp.sandbox.api_server import Sandbox
from tests.stdio_client import LEGACY, MODERN, environment

START_SECONDS = 60.0
INITIALIZE: Mapping[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": LEGACY,
        "capabilities": {},
        "clientInfo": {"name": "raw", "version": "1"},
    },
}
ACCEPT = {"Accept": "application/json, text/event-stream"}

TOKEN = "elsewhere-0123456789abcdef"


class HttpServer:
    """`hostup-mcp serve`, as a context manager.

    Attributes:
        url: where it is, without a path; of the address alone on a Unix socket.
        token: the token in its state folder, if it made one.
        announced: the line with which it says where it is.
    """

    def __init__(
        self, base_url: str, api_key: str, state: Path, *arguments: str, **more: str
    ) -> None:
        self.state = state
        self._env = {"PATH": "/usr/bin:/bin", **environment(base_url, api_key, state, **more)}
        self._arguments = arguments
        self._errlog = tempfile.NamedTemporaryFile()  # noqa: SIM115 - closed in __exit__
        self.url = ""
        self.announced = ""

    @classmethod
    def of(cls, sandbox: Sandbox, state: Path, *arguments: str, **more: str) -> Self:
        """A server for this sandbox, on a free port."""
        given = ("--transport", "http", "--port", "0", *arguments)
        return cls(sandbox.base_url, sandbox.api_key, state, *given, **more)

    @property
    def token(self) -> str:
        return (self.state / "http-token").read_text().strip()

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        return Path(self._errlog.name).read_text()

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hostup_mcp", "serve", *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errlog,
            env=self._env,
        )
        found = self.await_log(r"serving MCP at (\S+?)/(?:mcp|sse)")
        self.url = found[1]
        self.announced = next(line for line in self.log().splitlines() if found[0] in line)
        return self

    def await_log(self, pattern: str) -> re.Match[str]:
        """Wait until this stands on stderr."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            if found := re.search(pattern, self.log()):
                return found
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Send a signal; how many seconds it took to end. It must end well."""
        began = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(timeout=20)
        took = time.monotonic() - began
        assert code == 0, (code, self.log())
        return took

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self._errlog.close()

    # ------------------------------------------------------------------ talking to it

    def http(self, headers: Mapping[str, str] | None = None) -> httpx2.Client:
        """A plain HTTP client of it, with the token."""
        sent = {**self.bearer, **ACCEPT, **(headers or {})}
        return httpx2.Client(base_url=self.url, headers=sent, timeout=30)

    def http_without_token(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=30)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def raw(self, request: bytes) -> tuple[int, bytes]:
        """Send these bytes; the status and all that came until the connection closed."""
        with self.connect() as connection:
            connection.sendall(request)
            return read_all(connection)

    def await_answer(self, path: str, status: int) -> None:
        """Wait until this path answers so, without a token."""
        deadline = time.monotonic() + START_SECONDS
        while self.raw(request(path))[0] != status:
            assert time.monotonic() < deadline
            time.sleep(0.1)

    @asynccontextmanager
    async def client(
        self, era: str = MODERN, transport: str = "http", token: str | None = None
    ) -> AsyncGenerator[Client]:
        """The official client, over Streamable HTTP or SSE."""
        sent = {"Authorization": f"Bearer {token or self.token}"}
        mode = "legacy" if era == LEGACY else "auto"
        if transport == "sse":
            async with Client(sse_client(f"{self.url}/sse", headers=sent), mode=mode) as client:
                yield client
            return
        async with httpx2.AsyncClient(headers=sent, timeout=30) as http:
            streams = streamable_http_client(f"{self.url}/mcp", http_client=http)
            async with Client(streams, mode=mode) as client:
                yield client


@contextmanager
def tolerating_anyio() -> Generator[None]:
    """Without the error that anyio's client of a Unix socket runs into when a read is cancelled.

    anyio 4.16 hands `Future.set_result` itself to the loop, which calls it on a future that has
    been cancelled at the same moment.
    """
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if isinstance(context.get("exception"), asyncio.InvalidStateError):
            return
        if before is not None:
            before(loop, context)

    loop.set_exception_handler(handle)
    try:
        yield
    finally:
        loop.set_exception_handler(before)


def read_all(connection: socket.socket | ssl.SSLSocket) -> tuple[int, bytes]:
    """The status of a raw reply, and all its bytes; 0 if there were none."""
    got = b""
    try:
        while chunk := connection.recv(65536):
            got += chunk
    except ConnectionResetError:
        pass
    status = got.split(b" ", 2)[1] if got.startswith(b"HTTP/") else b"0"
    return int(status), got


def request(path: str, *headers: str, method: str = "GET", host: str = "localhost") -> bytes:
    """A request as bytes, after which the server is to close."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode()


def refusal(sandbox: Sandbox, state: Path, *arguments: str, **more: str) -> str:
    """What a start that comes to nothing says; it must be short and end with 2."""
    ended = subprocess.run(
        [sys.executable, "-m", "hostup_mcp", "serve", *arguments],
        env={"PATH": "/usr/bin:/bin", **environment(sandbox.base_url, "a_key", state, **more)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    assert TOKEN not in ended.stderr
    return ended.stderr
