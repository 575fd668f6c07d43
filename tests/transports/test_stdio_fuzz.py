"""Whatever comes on stdin is answered or dropped, and the server lives."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostup_mcp.sandbox.api_server import Sandbox
from hostup_mcp.sandbox.machines import WEB
from hostup_mcp.transports.stdio_streams import LONGEST_LINE
from tests.stdio_client import RawClient, environment

ENVELOPE: dict[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


@pytest.fixture(scope="module")
def client(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RawClient]:
    state = tmp_path_factory.mktemp("fuzz")
    env = environment(sandbox.base_url, sandbox.api_key, state)
    with RawClient(env) as running:
        running.initialize()
        yield running
        code, _, log = running.finish()
        assert code == 0
        assert b"Traceback" not in log


def lives(client: RawClient) -> None:
    assert client.request("ping", {})["result"] == {}


def message(**fields: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **fields}).encode()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" \t ",
        b"\r",
        b"nonsense",
        b"{",
        b"}",
        b"[]",
        b"{}",
        b"null",
        b"0",
        b'"text"',
        b"\x00\x01\x02\xff\xfe",
        b"\xff" * 1000,
        b"\xed\xb3\xbf",
        b'{"jsonrpc": "2.0"}',
        b'{"jsonrpc": "1.0", "id": 1, "method": "ping"}',
        b'{"jsonrpc": "2.0", "id": 99, "method": "ping", "params": [1]}',
        b'{"jsonrpc": "2.0", "id": null, "method": "ping"}',
        b'{"jsonrpc": "2.0", "id": {}, "method": "ping"}',
        b'{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}',
        b'{"jsonrpc": "2.0", "id": 99, "method": 5}',
        b'{"jsonrpc": "2.0", "id": 99, "method": "\\udcff"}',
        b'{"jsonrpc": "2.0", "id": "\\udcff", "method": "ping"}',
        b'{"jsonrpc": "2.0", "id": 99, "result": {}}',
        b'{"jsonrpc": "2.0", "id": 99, "error": {"code": 1, "message": "x"}}',
        b'{"jsonrpc": "2.0", "id": 99, "error": "x"}',
        b'{"jsonrpc": "2.0", "method": "notifications/cancelled"}',
        b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": []}}',
        b'{"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}',
        b'{"jsonrpc": "2.0", "method": "nosuch", "params": {"a": NaN}}',
        b'[{"jsonrpc": "2.0", "id": 1, "method": "ping"}, {"jsonrpc": "2.0", "id": 2}]',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"jsonrpc": "2.0", "id": 99, "method": "ping", "params": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda line: repr(line[:40]),
)
def test_a_malformed_line_harms_nobody(client: RawClient, line: bytes) -> None:
    client.send(line)
    lives(client)


@pytest.mark.parametrize(
    "arguments",
    [
        None,
        [],
        "text",
        5,
        {"vps_id": None, "command": None},
        {"vps_id": [], "command": {}},
        {"vps_id": WEB, "command": "echo \udcff"},
        {"vps_id": "\udcff", "command": "uptime"},
        {"vps_id": WEB, "command": "echo " + "x" * 1_000_000},
        {"vps_id": WEB, "command": "uptime", "wait_seconds": 10**400},
        {"vps_id": WEB, "command": "uptime", "\udcff": 1},
        {"vps_id": WEB, "command": "uptime", "x" * 100_000: 1},
    ],
    ids=lambda value: repr(value)[:60],
)
def test_arguments_of_the_wrong_type_harm_nobody(client: RawClient, arguments: object) -> None:
    params = {"name": "vps_exec", "arguments": arguments}
    client.send(message(id="odd", method="tools/call", params=params))
    lives(client)


def test_a_line_of_a_mebibyte_is_answered(client: RawClient) -> None:
    answer = client.call("vps_exec", vps_id=WEB, command="echo " + "x" * 1024 * 1024)
    assert answer["result"]["isError"]
    lives(client)


def test_a_line_without_end_is_left_out_and_not_kept(client: RawClient) -> None:
    chunk = b"x" * 1024 * 1024
    for _ in range(3 * LONGEST_LINE // len(chunk)):
        client.write(chunk)
    client.send(b"")
    lives(client)
    assert client.peak_mebibytes() < 400


def test_the_same_id_twice_is_answered_twice_or_refused(client: RawClient) -> None:
    params = {"name": "vps_exec", "arguments": {"vps_id": WEB, "command": "sleep 0.2"}}
    for _ in range(2):
        client.send(message(id="twin", method="tools/call", params=params))
    lives(client)
    deadline = time.monotonic() + 20
    while not client.answers_to("twin"):
        assert time.monotonic() < deadline
        lives(client)
    lives(client)


def test_a_request_of_the_other_era_is_refused(client: RawClient) -> None:
    client.send(message(id="modern", method="tools/list", params={"_meta": ENVELOPE}))
    lives(client)
    (answer,) = client.answers_to("modern")
    assert answer["error"]["code"] == -32600


def test_made_up_lines_harm_nobody(client: RawClient) -> None:
    """Real messages, with bytes changed, taken out and put in."""
    made = random.Random(20261125)  # noqa: S311 - no secret
    real = [
        message(id="a", method="tools/list"),
        message(id="b", method="tools/call", params={"name": "nosuch", "arguments": {"x": 1}}),
        message(id="c", method="resources/read", params={"uri": "hostup://policy"}),
        message(method="notifications/cancelled", params={"requestId": "b"}),
    ]
    for number in range(400):
        line = bytearray(made.choice(real))
        for _ in range(made.randint(1, 6)):
            at = made.randrange(len(line))
            match made.randrange(3):
                case 0:
                    line[at] = made.randrange(256)
                case 1:
                    del line[at]
                case _:
                    line.insert(at, made.randrange(256))
        client.send(bytes(line).replace(b"\n", b" "))
        if number % 20 == 0:
            lives(client)
    lives(client)


def test_the_end_of_stdin_during_a_call_ends_at_once(sandbox: Sandbox, tmp_path: Path) -> None:
    env = environment(sandbox.base_url, sandbox.api_key, tmp_path)
    with RawClient(env) as client:
        client.initialize()
        call = {"vps_id": WEB, "command": "sleep 30", "wait_seconds": 45}
        params = {"name": "vps_exec", "arguments": call, "_meta": {"progressToken": 1}}
        client.send(message(id="long", method="tools/call", params=params))
        while "running" not in json.dumps(client.read()):
            pass
        began = time.monotonic()
        code, _, log = client.finish()
    assert (code, log) == (0, b"")
    assert time.monotonic() - began < 3
