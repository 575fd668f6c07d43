"""Runs the suite, and holds its checks against the list of expected failures."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import click
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from hostup_mcp.sandbox.api_server import Sandbox
from hostup_mcp.sandbox.guests import LocalGuest
from hostup_mcp.sandbox.machines import fleet
from tests.stdio_client import environment

REVISIONS: Final = ("2025-11-25", "2026-07-28")
_SUITE: Final = ("-p", "node@22.23.3", "-p", "@modelcontextprotocol/conformance@0.2.0-alpha.12")
_EXPECTED: Final = Path(__file__).with_name("expected_failures.yaml")
_ROOT: Final = Path(__file__).parents[2]
_SUITE_SECONDS: Final = 900.0
_FAILURES: Final = ("FAILURE", "WARNING")


class Expected(BaseModel):
    """Failures that have one reason.

    Attributes:
        reason: why the server is right, or why it cannot be otherwise.
        revisions: in which revisions.
        checks: `scenario/check` each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: Annotated[str, Field(min_length=20)]
    revisions: tuple[str, ...] = REVISIONS
    checks: Annotated[tuple[str, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a run.

    Attributes:
        name: `scenario/check`.
        status: `SUCCESS`, `FAILURE`, `WARNING`, `SKIPPED` or `INFO`.
        message: what the suite says of a failure.
    """

    name: str
    status: str
    message: str

    @property
    def failed(self) -> bool:
        return self.status in _FAILURES


# ------------------------------------------------------------------ the server


@asynccontextmanager
async def served(folder: Path) -> AsyncGenerator[str]:
    """The server on the sandbox, and its address.

    The suite has no bearer token. A server on a Unix socket asks for none, since the socket's mode
    guards it; the suite's bytes are carried there unchanged.
    """
    socket = folder / "mcp.sock"
    with Sandbox(fleet(LocalGuest()), rate_limit=1_000_000) as sandbox:
        env = environment(sandbox.base_url, sandbox.api_key, folder / "state")
        env["HOSTUP_MCP__HTTP__MAX_CALLS_PER_MINUTE"] = "100000"
        arguments = ("serve", "--transport", "http", "--uds", str(socket))
        with (folder / "server.log").open("wb") as log:
            server = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.conformance.server", *arguments,
                cwd=_ROOT, env={"PATH": os.environ["PATH"], **env}, stderr=log,
            )  # fmt: skip
        try:
            async with asyncio.timeout(30):
                while not socket.exists():
                    assert server.returncode is None, (folder / "server.log").read_text()
                    await asyncio.sleep(0.05)
            async with _relay(socket) as address:
                yield address
        finally:
            server.terminate()
            await server.wait()


@asynccontextmanager
async def _relay(socket: Path) -> AsyncGenerator[str]:
    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass  # the other side sees it
        finally:
            writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(str(socket))
        await asyncio.gather(carry(reader, inner_writer), carry(inner_reader, writer))

    relay = await asyncio.start_server(connected, "127.0.0.1", 0)
    host, port = relay.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}/mcp"
    finally:
        relay.close()


# ------------------------------------------------------------------ the suite


async def run(address: str, revision: str, folder: Path) -> list[Check]:
    """All checks of the suite for this revision."""
    npx = shutil.which("npx")
    assert npx, "npx is missing (npm)"
    arguments = ("server", "--url", address, "--requirements", revision, "-o", str(folder))
    with (folder.parent / f"{revision}.log").open("wb") as log:
        suite = await asyncio.create_subprocess_exec(
            npx, "-y", *_SUITE, "conformance", *arguments, stdout=log, stderr=log
        )
        try:
            await asyncio.wait_for(suite.wait(), _SUITE_SECONDS)
        finally:
            if suite.returncode is None:
                suite.kill()
    checks = list(_checks(folder))
    assert checks, f"the suite ran nothing:\n{(folder.parent / f'{revision}.log').read_text()}"
    return checks


def _checks(folder: Path) -> Iterator[Check]:
    for file in sorted(folder.rglob("checks.json")):
        # The folder is named `server-SCENARIO-TIME`, with a time like 2026-11-25T16-00-00-000Z.
        scenario = re.sub(r"-\d{4}-\d\d-\d\dT.*", "", file.parent.name.removeprefix("server-"))
        for check in json.loads(file.read_text()):
            name = f"{scenario}/{check['id']}"
            yield Check(name, check["status"], check.get("errorMessage", ""))


def expected_failures() -> list[Expected]:
    """The list of the file."""
    return TypeAdapter(list[Expected]).validate_python(yaml.safe_load(_EXPECTED.read_text()))


def judge(revision: str, checks: list[Check], expected: list[Expected]) -> bool:
    """Print what came of a revision: whether nothing failed but what is expected, and all of that.

    A scenario may make a check several times; it is as bad as its worst time.
    """
    listed = {name: e.reason for e in expected if revision in e.revisions for name in e.checks}
    failed = {check.name: check.message for check in checks if check.failed}
    unlisted = {name: message for name, message in failed.items() if name not in listed}
    stale = listed.keys() - failed.keys()
    counts = Counter(check.status for check in checks)
    passed = counts["SUCCESS"]
    click.echo(
        f"{revision}: {passed} checks passed, {sum(check.failed for check in checks)} failed, "
        f"{counts['SKIPPED']} skipped, {counts['INFO']} for information; "
        f"{len(listed)} entries of expected failures"
    )
    for name, message in sorted(unlisted.items()):
        click.echo(f"  FAILED, and not expected: {name}: {message}")
    for name in sorted(stale):
        click.echo(f"  EXPECTED to fail, and did not: {name}")
    return not unlisted and not stale


async def main() -> int:
    """Run both revisions; 0 if all is as expected."""
    expected, good = expected_failures(), True
    kept = os.environ.get("CONFORMANCE_RESULTS")
    with tempfile.TemporaryDirectory() as temporary:
        for revision in sys.argv[1:] or REVISIONS:
            folder = Path(kept or temporary) / revision
            (folder / "results").mkdir(parents=True)
            async with served(folder) as address:
                checks = await run(address, revision, folder / "results")
            good = judge(revision, checks, expected) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
