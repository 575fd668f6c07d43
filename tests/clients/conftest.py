"""Real clients of other makers. They are installed from registries, so only on request."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostup_mcp.sandbox.api_server import Sandbox
from tests.clients.environments import node_packages
from tests.conftest import missing
from tests.stdio_client import environment
from tests.transports.http_process import HttpServer

SWITCH = "HOSTUP_TESTS_CLIENTS"
"""Set in `.ci/run`: these tests are collected."""

collect_ignore_glob = [] if os.environ.get(SWITCH) else ["test_*.py"]


@pytest.fixture(scope="session")
def node() -> Path:
    """The folder with the npm packages and the scripts that use them."""
    if not any(Path(folder, "npm").is_file() for folder in os.get_exec_path()):
        missing("npm")
    return node_packages()


@pytest.fixture
def server_env(sandbox: Sandbox, tmp_path: Path) -> dict[str, str]:
    """What a server on stdio is given: it waits as long as these clients do."""
    return environment(sandbox.base_url, sandbox.api_key, tmp_path)


@pytest.fixture(scope="module")
def served(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    """A server on Streamable HTTP and SSE."""
    with HttpServer.of(sandbox, tmp_path_factory.mktemp("served"), "--with-sse") as server:
        yield server
        assert "Traceback" not in server.log()
        assert server.token not in server.log()
