"""Where commands run and are counted: a sandbox of many VPSs over one real qemu-ga, and a proxy."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final, TextIO

import anyio
import mcp_types as types
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from hostup_mcp.hostup.models import OperatingSystem, Vps
from hostup_mcp.sandbox.api import SandboxVps
from hostup_mcp.sandbox.api_server import Sandbox
from hostup_mcp.sandbox.guests import AbsentGuest, Availability, Exit, Guest
from hostup_mcp.sandbox.qga import QgaGuest, find_qemu_ga
from tests.conftest import missing
from tests.faults.proxy import Proxy
from tests.stdio_client import environment, text

_COMES_SECONDS: Final = 30.0

# Appends its id, then waits for a line on the pipe of its name, if there is one.
_SCRIPT: Final = """#!/bin/sh
echo "$1" >>{folder}/executed
if [ -p {folder}/gate-"$1" ]; then read -r _ <{folder}/gate-"$1"; fi
echo "output of $1"
"""
_CONFIG: Final = """[policy]
preset = "{preset}"

[[policy.rules]]
argv = ["{script}", "@word"]
reason = "counts how often it runs"
"""


class SharedGuest:
    """One guest behind many VPSs: opened with the first and closed with the last."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._users = 0

    async def open(self) -> None:
        self._users += 1
        if self._users == 1:
            await self._guest.open()

    async def close(self) -> None:
        self._users -= 1
        if not self._users:
            await self._guest.close()

    async def availability(self) -> Availability:
        return await self._guest.availability()

    async def start(self, command: str) -> int:
        return await self._guest.start(command)

    async def read(self, pid: int) -> Exit | None:
        return await self._guest.read(pid)


def real_guest() -> QgaGuest:
    """A guest that is a real qemu-ga; the test is skipped where there is none."""
    program = find_qemu_ga()
    if program is None:
        missing("qemu-ga (Debian: qemu-guest-agent)")
        raise AssertionError
    return QgaGuest(program)


class Ground:
    """A sandbox whose commands are counted, and a proxy in front of it.

    Attributes:
        folder: of the counting script, the state and the configuration.
        sandbox: the sandbox.
        proxy: what the server is to talk to.
    """

    proxy: Proxy

    def __init__(self, folder: Path, sandbox: Sandbox, vps_ids: Sequence[str]) -> None:
        self.folder = folder
        self._vps_ids = vps_ids
        self.sandbox = sandbox
        self._gates: list[int] = []

    @property
    def config(self) -> Path:
        """A configuration that allows the counting script, and else what its preset does."""
        return self.folder / "config.toml"

    @property
    def state(self) -> Path:
        """The state folder of the servers."""
        return self.folder / "state"

    def environment(self, **more: str) -> dict[str, str]:
        """A server's environment; names in `more` are settings, as section__key."""
        settings = {f"HOSTUP_MCP__{name.upper()}": value for name, value in more.items()}
        env = environment(self.proxy.url, self.sandbox.api_key, self.state, **settings)
        return {**env, "HOSTUP_MCP_CONFIG": str(self.config)}

    def command(self, name: str) -> str:
        """The command that appends this id and prints `output(name)`."""
        return f"{self.folder}/count {name}"

    def gated(self, name: str) -> Callable[[], None]:
        """Have the command of this id wait in the guest until what is returned is called."""
        gate = self.folder / f"gate-{name}"
        os.mkfifo(gate)
        # Open for both, so that a line waits for a reader, and a reader for a line.
        descriptor = os.open(gate, os.O_RDWR | os.O_NONBLOCK)
        self._gates.append(descriptor)

        def let_end() -> None:
            os.write(descriptor, b"\n")

        return let_end

    def executed(self) -> Counter[str]:
        """How often each id was executed."""
        file = self.folder / "executed"
        return Counter(file.read_text().split() if file.exists() else [])

    def states(self) -> dict[str, str]:
        """The state of each execution in the journal, by handle."""
        return {handle: state for handle, state, _ in self.journal()}

    def journal(self) -> list[tuple[str, str, str]]:
        """Handle, state and command of each execution in the journal."""
        file = self.state / "journal.sqlite3"
        if not file.exists():
            return []
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as database:
            return database.execute("SELECT exec_id, state, command FROM executions").fetchall()

    def is_available(self) -> bool:
        """Whether the guest of the first VPS answers."""
        vps_id = self._vps_ids[0]
        path = f"/api/v2/vps/{vps_id}/agent/exec"
        headers = {"Authorization": f"Bearer {self.sandbox.api_key}"}
        address = self.sandbox.base_url.removeprefix("http://")
        with closing(HTTPConnection(address, timeout=30)) as connection:
            connection.request("GET", path, headers=headers)
            return b'"available":true' in connection.getresponse().read()

    def end_all(self) -> None:
        """Let everything in the guest end."""
        for gate in self._gates:
            with contextlib.suppress(BlockingIOError):
                os.write(gate, b"\n")

    def close(self) -> None:
        """Close the gates; what runs is ended before."""
        for gate in self._gates:
            os.close(gate)


