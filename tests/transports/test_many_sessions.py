"""Ten thousand clients open a session: those over the limit are told, and the server lives."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from hostup_mcp.config.http import HttpSettings
from hostup_mcp.sandbox.api_server import Sandbox
from tests.everything import ALL
from tests.stdio_client import facts
from tests.transports.http_process import INITIALIZE, HttpServer

SESSIONS, MOST = (10_000, HttpSettings().max_sessions) if ALL else (100, 30)
LIMITS = {
    "HOSTUP_MCP__HTTP__MAX_SESSIONS": str(MOST),
    "HOSTUP_MCP__HTTP__MAX_CALLS_PER_MINUTE": "100000",
}
MEMORY_MIB = 400
"""About 80 before the first session, and some 120 with all of them."""


def memory_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@pytest.mark.timeout(240)
async def test_sessions_over_the_limit_are_refused_and_the_others_work(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    with HttpServer.of(sandbox, tmp_path, **LIMITS) as server:
        statuses: Counter[int] = Counter()
        with server.http() as http:
            for _ in range(SESSIONS):
                reply = http.post("/mcp", json=INITIALIZE)
                statuses[reply.status_code] += 1
                if reply.status_code == 503:
                    assert reply.headers["retry-after"] == "10"
                    assert reply.json()["error"]["data"]["error"] == "too_many_sessions"
        assert statuses == {200: MOST, 503: SESSIONS - MOST}
        assert memory_mib(server.process.pid) < MEMORY_MIB
        # A client of the newest revision needs no session.
        async with server.client() as client:
            assert len(facts(await client.call_tool("list_vps", {}))["vps"]) == 3
        assert server.stop() < 3
