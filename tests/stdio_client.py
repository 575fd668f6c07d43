"""Real clients of the real server process: the SDK's, and one that shows every byte."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self, cast

import mcp_types as types
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

LEGACY = "2025-11-25"
MODERN = "2026-07-28"
CLIENT_TIMEOUT = "HOSTUP_MCP__SERVER__CLIENT_TIMEOUT_SECONDS"


def environment(base_url: str, api_key: str, state: Path, **more: str) -> dict[str, str]:
    """The server's environment: its own home, its own state, and a client that waits for 60 s.

    With `CLIENT_TIMEOUT` empty in `more`, the client's name decides that, as it does by default.
    """
    return {
        CLIENT_TIMEOUT: "60",
        "HOSTUP_BASE_URL": base_url,
        "HOSTUP_API_KEY": api_key,
        "HOSTUP_MCP_STATE_DIR": str(state),
        "HOME": str(state),
        "XDG_CONFIG_HOME": str(state),
        **more,
    }


@asynccontextmanager
async def connect(env: Mapping[str, str], era: str = MODERN) -> AsyncGenerator[Client]:
    """The official client, connected to a new server process in this protocol era."""
    async with connect_with(sys.executable, ["-m", "hostup_mcp"], env, era) as client:
        yield client


@asynccontextmanager
async def connect_with(
    command: str, arguments: Sequence[str], env: Mapping[str, str], era: str = MODERN
) -> AsyncGenerator[Client]:
    """The same, with any command."""
    parameters = StdioServerParameters(command=command, args=list(arguments), env=dict(env))
    mode = "legacy" if era == LEGACY else "auto"
    async with Client(stdio_client(parameters), mode=mode) as client:
        assert client.protocol_version == era
        yield client


def text(result: types.CallToolResult) -> str:
    """The text of a result, which is all of its content."""
    (block,) = result.content
    assert isinstance(block, types.TextContent)
    return block.text


def facts(result: types.CallToolResult) -> dict[str, Any]:
    """The structured content of a result that is no error."""
    assert not result.is_error, text(result)
    content: object = result.structured_content
    assert isinstance(content, dict)
    return cast("dict[str, Any]", content)


class RawClient:
    """Speaks JSON-RPC to a server process line by line, and keeps all it wrote."""

    def __init__(self, env: Mapping[str, str], *arguments: str) -> None:
        # A file: a pipe that nobody reads would stop a server that logs much.
        self._errlog = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hostup_mcp", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errlog,
            env={"PATH": "/usr/bin:/bin", **env},
        )
        self.lines: list[bytes] = []
        self._id = 0

    def send(self, line: bytes) -> None:
        self.write(line + b"\n")

    def write(self, data: bytes) -> None:
        assert self._process.stdin
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def answers_to(self, request_id: str) -> list[dict[str, Any]]:
        """What came for this id so far."""
        messages = [cast("dict[str, Any]", json.loads(line)) for line in self.lines]
        return [message for message in messages if message.get("id") == request_id]

    def peak_mebibytes(self) -> float:
        """The most memory that the process has used (Linux)."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        (kibibytes,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        return int(kibibytes) / 1024

    def request(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and read up to its answer."""
        self._id += 1
        message = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}
        self.send(json.dumps(message).encode())
        while True:
            answer = self.read()
            if answer.get("id") == self._id:
                return answer

    def read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the server ended"
        self.lines.append(line)
        return cast("dict[str, Any]", json.loads(line))

    def initialize(self, name: str = "raw") -> dict[str, Any]:
        info = {"name": name, "version": "1"}
        params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": info}
        answer = self.request("initialize", params)
        self.send(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}')
        return answer

    def call(self, name: str, token: int | None = None, **arguments: Any) -> dict[str, Any]:
        params: dict[str, Any] = {"name": name, "arguments": arguments}
        if token is not None:
            params["_meta"] = {"progressToken": token}
        return self.request("tools/call", params)

    def finish(self) -> tuple[int, bytes, bytes]:
        """Close stdin: exit code, what was still on stdout, all of stderr."""
        out, _ = self._process.communicate(timeout=10)
        self._errlog.seek(0)
        return self._process.returncode, out, self._errlog.read()

    def close_stdin(self) -> None:
        """End stdin, and leave stdout open and unread."""
        assert self._process.stdin
        self._process.stdin.close()

    def leave(self) -> None:
        """Go away without reading what is still to come, and wait for the server to end."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream
            stream.close()
        self._process.wait(timeout=10)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def wait(self) -> int:
        """Wait for the process to end by itself; stdin stays open."""
        return self._process.wait(timeout=10)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process.poll() is None:
            self.kill()
        for stream in (self._process.stdin, self._process.stdout, self._errlog):
            if stream:
                stream.close()
