"""The official TypeScript clients, version 1 and 2, in every era that they speak."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from hostup_mcp.sandbox.machines import WEB
from tests.clients import sessions
from tests.clients.environments import ENVIRON
from tests.stdio_client import LEGACY, MODERN
from tests.transports.http_process import HttpServer

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True)
class Dialect:
    """A client, what it is told to speak, and what comes of it."""

    sdk: str
    era: str
    revision: str

    def __str__(self) -> str:
        return f"{self.sdk}-{self.era}"


DIALECTS = [
    Dialect("v1", "legacy", LEGACY),
    Dialect("v2", "legacy", LEGACY),
    Dialect("v2", "auto", MODERN),
    Dialect("v2", MODERN, MODERN),
]


@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_on_stdio(dialect: Dialect, node: Path, server_env: dict[str, str]) -> None:
    program = Path(sysconfig.get_path("scripts"), "hostup-mcp")
    seen = session(node, dialect, transport="stdio", command=str(program), args=[], env=server_env)
    check(seen, dialect.revision)


@pytest.mark.parametrize(("transport", "path"), [("http", "/mcp"), ("sse", "/sse")])
@pytest.mark.parametrize("dialect", DIALECTS, ids=str)
def test_over_http(
    dialect: Dialect, transport: str, path: str, node: Path, served: HttpServer
) -> None:
    url = served.url + path
    seen = session(node, dialect, transport=transport, url=url, token=served.token)
    check(seen, dialect.revision)


def session(node: Path, dialect: Dialect, **given: Any) -> dict[str, Any]:
    """What the client saw in one session; `node/session.mjs` says what it takes."""
    ran = subprocess.run(
        ["node", "session.mjs", json.dumps({"sdk": dialect.sdk, "era": dialect.era, **given})],
        cwd=node,
        env=ENVIRON,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return cast("dict[str, Any]", json.loads(ran.stdout))


def check(seen: dict[str, Any], revision: str) -> None:
    """As with every client; and it was greeted and refused as the protocol has it."""
    sessions.check(seen, [report["message"] for report in seen["progress"]])
    assert seen["revision"] == revision
    assert seen["server"]["name"] == "hostup-mcp"
    assert seen["instructions"]
    assert seen["machines"]["vps"][0]["id"] == WEB
    assert seen["refused"]["isError"]
    assert "structuredContent" not in seen["refused"]
    assert "status: refused" in seen["refused"]["content"][0]["text"]
