"""A client that leaves stops the waiting, on every transport; the command goes on and is kept."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hostup_mcp.sandbox.api_server import Sandbox
from hostup_mcp.sandbox.machines import WEB
from tests.scripted_api import Answer, ScriptedApi
from tests.stdio_client import LEGACY, MODERN, RawClient, environment, facts
from tests.transports.http_process import INITIALIZE, HttpServer, read_all, request

PATIENCE_SECONDS = 30.0
ENVELOPE: dict[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}


def execution(state: Path, command: str) -> dict[str, Any] | None:
    with closing(sqlite3.connect(state / "journal.sqlite3")) as journal:
        journal.row_factory = sqlite3.Row
        row = journal.execute("SELECT * FROM executions WHERE command = ?", (command,)).fetchone()
        return dict(row) if row else None


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def post(server: HttpServer, path: str, message: dict[str, Any], *headers: str) -> bytes:
    body = json.dumps({"jsonrpc": "2.0", "id": 5, **message}).encode()
    head = request(
        path,
        f"Authorization: Bearer {server.token}",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        f"Content-Length: {len(body)}",
        *headers,
        method="POST",
    )
    return head + body


def call_and_leave(server: HttpServer, transport: str, era: str, command: str) -> None:
    """Order a command over a raw connection, and hang up once it runs."""
    meta: dict[str, Any] = {"progressToken": 1}
    arguments = {"vps_id": WEB, "command": command, "wait_seconds": 45}
    params: dict[str, Any] = {"name": "vps_exec", "arguments": arguments, "_meta": meta}
    message = {"method": "tools/call", "params": params}
    if era == MODERN:
        meta.update(ENVELOPE)
    with server.connect() as connection, server.http() as http:
        if transport == "sse":
            connection.sendall(request("/sse", f"Authorization: Bearer {server.token}"))
            got = b""
            while b"session_id=" not in got or not got.endswith(b"\r\n\r\n"):
                got += connection.recv(65536)
            (path,) = (
                line.removeprefix(b"data: ").decode()
                for line in got.split(b"\r\n")
                if line.startswith(b"data: ")
            )
            if era == LEGACY:
                http.post(path, json=INITIALIZE)
                http.post(path, json={"jsonrpc": "2.0", "method": "notifications/initialized"})
            http.post(path, json={"jsonrpc": "2.0", "id": 5, **message})
        elif era == LEGACY:
            session = http.post("/mcp", json=INITIALIZE).headers["mcp-session-id"]
            connection.sendall(post(server, "/mcp", message, f"Mcp-Session-Id: {session}"))
        else:
            headers = (
                f"MCP-Protocol-Version: {MODERN}",
                "Mcp-Method: tools/call",
                "Mcp-Name: vps_exec",
            )
            connection.sendall(post(server, "/mcp", message, *headers))
        got = b""
        while not re.search(rb"notifications/progress[^\n]*running", got):
            chunk = connection.recv(65536)
            assert chunk, got
            got += chunk


@pytest.mark.parametrize(
    ("transport", "era"),
    [("http", LEGACY), ("http", MODERN), ("sse", LEGACY), ("sse", MODERN)],
)
async def test_who_hangs_up_is_not_waited_for_and_gets_the_result_the_next_time(
    sandbox: Sandbox, tmp_path: Path, transport: str, era: str
) -> None:
    one = {"HOSTUP_MCP__HTTP__MAX_CALLS_IN_FLIGHT": "1"}
    command = "sleep 3; echo kept"
    with HttpServer.of(sandbox, tmp_path, "--with-sse", **one) as server:
        call_and_leave(server, transport, era, command)
        async with server.client(era, transport) as client:
            # The only place for a call is free again, long before the command is done.
            listed = facts(await client.call_tool("list_vps", {}))
            assert len(listed["vps"]) == 3
            running = execution(tmp_path, command)
            assert running
            assert running["state"] == "running"
            until(lambda: (execution(tmp_path, command) or {})["state"] == "completed")
            assert (execution(tmp_path, command) or {})["read_at"] is None
            again = facts(await client.call_tool("vps_exec", {"vps_id": WEB, "command": command}))
        assert again["exec_id"] == running["exec_id"]
        assert again["stdout"] == "kept\n"
        until(lambda: (execution(tmp_path, command) or {})["read_at"] is not None)
        assert server.stop() < 3
        assert "Traceback" not in server.log()
        assert " ERROR " not in server.log()


def test_connections_that_break_anywhere_leave_no_traceback(
    served: HttpServer,
) -> None:
    bearer = f"Authorization: Bearer {served.token}"
    whole = post(served, "/mcp", dict(INITIALIZE))
    for cut in (1, 20, len(whole) // 2, len(whole) - 1, len(whole)):
        with served.connect() as connection:
            connection.sendall(whole[:cut])
            # Reset, not closed in good order.
            connection.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")
    for path in ("/sse", "/healthz", "/readyz", "/messages/?session_id=" + "0" * 32):
        for _ in range(5):
            with served.connect() as connection:
                connection.sendall(request(path, bearer))
                connection.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")
    with served.http() as http:
        assert http.get("/readyz").is_success
        assert http.get("/sse", headers={"Host": "evil.example"}).status_code == 421
    assert "Traceback" not in served.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_whose_hostup_does_not_answer_ends(
    scripted: ScriptedApi, tmp_path: Path, number: int
) -> None:
    """In a list, in a probe and in the start of a command at once."""
    scripted.always(Answer(200, b"{}", delay=60))
    with (
        HttpServer(
            scripted.url, "key-7f3a9c", tmp_path, "--transport", "http", "--port", "0"
        ) as server,
        server.http() as http,
    ):
        session = http.post("/mcp", json=INITIALIZE).headers["mcp-session-id"]
        held = [server.connect() for _ in range(2)]
        arguments = {"vps_id": WEB, "command": "uptime", "wait_seconds": 40}
        calls: list[dict[str, Any]] = [
            {"name": "list_vps"},
            {"name": "vps_exec", "arguments": arguments},
        ]
        for connection, params in zip(held, calls, strict=True):
            message = {"id": params["name"], "method": "tools/call", "params": params}
            connection.sendall(post(server, "/mcp", message, f"Mcp-Session-Id: {session}"))
        until(lambda: len(scripted.received) >= 2)
        assert server.stop(number) < 3
        assert "Traceback" not in server.log(), server.log()
        for connection in held:
            read_all(connection)
            connection.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stdio_ends_during_a_call_and_keeps_the_command(
    sandbox: Sandbox, tmp_path: Path, number: int
) -> None:
    env = environment(sandbox.base_url, sandbox.api_key, tmp_path)
    with RawClient(env) as client:
        client.initialize()
        arguments = {"vps_id": WEB, "command": "sleep 20", "wait_seconds": 45}
        params = {"name": "vps_exec", "arguments": arguments, "_meta": {"progressToken": 1}}
        call = {"jsonrpc": "2.0", "id": "long", "method": "tools/call", "params": params}
        client.send(json.dumps(call).encode())
        while "running" not in json.dumps(client.read()):
            pass
        began = time.monotonic()
        client.signal(number)
        assert client.wait() == 128 + number
        assert time.monotonic() - began < 3
    left = execution(tmp_path, "sleep 20")
    assert left
    assert left["state"] == "running"


def test_stdio_ends_with_its_stdin_though_nobody_reads_its_stdout(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    env = environment(sandbox.base_url, sandbox.api_key, tmp_path)
    with RawClient(env) as client:
        client.initialize()
        for number in range(40):
            listing = {"jsonrpc": "2.0", "id": f"list {number}", "method": "tools/list"}
            client.send(json.dumps(listing).encode())
        time.sleep(1)
        began = time.monotonic()
        client.close_stdin()
        assert client.wait() == 0
        assert time.monotonic() - began < 4


def test_stdio_that_is_read_ends_in_good_order_with_its_stdin(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    env = environment(sandbox.base_url, sandbox.api_key, tmp_path)
    with RawClient(env) as client:
        client.initialize()
        began = time.monotonic()
        code, out, log = client.finish()
        assert (code, out) == (0, b""), log
        assert b"Traceback" not in log
        assert time.monotonic() - began < 2
