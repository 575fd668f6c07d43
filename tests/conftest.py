"""Shared by all tests: nothing leaves loopback, and what is missing is said."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from hostup_mcp.execution.journal.sqlite.store import SqliteStore
from hostup_mcp.hostup.origin import is_loopback
from hostup_mcp.sandbox.api_server import Sandbox
from hostup_mcp.sandbox.guests import LocalGuest
from hostup_mcp.sandbox.machines import fleet
from hostup_mcp.sandbox.qga import QgaGuest, find_qemu_ga
from tests.runner_harness import acting
from tests.scripted_api import ScriptedApi

REQUIRE_ALL = "HOSTUP_TESTS_REQUIRE_ALL"
"""Set in `.ci/run`: a test that would be skipped for a missing part fails there."""


# The same examples on every run of CI; elsewhere new ones, half as many. Machines are busy: no
# deadline.
IN_CI = bool(os.environ.get("CI"))
hypothesis.settings.register_profile(
    "tests",
    deadline=None,
    derandomize=IN_CI,
    database=None,
    max_examples=100 if IN_CI else 50,
)
hypothesis.settings.load_profile("tests")

# Under `pytest &` a shell has SIGINT ignored, and so would every server that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def missing(part: str) -> None:
    """Skip for a part that is not installed; fail where everything must be there."""
    if os.environ.get(REQUIRE_ALL):
        pytest.fail(f"{part} is missing, and {REQUIRE_ALL} is set")
    pytest.skip(f"{part} is not installed")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that connects elsewhere fails, and no proxy or key of the developer's is used."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any, /) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            assert is_loopback(address[0]), f"a test connects to {address}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or (name.startswith("HOSTUP_") and name != REQUIRE_ALL):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def own_home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The developer's own settings and journal stay out of it."""
    home = tmp_path_factory.mktemp("home")
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(home))


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """A sandbox whose first VPS runs commands on this machine."""
    with Sandbox(fleet(LocalGuest()), rate_limit=1_000_000) as running:
        yield running


@pytest.fixture(scope="session")
def qga_sandbox() -> Iterator[Sandbox]:
    """A sandbox whose first VPS is a real qemu-ga."""
    program = find_qemu_ga()
    if program is None:
        missing("qemu-ga (Debian: qemu-guest-agent)")
        raise AssertionError
    with Sandbox(fleet(QgaGuest(program)), rate_limit=1_000_000) as running:
        yield running


@pytest.fixture
def scripted() -> Iterator[ScriptedApi]:
    """A real HTTP server that answers what a test tells it to."""
    with ScriptedApi() as api:
        yield api


@pytest.fixture
def journal(tmp_path: Path) -> SqliteStore:
    """A new journal of this test's own."""
    return SqliteStore(tmp_path / "journal", me=acting)


@pytest.fixture
def root() -> Path:
    """The project's folder."""
    return Path(__file__).parent.parent
