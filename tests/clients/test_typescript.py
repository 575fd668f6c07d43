"""The official TypeScript clients, version 1 and 2, in every era that they speak."""

from __future__ import annotations

import json
import platform
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from hostup_mcp.sandbox.serving import WEB, Sandbox
from tests.clients.environments import ENVIRON
from tests.stdio_client import LEGACY, MODERN

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
def test_lists_runs_waits_and_reads_later(
    dialect: Dialect, node: Path, sandbox: Sandbox, server_env: dict[str, str]
) -> None:
    seen = session(
        node,
        sdk=dialect.sdk,
        era=dialect.era,
        transport="stdio",
        command=str(Path(sysconfig.get_path("scripts"), "hostup-mcp")),
        args=[],
        env=server_env,
    )
    check(seen, dialect.revision)


def session(node: Path, **given: Any) -> dict[str, Any]:
    """What the client saw in one session; `node/session.mjs` says what it takes."""
    ran = subprocess.run(
        ["node", "session.mjs", json.dumps(given)],
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
    """It listed the tools, ran a command, saw progress, read a later result, was refused."""
    assert seen["revision"] == revision
    assert seen["server"]["name"] == "hostup-mcp"
    assert seen["instructions"]
    assert seen["tools"] == ["list_vps", "vps_exec", "vps_exec_result"]
    assert seen["machines"]["vps"][0]["id"] == WEB
    assert seen["short"]["stdout"].startswith(f"{platform.system()} {platform.node()} ")
    assert seen["long"]["status"] == "running"
    assert seen["later"]["exec_id"] == seen["long"]["exec_id"]
    assert (seen["later"]["status"], seen["later"]["exit_code"]) == ("completed", 0)
    assert seen["later"]["stdout"].strip()
    waiting = [report["message"] for report in seen["progress"]]
    assert any("running as pid" in message for message in waiting)
    assert seen["refused"]["isError"]
    assert "structuredContent" not in seen["refused"]
    assert "status: refused" in seen["refused"]["content"][0]["text"]
