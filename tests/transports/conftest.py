"""One server for all tests that leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hostup_mcp.sandbox.api_server import Sandbox
from tests.transports.http_process import HttpServer


@pytest.fixture(scope="module")
def served(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    """Streamable HTTP and SSE on loopback, with everything else as it is by default."""
    state = tmp_path_factory.mktemp("served")
    with HttpServer.of(sandbox, state, "--with-sse") as server:
        yield server
        assert "Traceback" not in server.log()
        assert server.token not in server.log()
