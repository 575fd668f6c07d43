"""Tasks over HTTP: the official client, the routing header, and whose a task is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from hostup_mcp.sandbox.api_server import Sandbox
from hostup_mcp.sandbox.machines import WEB
from tests.stdio_client import MODERN, facts
from tests.task_client import DECLARED, Tasks
from tests.transports.http_process import ACCEPT, HttpServer

ALICE = "alice-1234567890abcdef"
BOB = "bob-1234567890abcdef"


@pytest.mark.parametrize("transport", ["http", "sse"])
async def test_the_official_client_gets_a_task_and_its_result(
    served: HttpServer, transport: str
) -> None:
    tasks = Tasks()
    arguments = {"vps_id": WEB, "command": "sleep 1", "idempotency_key": transport}
    async with httpx2.AsyncClient(headers=served.bearer, timeout=30) as http:
        streams = (
            sse_client(f"{served.url}/sse", headers=served.bearer)
            if transport == "sse"
            else streamable_http_client(f"{served.url}/mcp", http_client=http)
        )
        async with Client(streams, mode="auto", extensions=[tasks]) as client:
            assert client.protocol_version == MODERN
            found = facts(await client.call_tool("vps_exec", arguments))
    assert found["exit_code"] == 0
    (created,) = tasks.created
    assert created.task_id == found["exec_id"]


class Posts:
    """Single requests as one bearer makes them."""

    def __init__(self, server: HttpServer, token: str) -> None:
        self._url = f"{server.url}/mcp"
        self._token = token

    def post(self, method: str, named: str | None, /, **params: Any) -> httpx2.Response:
        """Send one request, with this `Mcp-Name`."""
        meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": DECLARED,
        }
        headers = {
            **ACCEPT,
            "Authorization": f"Bearer {self._token}",
            "MCP-Protocol-Version": MODERN,
            "Mcp-Method": method,
        }
        if named is not None:
            headers["Mcp-Name"] = named
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
        return httpx2.post(self._url, json=body, headers=headers, timeout=30)

    def create(self, command: str) -> str:
        """The id of a new task."""
        arguments = {"vps_id": WEB, "command": command}
        answer = self.post("tools/call", "vps_exec", name="vps_exec", arguments=arguments)
        return answer.json()["result"]["taskId"]


METHODS: list[tuple[str, dict[str, Any]]] = [
    ("tasks/get", {}),
    ("tasks/update", {"inputResponses": {}}),
    ("tasks/cancel", {}),
]


def test_the_routing_header_names_the_task(served: HttpServer) -> None:
    posts = Posts(served, served.token)
    task_id = posts.create("uptime -p")
    for method, more in METHODS:
        assert posts.post(method, task_id, taskId=task_id, **more).status_code == 200
        for wrong in (None, "", "exec_other", task_id.upper()):
            refused = posts.post(method, wrong, taskId=task_id, **more)
            assert refused.status_code == 400
            assert refused.json()["error"]["code"] == -32020
        unknown = posts.post(method, "exec_other", taskId="exec_other", **more)
        assert unknown.json()["error"]["code"] == -32602


def test_a_task_belongs_to_who_made_it(sandbox: Sandbox, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"alice {ALICE}\nbob {BOB}\n")
    tokens.chmod(0o600)
    with HttpServer.of(sandbox, tmp_path, "--token-file", str(tokens)) as server:
        alice, bob = Posts(server, ALICE), Posts(server, BOB)
        task_id = alice.create("uptime -p")
        for method, more in METHODS:
            refused = bob.post(method, task_id, taskId=task_id, **more)
            missing = bob.post(method, "exec_nosuch", taskId="exec_nosuch", **more)
            assert refused.json() == missing.json(), "bob cannot even tell that it is there"
            assert refused.json()["error"]["code"] == -32602
            assert alice.post(method, task_id, taskId=task_id, **more).status_code == 200
