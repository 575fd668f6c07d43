"""mcp-ssrf-check, which asks a server that it was not meant to reach: Host, Origin, sessions."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.clients.environments import ENVIRON, python_with
from tests.transports.http_process import HttpServer

pytestmark = pytest.mark.timeout(300)

# What only a tool that fetches URLs can be asked is left out, and sessions where there are none.
EXPECTED = {
    "stateless": {
        "baseline": "pass",
        "host-header": "pass",
        "origin-header": "pass",
        "origin-null": "info",
        "session-binding": "skip",
        "tool-url-ssrf": "skip",
    },
    "stateful": {
        "baseline": "pass",
        "host-header": "pass",
        "origin-header": "pass",
        "origin-null": "info",
        "session-binding": "pass",
        "tool-url-ssrf": "skip",
    },
}


@pytest.mark.parametrize("lifecycle", EXPECTED)
def test_is_clean(lifecycle: str, served: HttpServer, tmp_path: Path) -> None:
    program = python_with("mcp_ssrf_check").with_name("mcp-ssrf-check")
    report = tmp_path / "report.json"
    target = ["--url", f"{served.url}/mcp", "--bearer", served.token, "--lifecycle", lifecycle]
    ran = subprocess.run(
        [program, *target, "--json-out", report],
        env=ENVIRON,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = {check["id"]: check for check in json.loads(report.read_text())["checks"]}
    assert {name: check["status"] for name, check in found.items()} == EXPECTED[lifecycle]
    assert "rejected" in found["origin-null"]["detail"]
