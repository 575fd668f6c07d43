"""What supervisors are told: whether it lives, whether it is ready, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hostup_mcp.sandbox.api_server import Sandbox
from tests.stdio_client import facts
from tests.transports.http_process import HttpServer, request


def ask(server: HttpServer, path: str) -> tuple[int, dict[str, Any]]:
    """Without a token, as a supervisor does."""
    status, reply = server.raw(request(path))
    return status, json.loads(reply.partition(b"\r\n\r\n")[2])


async def test_a_server_that_works_is_ready_and_tells_of_its_last_contact(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    with HttpServer.of(sandbox, tmp_path) as server:
        assert ask(server, "/healthz") == (200, {"status": "alive"})
        status, before = ask(server, "/readyz")
        assert status == 200
        assert before == {
            "status": "ready",
            "configuration": "good",
            "journal": "writable",
            "seconds_since_hostup_answered": None,
        }
        async with server.client() as client:
            facts(await client.call_tool("list_vps", {}))
        _, after = ask(server, "/readyz")
        assert 0 <= after["seconds_since_hostup_answered"] < 60
        (tmp_path / "journal.sqlite3").unlink()
        server.await_answer("/readyz", 503)
        status, broken = ask(server, "/readyz")
        assert (status, broken["status"], broken["journal"]) == (503, "not ready", "not writable")
        assert ask(server, "/healthz")[0] == 200


def test_a_server_without_a_key_is_alive_and_not_ready(sandbox: Sandbox, tmp_path: Path) -> None:
    with HttpServer(sandbox.base_url, "", tmp_path, "--transport", "http", "--port", "0") as server:
        assert ask(server, "/healthz")[0] == 200
        status, said = ask(server, "/readyz")
        assert (status, said["configuration"]) == (503, "no API key")
