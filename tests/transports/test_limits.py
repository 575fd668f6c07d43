"""How much a client may send, how long it may take over it, and how much it may have going."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from hostup_mcp.config.http import HttpSettings
from hostup_mcp.sandbox.api_server import Sandbox
from hostup_mcp.sandbox.machines import WEB
from hostup_mcp.transports.call_budget import CallBudget
from tests.stdio_client import LEGACY, MODERN, facts
from tests.transports.http_process import INITIALIZE, HttpServer, read_all, request

SLOW_SECONDS = 1.5
BODY = 100_000


@pytest.fixture(scope="module")
def small(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    """A server with small limits."""
    limits = {
        "RECEIVE_SECONDS": str(SLOW_SECONDS),
        "MAX_BODY_BYTES": str(BODY),
        "MAX_HEADER_BYTES": "2000",
        "MAX_SESSIONS": "3",
        "MAX_CONNECTIONS": "20",
        "MAX_CALLS_IN_FLIGHT": "2",
        "SESSION_IDLE_SECONDS": "2",
    }
    more = {f"HOSTUP_MCP__HTTP__{name}": value for name, value in limits.items()}
    state = tmp_path_factory.mktemp("small")
    with HttpServer.of(sandbox, state, "--with-sse", **more) as server:
        yield server
        assert "Traceback" not in server.log()


def error_of(reply: bytes) -> str:
    return json.loads(reply.partition(b"\r\n\r\n")[2])["error"]["data"]["error"]


def bearer(server: HttpServer) -> str:
    return f"Authorization: Bearer {server.token}"


def call_of(command: str, **more: Any) -> dict[str, Any]:
    arguments = {"vps_id": WEB, "command": command, **more}
    params = {"name": "vps_exec", "arguments": arguments}
    return {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}


# ------------------------------------------------------------------ size


@pytest.mark.parametrize("path", ["/mcp", "/messages/?session_id=x"])
def test_a_body_over_the_limit_is_413_declared_or_not(small: HttpServer, path: str) -> None:
    with small.http() as http:
        declared = http.post(path, content=b"x" * (BODY + 1))
        streamed = http.post(path, content=iter([b"x" * 50_000] * 3))
    for response in (declared, streamed):
        assert response.status_code == 413
        assert response.json()["error"]["data"]["error"] == "body_too_large"


def test_a_declared_size_is_refused_before_the_body_comes(small: HttpServer) -> None:
    head = request("/mcp", bearer(small), "Content-Length: 99999999999", method="POST")
    assert small.raw(head)[0] == 413


@pytest.mark.parametrize(
    "headers",
    [
        ["X-Big: " + "x" * 3000],
        ["X-Big: " + "x" * 300_000],
        [f"X-{number}: y" for number in range(400)],
    ],
)
def test_headers_over_the_limit_are_431(small: HttpServer, headers: list[str]) -> None:
    status, reply = small.raw(request("/mcp", bearer(small), *headers))
    assert (status, error_of(reply)) == (431, "headers_too_large")


def test_headers_without_end_are_431_and_not_kept(small: HttpServer) -> None:
    with small.connect() as connection:
        connection.sendall(b"GET /mcp HTTP/1.1\r\nX: " + b"x" * 10_000)
        assert read_all(connection)[0] == 431


# ------------------------------------------------------------------ time


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /healthz HT",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n{bearer}\r\n\r\n{",
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n{bearer}\r\n\r\n{",
    ],
    ids=["nothing", "line", "headers", "body", "body, no token", "next", "body of the next"],
)
def test_who_sends_too_slowly_is_hung_up_on(small: HttpServer, begun: bytes) -> None:
    began = time.monotonic()
    with small.connect() as connection:
        connection.sendall(begun.replace(b"{bearer}", bearer(small).encode()))
        read_all(connection)
    assert SLOW_SECONDS * 0.8 < time.monotonic() - began < SLOW_SECONDS + 10


def test_trickling_does_not_help(small: HttpServer) -> None:
    """A byte now and then is no progress: the limit is for the whole of the headers."""
    began = time.monotonic()
    with small.connect() as connection:
        try:
            for byte in b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 200:
                connection.sendall(bytes([byte]))
                time.sleep(0.1)
        except OSError:
            pass
    assert time.monotonic() - began < SLOW_SECONDS + 10


def test_a_long_answer_is_not_hurried(small: HttpServer) -> None:
    """The clock is for what the client sends, not for how long a call takes."""
    with small.http() as http:
        session = http.post("/mcp", json=INITIALIZE)
        sent = {"Mcp-Session-Id": session.headers["mcp-session-id"]}
        answer = http.post("/mcp", json=call_of("sleep 3"), headers=sent)
        assert '"exit_code":0' in answer.text
        http.delete("/mcp", headers=sent)


# ------------------------------------------------------------------ how many


def test_connections_over_the_limit_are_refused(small: HttpServer) -> None:
    held: list[socket.socket] = []
    try:
        held.extend(small.connect() for _ in range(40))
        replies = [read_all(connection) for connection in held]
    finally:
        for connection in held:
            connection.close()
    refused = [error_of(reply) for status, reply in replies if status == 503]
    assert len(refused) >= 20
    assert set(refused) == {"connections_full"}


def test_who_only_connects_does_not_keep_out_who_asks(small: HttpServer) -> None:
    """Also not with half a request; a connection with a whole one stays."""
    with ExitStack() as held:
        asked = held.enter_context(small.connect())
        asked.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert asked.recv(65536).startswith(b"HTTP/1.1 200")
        for begun in (b"", b"GET /healthz HT") * 20:
            held.enter_context(small.connect()).sendall(begun)
        assert small.raw(request("/healthz"))[0] == 200
        asked.sendall(request("/healthz"))
        assert b"HTTP/1.1 200" in read_all(asked)[1]


def test_those_with_a_request_are_not_closed_for_others(small: HttpServer) -> None:
    head = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
    head += b"Expect: 100-continue\r\n"
    head += bearer(small).encode() + b"\r\n\r\n"
    with ExitStack() as held:
        for _ in range(20):
            busy = held.enter_context(small.connect())
            busy.sendall(head)
            assert busy.recv(100).startswith(b"HTTP/1.1 100")
        status, reply = read_all(held.enter_context(small.connect()))
        assert (status, error_of(reply)) == (503, "connections_full")
    small.await_answer("/healthz", 200)


def test_sessions_over_the_limit_are_503_and_room_comes_back(small: HttpServer) -> None:
    with small.http() as http:
        opened = [http.post("/mcp", json=INITIALIZE) for _ in range(30)]
        sessions = [reply.headers["mcp-session-id"] for reply in opened if reply.is_success]
        refused = [reply for reply in opened if not reply.is_success]
        assert len(sessions) <= 3
        assert {reply.status_code for reply in refused} == {503}
        assert "Too many open sessions" in refused[0].json()["error"]["message"]
        for session in sessions:
            http.delete("/mcp", headers={"Mcp-Session-Id": session})
        assert http.post("/mcp", json=INITIALIZE).is_success
        # Those that nobody uses are closed by themselves.
        deadline = time.monotonic() + 20
        while not all(http.post("/mcp", json=INITIALIZE).is_success for _ in range(2)):
            assert time.monotonic() < deadline
            time.sleep(0.5)


def test_sse_sessions_too(small: HttpServer) -> None:
    held = [small.connect() for _ in range(4)]
    try:
        replies: list[bytes] = []
        for connection in held:
            connection.sendall(request("/sse", bearer(small)))
            replies.append(connection.recv(65536))
        replies[3] += read_all(held[3])[1]
    finally:
        for connection in held:
            connection.close()
    assert [reply.split(b" ")[1] for reply in replies] == [b"200", b"200", b"200", b"503"]
    assert error_of(replies[3]) == "too_many_sessions"
    assert b"retry-after: " in replies[3]
    deadline = time.monotonic() + 20
    while True:
        with small.connect() as connection:
            connection.sendall(request("/sse", bearer(small)))
            if connection.recv(65536).startswith(b"HTTP/1.1 200"):
                break
        assert time.monotonic() < deadline
        time.sleep(0.2)


def await_room(server: HttpServer) -> None:
    """Wait until the sessions of other tests have been idle for long enough."""
    deadline = time.monotonic() + 20
    with server.http() as http:
        while not (opened := http.post("/mcp", json=INITIALIZE)).is_success:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        http.delete("/mcp", headers={"Mcp-Session-Id": opened.headers["mcp-session-id"]})


@pytest.mark.parametrize("transport", ["http", "sse"])
async def test_calls_over_the_limit_are_429_and_the_others_go_on(
    small: HttpServer, transport: str
) -> None:
    outcomes: list[object] = []
    await anyio.to_thread.run_sync(await_room, small)

    async with small.client(LEGACY, transport) as client:
        await client.list_tools()

        async def call(number: int) -> None:
            try:
                arguments = {"vps_id": WEB, "command": f"sleep 2; echo {number}"}
                outcomes.append(facts(await client.call_tool("vps_exec", arguments))["exit_code"])
            except Exception as error:  # noqa: BLE001 - whatever the client makes of it
                outcomes.append(error)

        with anyio.move_on_after(8):
            async with anyio.create_task_group() as tasks:
                for number in range(5):
                    tasks.start_soon(call, number)
        assert outcomes.count(0) == 2
        # Nobody is locked out afterwards.
        assert facts(await client.call_tool("vps_exec", {"vps_id": WEB, "command": "true"}))


async def test_calls_a_minute_are_counted_and_refused_with_when_to_come_back(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    more = {"HOSTUP_MCP__HTTP__MAX_CALLS_PER_MINUTE": "3"}
    with HttpServer.of(sandbox, tmp_path, **more) as server:
        async with server.client(MODERN) as client:
            for _ in range(3):
                assert facts(await client.call_tool("list_vps", {}))
        with server.http() as http:
            session = http.post("/mcp", json=INITIALIZE).headers["mcp-session-id"]
            sent = {"Mcp-Session-Id": session}
            refused = http.post("/mcp", json=call_of("true"), headers=sent)
            assert refused.status_code == 429
            assert refused.json()["error"]["data"]["error"] == "too_many_calls"
            assert 1 <= int(refused.headers["retry-after"]) <= 20
            ping = {"jsonrpc": "2.0", "id": 8, "method": "ping"}
            assert http.post("/mcp", json=ping, headers=sent).is_success


def test_the_budget_of_a_minute_comes_back_evenly() -> None:
    now = 0.0
    budget = CallBudget(at_once=1, per_minute=6, clock=lambda: now)
    assert [budget.admit("a") for _ in range(6)] == [None] * 6
    refused = budget.admit("a")
    assert refused
    assert refused[1] == 10
    assert budget.admit("b") is None
    now = 9.9
    assert budget.admit("a")
    now = 10.1
    assert budget.admit("a") is None
    assert budget.admit("a")
    now = 10_000.0
    assert [budget.admit("a") for _ in range(7)].count(None) == 6


@pytest.mark.parametrize("level", ["", "debug"])
def test_who_has_no_token_does_not_fill_the_log(
    sandbox: Sandbox, tmp_path: Path, level: str
) -> None:
    more = {"HOSTUP_MCP__SERVER__LOG_LEVEL": level} if level else {}
    upgrade = request("/healthz", "Upgrade: websocket").replace(b"close", b"Upgrade")
    with HttpServer.of(sandbox, tmp_path, **more) as server:
        before = len(server.log())
        for _ in range(20):
            assert server.raw(b"x\r\n\r\n")[0] == 400
        with server.connect() as connection:
            connection.sendall(upgrade + request("/healthz"))
            assert read_all(connection)[1].count(b"alive") == 2
        assert server.stop() < 3
        said = server.log()[before:]
    if level:
        assert said.count("Invalid HTTP request received.") == 20
        assert "Unsupported upgrade request." in said
    else:
        assert said == ""


def test_by_default_everything_has_a_bound() -> None:
    settings = HttpSettings()
    assert settings.max_sessions <= 1000
    assert settings.max_connections <= 1000
    assert settings.max_body_bytes <= 4 * 1024 * 1024
    assert settings.max_header_bytes <= 16 * 1024
    assert settings.max_calls_in_flight <= 100
    assert settings.max_calls_per_minute <= 1000
    assert settings.receive_seconds <= 30
    assert settings.session_idle_seconds <= 3600
