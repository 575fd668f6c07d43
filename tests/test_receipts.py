"""An answer counts as told once it went out, and not when it was made."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from hostup_mcp.sandbox.api_server import Sandbox
from hostup_mcp.sandbox.machines import WEB
from hostup_mcp.server.delivery import Receipts
from tests.failing_guest import half_broken_fleet
from tests.stdio_client import RawClient, environment

# More than a pipe holds, twice over: text and structured content.
COMMAND = "yes | head -c 200000"
LARGE = {"HOSTUP_MCP__OUTPUT__WINDOW_BYTES": "65536"}


def test_only_an_answer_with_the_handle_counts() -> None:
    told: list[str] = []
    receipts = Receipts()
    assert not receipts.is_waiting
    receipts.expect("exec_a", lambda: told.append("a"))
    receipts.expect("exec_b", lambda: told.append("b"))
    receipts.went_out(b'{"method": "notifications/progress", "message": "exec_a"}')
    receipts.went_out(b'{"id": 1, "result": {"text": "exec_c"}}')
    assert told == []
    receipts.went_out(b'{"id": 2, "result": {"text": "exec_b"}}')
    receipts.went_out(b'{"id": 3, "result": {"text": "exec_b"}}')
    assert told == ["b"]
    assert receipts.is_waiting
    receipts.went_out(b'{"id": 4, "result": {"text": "exec_a"}}')
    assert told == ["b", "a"]
    assert not receipts.is_waiting


def test_what_never_goes_out_does_not_pile_up() -> None:
    told: list[int] = []

    def note(number: int) -> Callable[[], None]:
        return lambda: told.append(number)

    receipts = Receipts()
    for number in range(3000):
        receipts.expect(f"exec_{number:04}", note(number))
    receipts.went_out(b'"result" ' + b" ".join(b"exec_%04d" % number for number in range(3000)))
    assert told == list(range(2000, 3000))


def journal_rows(state: Path) -> list[tuple[str, float | None]]:
    """State and time of telling of every execution, the oldest first."""
    with closing(sqlite3.connect(state / "journal.sqlite3")) as database:
        query = "SELECT state, read_at FROM executions ORDER BY created_at"
        return database.execute(query).fetchall()


def wait_for(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_client_that_leaves_without_its_answer_gets_it_by_the_same_order(tmp_path: Path) -> None:
    with Sandbox(half_broken_fleet()) as sandbox:
        env = environment(sandbox.base_url, sandbox.api_key, tmp_path, **LARGE)
        config = tmp_path / "config.toml"
        config.write_text('[policy]\npreset = "unrestricted"\n')
        arguments: dict[str, Any] = {"vps_id": WEB, "command": COMMAND}
        with RawClient(env, "--config", str(config)) as client:
            client.initialize()
            params = {"name": "vps_exec", "arguments": arguments}
            message = {"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": params}
            client.send(json.dumps(message).encode())
            wait_for(lambda: is_over(tmp_path))
            client.leave()
        assert [row[1] for row in journal_rows(tmp_path)] == [None], "nobody was told"
        with RawClient(env, "--config", str(config)) as client:
            client.initialize()
            told = client.call("vps_exec", **arguments)["result"]["structuredContent"]
            assert told["stdout_bytes"] == 200_000
            assert told["notes"][0].startswith("not run again: ")
            wait_for(lambda: journal_rows(tmp_path)[0][1] is not None)
            again = client.call("vps_exec", **arguments)["result"]["structuredContent"]
            assert again["exec_id"] != told["exec_id"], "told, so it is an order of its own"


def is_over(state: Path) -> bool:
    rows = journal_rows(state)
    return bool(rows) and rows[-1][0] == "completed"
