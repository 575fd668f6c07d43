"""stdout belongs to the protocol: every byte of it, in every mood of the server."""

from __future__ import annotations

import json
import signal
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hostup_mcp.sandbox.api_server import Sandbox
from hostup_mcp.sandbox.machines import DB, MAIL, WEB
from tests.failing_guest import half_broken_fleet
from tests.scripted_api import Answer, Received, ScriptedApi, json_answer
from tests.stdio_client import RawClient, environment


def test_every_byte_is_a_json_rpc_message_also_with_debug_logging(tmp_path: Path) -> None:
    with Sandbox(half_broken_fleet()) as sandbox:
        every_byte(sandbox, tmp_path)


def every_byte(sandbox: Sandbox, tmp_path: Path) -> None:
    env = environment(sandbox.base_url, sandbox.api_key, tmp_path)
    with RawClient(env, "--log-level", "debug") as client:
        client.initialize()
        client.request("tools/list", {})
        client.call("list_vps", token=1)
        ran = client.call("vps_exec", token=2, vps_id=WEB, command="uname -a")
        assert ran["result"]["structuredContent"]["exit_code"] == 0
        failed = client.call("vps_exec", token=3, vps_id=MAIL, command="uptime")
        assert failed["result"]["structuredContent"]["exit_code"] == 3
        client.call("vps_exec", token=4, vps_id=WEB, command="sleep 2")
        client.call("vps_exec", token=5, vps_id=WEB, command="rm -rf /")
        client.call("vps_exec", token=6, vps_id=DB, command="uptime")
        client.call("vps_exec", vps_id=5)
        client.call("nosuch")
        client.send(b"this is not JSON")
        client.send(b'{"jsonrpc": "2.0", "id": 99, "method": "nosuch/method"}')
        client.request("ping", {})
        code, rest, log = client.finish()
    assert code == 0
    assert rest == b""
    assert b"DEBUG" in log
    assert sandbox.api_key.encode() not in log + b"".join(client.lines)
    tokens: set[int] = set()
    for line in client.lines:
        message = json.loads(line)
        assert message["jsonrpc"] == "2.0"
        assert ("method" in message) != ("result" in message or "error" in message)
        if message.get("method") == "notifications/progress":
            tokens.add(message["params"]["progressToken"])
    # Every token of a call that took its time got progress; a refusal is answered at once.
    assert tokens == {1, 2, 3, 4, 6}


def test_the_end_of_stdin_ends_the_server(sandbox: Sandbox, tmp_path: Path) -> None:
    env = environment(sandbox.base_url, sandbox.api_key, tmp_path)
    with RawClient(env) as client:
        client.initialize()
        client.call("vps_exec", vps_id=WEB, command="sleep 3", wait_seconds=0)
        began = time.monotonic()
        code, rest, log = client.finish()
    assert (code, rest, log) == (0, b"", b"")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_while_stdin_is_open(
    sandbox: Sandbox, tmp_path: Path, number: signal.Signals
) -> None:
    env = environment(sandbox.base_url, sandbox.api_key, tmp_path)
    with RawClient(env) as client:
        client.initialize()
        client.call("vps_exec", vps_id=WEB, command="sleep 3", wait_seconds=0)
        client.signal(number)
        code = client.wait()
        log = client.finish()[2]
    assert code == 128 + number
    assert b"Traceback" not in log


def exec_message(number: int) -> bytes:
    arguments = {"vps_id": WEB, "command": "uptime", "wait_seconds": 0}
    params = {"name": "vps_exec", "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
    return json.dumps(message).encode()


def test_a_server_that_was_killed_tells_the_truth_when_it_is_back(
    scripted: ScriptedApi, tmp_path: Path
) -> None:
    """kill -9 while the command is being sent: whether it ran is not known, and said so at once."""
    arrived = threading.Event()

    def script(request: Received) -> Answer:
        if request.method == "POST":
            arrived.set()
            return Answer(200, b'{"pid": 7}', delay=30)
        return json_answer({"available": True})

    scripted.script = script
    env = environment(scripted.url, "some_key_123", tmp_path)
    with RawClient(env) as client:
        client.initialize()
        client.send(exec_message(50))
        assert arrived.wait(10)
        client.kill()
    with closing(sqlite3.connect(tmp_path / "journal.sqlite3")) as database:
        ((exec_id, state),) = database.execute("SELECT exec_id, state FROM executions").fetchall()
    assert state == "sent"
    with RawClient(env) as client:
        client.initialize()
        began = time.monotonic()
        answer = client.call("vps_exec_result", exec_id=exec_id)["result"]
        assert time.monotonic() - began < 3
    assert answer["isError"]
    shown = answer["content"][0]["text"]
    assert shown.startswith("interrupted: ")
    assert "status: unknown" in shown
    assert "Check whether it ran" in shown
    assert "To run it again anyway, give a new idempotency_key" in shown
    assert [request.method for request in scripted.received].count("POST") == 1


def test_a_journal_that_another_process_holds_does_not_hold_up_the_rest(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    env = environment(sandbox.base_url, sandbox.api_key, tmp_path)
    with RawClient(env) as client:
        client.initialize()
        holder = sqlite3.connect(tmp_path / "journal.sqlite3", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        for number in range(100, 130):
            client.send(exec_message(number))
        began = time.monotonic()
        refused = client.call("vps_exec", vps_id=WEB, command="rm -rf /")["result"]
        assert time.monotonic() - began < 2
        assert refused["content"][0]["text"].startswith("changes: rm can change the system")
        answers: list[dict[str, Any]] = []
        while len(answers) < 30:
            message = client.read()
            if 100 <= message.get("id", 0) < 130:
                answers.append(message["result"])
        assert time.monotonic() - began < 20
        holder.execute("ROLLBACK")
        holder.close()
        for answer in answers:
            shown = answer["content"][0]["text"]
            assert shown.startswith("journal_failed: ")
            assert "was started" not in shown
        good = client.call("vps_exec", vps_id=WEB, command="uname -a")["result"]
        assert good["structuredContent"]["exit_code"] == 0


def test_a_journal_that_was_deleted_stops_new_commands(sandbox: Sandbox, tmp_path: Path) -> None:
    env = environment(sandbox.base_url, sandbox.api_key, tmp_path)
    with RawClient(env) as client:
        client.initialize()
        for path in tmp_path.glob("journal*"):
            path.unlink()
        answer = client.call("vps_exec", vps_id=WEB, command="uname -a")["result"]
    assert answer["isError"]
    assert "restart the server" in answer["content"][0]["text"]
