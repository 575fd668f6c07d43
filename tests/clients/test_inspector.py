"""MCP Inspector, the official testing tool, on its command line."""

from __future__ import annotations

import json
import platform
import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from hostup_mcp.sandbox.machines import WEB
from tests.clients.environments import ENVIRON
from tests.clients.sessions import TOOLS
from tests.transports.http_process import HttpServer

pytestmark = pytest.mark.timeout(300)

# The Inspector's exit codes.
AUTH_REQUIRED = 3
TOOL_ERROR = 5

ERAS = ["legacy", "modern"]


@pytest.fixture(params=["stdio", "http", "sse"])
def target(request: pytest.FixtureRequest) -> list[str]:
    """Where the server is, as the Inspector's arguments."""
    if request.param == "stdio":
        env: dict[str, str] = request.getfixturevalue("server_env")
        settings = [word for item in env.items() for word in ("-e", "=".join(item))]
        return [*settings, "--", str(Path(sysconfig.get_path("scripts"), "hostup-mcp"))]
    served: HttpServer = request.getfixturevalue("served")
    url = f"{served.url}/{'mcp' if request.param == 'http' else 'sse'}"
    return [url, "--transport", request.param, "--header", f"Authorization: Bearer {served.token}"]


@pytest.mark.parametrize("era", ERAS)
def test_finds_nothing_wrong_with_the_tools(era: str, node: Path, target: list[str]) -> None:
    """Strict mode, with what it only warns about."""
    ran = inspect(node, era, ["--method", "tools/list", "--strict"], target)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert [tool["name"] for tool in answer(ran)["tools"]] == TOOLS
    assert not ran.stderr


@pytest.mark.parametrize("era", ERAS)
def test_runs_a_command(era: str, node: Path, target: list[str]) -> None:
    ran = call(node, era, target, command="uname -a")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    result = answer(ran)["structuredContent"]
    assert result["exit_code"] == 0
    assert result["stdout"].startswith(f"{platform.system()} {platform.node()} ")


@pytest.mark.parametrize("era", ERAS)
def test_sees_a_refusal_as_an_error(era: str, node: Path, target: list[str]) -> None:
    ran = call(node, era, target, command="rm -rf /var/log")
    assert ran.returncode == TOOL_ERROR
    assert "status: refused" in answer(ran)["content"][0]["text"]


def test_sees_that_a_token_is_missing(node: Path, served: HttpServer) -> None:
    target = [f"{served.url}/mcp", "--transport", "http"]
    ran = inspect(node, "modern", ["--method", "tools/list"], target)
    assert ran.returncode == AUTH_REQUIRED, ran.stdout + ran.stderr


def call(
    node: Path, era: str, target: Sequence[str], **arguments: str
) -> subprocess.CompletedProcess[str]:
    given = json.dumps({"vps_id": WEB, **arguments})
    tool = ["--method", "tools/call", "--tool-name", "vps_exec", "--tool-args-json", given]
    return inspect(node, era, tool, target)


def inspect(
    node: Path, era: str, what: Sequence[str], target: Sequence[str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            node / "node_modules/.bin/mcp-inspector",
            *("--cli", "--format", "json", "--quiet", "--protocol-era", era),
            *what,
            *target,
        ],
        env=ENVIRON,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def answer(ran: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(ran.stdout)["result"])
