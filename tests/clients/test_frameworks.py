"""Each framework, in an environment of its own: its example on stdio, and the same over HTTP."""

from __future__ import annotations

import datetime
import json
import platform
import re
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from hostup_mcp.sandbox.api_server import Sandbox
from tests.clients.environments import ENVIRON, HERE, python_with
from tests.clients.sessions import TOOLS, check
from tests.conftest import missing
from tests.transports.http_process import HttpServer

EXAMPLES = sorted((HERE.parent.parent / "examples").glob("*.py"))
NO_PROGRESS = {"with_openai_agents"}

# The first run installs.
pytestmark = pytest.mark.timeout(300)
each_example = pytest.mark.parametrize(
    "example", EXAMPLES, ids=[example.stem for example in EXAMPLES]
)


@each_example
def test_example(example: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    ran = run([python_with(example.stem, example), example], sandbox, {"HOME": str(tmp_path)})
    said = re.findall(r"^(tools|short|long|later): (.*)$", ran.stdout, re.MULTILINE)
    assert [name for name, _ in said] == ["tools", "short", "long", "later"]
    lines = dict(said)
    assert lines["tools"].split() == TOOLS
    assert lines["short"].startswith(f"completed 0 {platform.system()} {platform.node()} ")
    status, exec_id = lines["long"].split(" ")
    assert status == "running"
    status, exit_code, date = lines["later"].split(" ", 2)
    assert (status, exit_code) == ("completed", "0")
    assert str(datetime.datetime.now(datetime.UTC).year) in date
    progress = [line for line in ran.stdout.splitlines() if line.startswith("progress: ")]
    assert any("running as pid" in line and exec_id in line for line in progress) == (
        example.stem not in NO_PROGRESS
    )


@each_example
@pytest.mark.parametrize(("transport", "path"), [("http", "/mcp"), ("sse", "/sse")])
def test_over_http(
    example: Path, transport: str, path: str, served: HttpServer, tmp_path: Path
) -> None:
    python = python_with(example.stem, example)
    ran = subprocess.run(
        [python, HERE / "over_http.py", example.stem, transport, served.url + path],
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "HOSTUP_MCP_HTTP_TOKEN": served.token,
            # Google's would look for the cloud that they run in.
            "NO_GCE_CHECK": "true",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    seen = json.loads(ran.stdout)
    check(seen, seen["progress"], sees_progress=example.stem not in NO_PROGRESS)


@each_example
def test_example_is_typed(example: Path, root: Path) -> None:
    pyright = Path(sysconfig.get_path("scripts"), "pyright")
    if not pyright.exists():
        missing("pyright (the extra lint)")
    ran = subprocess.run(
        [pyright, "--project", root, "--pythonpath", python_with(example.stem, example), example],
        env=ENVIRON,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@each_example
def test_example_says_how_it_is_installed(example: Path) -> None:
    """Its header has one exact version, which is the one in the pins."""
    (wanted,) = re.findall(r'^# dependencies = \["(.*)"\]$', example.read_text(), re.MULTILINE)
    pins = (HERE / "requirements" / f"{example.stem}.txt").read_text().splitlines()
    assert re.sub(r"\[.*\]", "", wanted) in pins
    needs_mcp_1 = any(pin.startswith("mcp==1.") for pin in pins)
    assert needs_mcp_1 == ("apart from hostup-mcp" in example.read_text())
    assert all(re.match(r"[a-z0-9.-]+==\S+( ; .*)?$", pin) for pin in pins)


def test_the_readmes_line_runs_an_example(root: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    (line,) = re.findall(r"`(uv run [^`]*)`", (root / "README.md").read_text())
    more = {**ENVIRON, "HOSTUP_MCP_STATE_DIR": str(tmp_path), "UV_PYTHON": sys.executable}
    ran = run(line.split(), sandbox, more, root)
    assert "later: completed 0 " in ran.stdout


def run(
    command: Sequence[str | Path],
    sandbox: Sandbox,
    env: Mapping[str, str],
    folder: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run an example as a user would, with hostup-mcp on the PATH."""
    scripts = sysconfig.get_path("scripts")
    ran = subprocess.run(
        command,
        env={
            **env,
            "PATH": f"{scripts}:/usr/bin:/bin",
            "HOSTUP_BASE_URL": sandbox.base_url,
            "HOSTUP_API_KEY": sandbox.api_key,
        },
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert sandbox.api_key not in ran.stdout + ran.stderr
    return ran
