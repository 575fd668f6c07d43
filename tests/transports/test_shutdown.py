"""SIGTERM and SIGINT end every transport within 3 s, whatever it is doing."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from mcp import Client

from hostup_mcp.sandbox.api_server import Sandbox
from hostup_mcp.sandbox.machines import WEB
from tests.everything import ALL
from tests.stdio_client import LEGACY, MODERN
from tests.transports.http_process import INITIALIZE, HttpServer, request

LONGEST_SECONDS = 3.0
BOTH = pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT] if ALL else [signal.SIGTERM]
)
EACH = pytest.mark.parametrize(
    ("transport", "era"),
    [("http", LEGACY), ("http", MODERN), ("sse", LEGACY), ("sse", MODERN)],
)


def rows(state: Path) -> list[tuple[str, str]]:
    """Command and state of every execution; the file must be whole."""
    with closing(sqlite3.connect(state / "journal.sqlite3")) as journal:
        assert journal.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return journal.execute("SELECT command, state FROM executions").fetchall()


def ended_well(server: HttpServer, number: int) -> None:
    took = server.stop(number)
    assert took < LONGEST_SECONDS, server.log()
    assert "Traceback" not in server.log()
    assert " ERROR " not in server.log()


@BOTH
def test_an_idle_server_ends(sandbox: Sandbox, tmp_path: Path, number: int) -> None:
    with HttpServer.of(sandbox, tmp_path, "--with-sse") as server:
        ended_well(server, number)


@BOTH
def test_a_server_with_connections_in_every_state_ends(
    sandbox: Sandbox, tmp_path: Path, number: int
) -> None:
    with HttpServer.of(sandbox, tmp_path, "--with-sse") as server, server.http() as http:
        session = http.post("/mcp", json=INITIALIZE).headers["mcp-session-id"]
        bearer = f"Authorization: Bearer {server.token}"
        begun = [
            b"",
            b"GET /mc",
            request("/mcp", bearer, "Content-Length: 100", method="POST") + b"{",
            request("/sse", bearer),
            request("/mcp", bearer, "Accept: text/event-stream", f"Mcp-Session-Id: {session}"),
        ]
        connections = [server.connect() for _ in begun]
        for connection, data in zip(connections, begun, strict=True):
            connection.sendall(data)
        for connection in connections[3:]:
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        ended_well(server, number)
        for connection in connections:
            connection.close()


@asynccontextmanager
async def calling(client: Client, **arguments: Any) -> AsyncGenerator[dict[str, Any]]:
    """A call that is under way, and a place for what becomes of it."""
    # The client holds results against the schema, which it asks for where it has none.
    await client.list_tools()
    outcome: dict[str, Any] = {}
    begun = anyio.Event()

    async def notified(progress: float, total: float | None, message: str | None) -> None:
        if message and "running" in message:
            begun.set()

    async def call() -> None:
        try:
            result = await client.call_tool(
                "vps_exec", {"vps_id": WEB, **arguments}, progress_callback=notified
            )
            outcome["facts"] = result.structured_content
        except Exception as error:  # noqa: BLE001 - whatever the client makes of it
            outcome["error"] = error

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        with anyio.fail_after(30):
            await begun.wait()
        yield outcome


@BOTH
@EACH
async def test_a_server_in_a_long_call_ends_and_keeps_the_command(
    sandbox: Sandbox, tmp_path: Path, transport: str, era: str, number: int
) -> None:
    """The call is answered with the handle, and the next server has the result."""
    with HttpServer.of(sandbox, tmp_path, "--with-sse") as server:
        async with (
            server.client(era, transport) as client,
            calling(client, command="sleep 4", wait_seconds=40) as outcome,
        ):
            await anyio.to_thread.run_sync(ended_well, server, number)
        assert rows(tmp_path) == [("sleep 4", "running")]
    assert "facts" in outcome, outcome
    assert outcome["facts"]["status"] == "running", outcome
    exec_id = outcome["facts"]["exec_id"]
    with HttpServer.of(sandbox, tmp_path, "--with-sse") as server:
        async with server.client(era, transport) as client:
            result = await client.call_tool(
                "vps_exec_result", {"exec_id": exec_id, "wait_seconds": 40}
            )
        assert result.structured_content
        assert result.structured_content["exit_code"] == 0


@BOTH
def test_a_call_that_waits_for_a_locked_journal_is_told_of_the_end(
    sandbox: Sandbox, tmp_path: Path, number: int
) -> None:
    """Its thread cannot be interrupted; its client gets an answer in good form all the same."""
    arguments = {"vps_id": WEB, "command": "echo locked"}
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": "vps_exec", "arguments": arguments, "_meta": meta}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    sent = {
        "MCP-Protocol-Version": MODERN,
        "Mcp-Method": "tools/call",
        "Mcp-Name": "vps_exec",
    }
    with (
        HttpServer.of(sandbox, tmp_path) as server,
        server.http(sent) as http,
        closing(sqlite3.connect(tmp_path / "journal.sqlite3", isolation_level=None)) as lock,
        ThreadPoolExecutor(1) as pool,
    ):
        lock.execute("BEGIN EXCLUSIVE")
        answer = pool.submit(http.post, "/mcp", json=call)
        time.sleep(1)
        assert not answer.done()
        ended_well(server, number)
        refused = answer.result()
        assert refused.status_code == 503
        assert refused.json()["error"]["data"]["error"] == "shutting_down"
