"""stdout belongs to the protocol: every byte of it, in every mood of the server."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from hostup_mcp.sandbox.serving import DB, WEB, Sandbox
from tests.stdio_client import RawClient, environment


def test_every_byte_is_a_json_rpc_message_also_with_debug_logging(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    env = environment(sandbox.base_url, sandbox.api_key, tmp_path)
    with RawClient(env, "--log-level", "debug") as client:
        client.initialize()
        client.request("tools/list", {})
        client.call("list_vps", token=1)
        ran = client.call("vps_exec", token=2, vps_id=WEB, command="uname -a")
        assert ran["result"]["structuredContent"]["exit_code"] == 0
        failed = client.call("vps_exec", token=3, vps_id=WEB, command="systemctl is-system-running")
        assert failed["result"]["structuredContent"]["exit_code"] != 0
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