def output(name: str) -> str:
    """What the command of this id prints."""
    return f"output of {name}\n"


@contextmanager
def ground(
    folder: Path,
    vps_ids: Sequence[str],
    *,
    absent: Sequence[str] = (),
    guest: Guest | None = None,
    preset: str = "none",
    refusals: Callable[[], int] = lambda: 0,
) -> Generator[Ground]:
    """A ground with these VPSs, of which the absent ones take no commands."""
    folder.mkdir(exist_ok=True)
    (folder / "state").mkdir()
    script = folder / "count"
    script.write_text(_SCRIPT.format(folder=folder))
    script.chmod(0o755)
    (folder / "config.toml").write_text(_CONFIG.format(script=script, preset=preset))
    shared = SharedGuest(guest or real_guest())
    mute = AbsentGuest("QEMU guest agent is not running", vm_running=True)
    system = OperatingSystem(family="debian")

    def machine(vps_id: str) -> SandboxVps:
        vps = Vps(id=vps_id, name=vps_id, power_state="running", operating_system=system)
        return SandboxVps(vps, mute if vps_id in absent else shared)

    with ExitStack() as stack:
        sandbox = Sandbox([machine(vps_id) for vps_id in vps_ids], rate_limit=10_000_000)
        made = Ground(folder, sandbox, vps_ids)
        stack.callback(made.close)
        stack.enter_context(sandbox)
        made.proxy = stack.enter_context(Proxy(sandbox.base_url, refusals))
        stack.callback(made.end_all)
        yield made


# ------------------------------------------------------------------ what a client sees


@asynccontextmanager
async def server(
    env: dict[str, str], errlog: TextIO, command: Sequence[str] = ()
) -> AsyncGenerator[Client]:
    """The official client of a new server process."""
    program, *arguments = command or (sys.executable, "-m", "hostup_mcp")
    parameters = StdioServerParameters(command=program, args=arguments, env=env)
    async with Client(stdio_client(parameters, errlog=errlog)) as client:
        yield client


def said(answer: types.CallToolResult, fact: str) -> str:
    """A fact of an answer, from the line of its text that carries it; empty if there is none."""
    found = re.search(rf"^{fact}: (.*)$", text(answer), re.MULTILINE)
    return found[1] if found else ""


def shown_state(answer: types.CallToolResult) -> str:
    """The state that an answer tells of."""
    content: Any = answer.structured_content
    return said(answer, "status") if answer.is_error else str(content["status"])


async def wait_until(holds: Callable[[], bool]) -> None:
    """Wait, as long as a busy machine may need."""
    with anyio.fail_after(_COMES_SECONDS):
        while not holds():  # noqa: ASYNC110 - another process's doing
            await anyio.sleep(0.02)
