"""The transport matrix: each transport in each revision of MCP, in each situation.

A row of it, one transport in one revision, has a sandbox, a journal and two servers of its own: the
first is ended by SIGTERM in a call, the second is what comes after the restart.
"""

from __future__ import annotations

import sqlite3
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

import anyio
import mcp_types as types
from mcp import Client
from mcp.shared.exceptions import MCPError

from hostup_mcp.sandbox.guests import LocalGuest
from tests.faults.ground import Ground, ground, output, said, wait_until
from tests.stdio_client import facts, text
from tests.transports.http_process import tolerating_anyio
from tests.transports.matrix_client import (
    REVISIONS,
    TRANSPORTS,
    Ended,
    Revision,
    Server,
    TransportName,
    connected,
    leaving,
    serving,
)
from tests.transports.revisions import ABSENT, UNNAMED, refuses_what_is_absent

Situation = Literal[
    "list", "progress", "long", "refusal", "cancel", "disconnect", "sigterm", "restart"
]
SITUATIONS: Final[tuple[Situation, ...]] = get_args(Situation)
VPS: Final = "vps_01transport0matrix0aaaaaaaa"
LONGEST_SECONDS: Final = 3.0
_PATIENCE_SECONDS: Final = 40.0


@dataclass(slots=True)
class Row:
    """What became of one transport in one revision.

    Attributes:
        transport: its name.
        revision: its revision.
        failures: what went wrong, by situation; one that is not there went well.
        absent: what went wrong with the requests that the revision has not got.
        ended: how the first server ended, once it has.
    """

    transport: TransportName
    revision: Revision
    failures: dict[Situation, Exception] = field(default_factory=dict[Situation, Exception])
    absent: Exception | None = None
    ended: Ended | None = None


async def run_row(transport: TransportName, revision: Revision, folder: Path) -> Row:
    """Put one transport in one revision through every situation; `folder` must be there."""
    row = Row(transport, revision)
    tolerating: AbstractContextManager[None] = (
        tolerating_anyio() if transport == "uds" else nullcontext()
    )
    with (
        ground(
            folder / f"{transport}-{revision}", [VPS], guest=LocalGuest(), preset="diagnostics"
        ) as here,
        tolerating,
    ):
        await _Run(row, here).all()
    return row


class _Run:
    """One row while it is run."""

    def __init__(self, row: Row, here: Ground) -> None:
        self._row = row
        self._here = here
        self._tried: set[Situation] = set()
        self._handles: dict[str, str] = {}
        self._answers: dict[str, dict[str, Any]] = {}

    async def all(self) -> None:
        """Every situation; those that leave the server alone are tried at the same time."""
        row = self._row
        async with (
            serving(row.transport, self._here) as server,
            connected(server, row.revision) as client,
        ):
            async with anyio.create_task_group() as tasks:
                together: dict[Situation, Callable[[Client], Awaitable[None]]] = {
                    "list": self._list,
                    "progress": self._progress,
                    "long": self._long,
                    "refusal": self._refusal,
                    "cancel": self._cancel,
                }
                for situation, trial in together.items():
                    tasks.start_soon(self._attempt, situation, trial, client)
                tasks.start_soon(self._attempt, "disconnect", self._disconnect, server)
            try:
                await refuses_what_is_absent(server, client, row.transport, row.revision)
            except Exception as error:  # noqa: BLE001 - as in `_attempt`
                row.absent = error
            await self._attempt("sigterm", self._sigterm_in_a_call, client, server)
        async with (
            serving(row.transport, self._here) as server,
            connected(server, row.revision) as client,
        ):
            if "sigterm" not in row.failures:
                await self._attempt("sigterm", self._after_sigterm, client)
            await self._attempt("restart", self._restart, client)
        assert self._tried == set(SITUATIONS)

    async def _attempt(
        self, situation: Situation, trial: Callable[..., Awaitable[None]], *given: Any
    ) -> None:
        self._tried.add(situation)
        try:
            with anyio.fail_after(_PATIENCE_SECONDS):
                await trial(*given)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this situation's failure
            self._row.failures[situation] = error

    async def _order(
        self, client: Client, name: str, on_progress: Any = None, **more: Any
    ) -> types.CallToolResult:
        arguments = {"vps_id": VPS, "command": self._here.command(name), **more}
        return await client.call_tool("vps_exec", arguments, progress_callback=on_progress)

    async def _result(self, client: Client, exec_id: str, **more: Any) -> dict[str, Any]:
        return facts(await client.call_tool("vps_exec_result", {"exec_id": exec_id, **more}))

    def _check(self, found: Mapping[str, Any], name: str) -> None:
        """This is the result of this command, which ran once."""
        assert (found["status"], found["exit_code"]) == ("completed", 0), found
        assert found["stdout"] == output(name)
        assert self._here.executed()[name] == 1

    # ------------------------------------------------------------------ situations

    async def _list(self, client: Client) -> None:
        listed = await client.list_tools()
        assert [tool.name for tool in listed.tools] == ["list_vps", "vps_exec", "vps_exec_result"]
        assert client.instructions
        assert "list_vps" in client.instructions
        found = facts(await client.call_tool("list_vps", {}))
        assert [vps["id"] for vps in found["vps"]] == [VPS]

    async def _progress(self, client: Client) -> None:
        let_end = self._here.gated("progress")
        came: list[float] = []
        messages: list[str] = []

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            came.append(progress)
            messages.append(message or "")
            if len(came) == 2:
                let_end()

        # The command ends once the second message is here: it cannot come with the result.
        found = facts(await self._order(client, "progress", on_progress))
        self._check(found, "progress")
        assert len(came) >= 2
        assert came == sorted(set(came)), "progress must grow"
        assert f"exec_id {found['exec_id']}" in messages[0]

    async def _long(self, client: Client) -> None:
        let_end = self._here.gated("long")
        running = facts(await self._order(client, "long", wait_seconds=0))
        assert running["status"] == "running"
        assert running["next_poll_seconds"] > 0
        let_end()
        ended = await self._result(client, running["exec_id"])
        self._check(ended, "long")
        self._handles["long"] = running["exec_id"]
        self._answers["long"] = ended

    async def _refusal(self, client: Client) -> None:
        result = await client.call_tool("vps_exec", {"vps_id": VPS, "command": "sudo df -h"})
        assert result.is_error
        assert result.structured_content is None
        assert said(result, "status") == "refused"
        assert said(result, "nearest_allowed") == "df -h"

    async def _cancel(self, client: Client) -> None:
        let_end = self._here.gated("cancel")
        scope = anyio.CancelScope()

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            if message and "running" in message:
                self._handles["cancel"] = _handle(message)
                scope.cancel()

        with scope:
            await self._order(client, "cancel", on_progress)
        assert scope.cancelled_caught
        assert len((await client.list_tools()).tools) == 3
        still = await self._result(client, self._handles["cancel"], wait_seconds=0)
        assert still["status"] == "running"
        let_end()
        ended = await self._result(client, self._handles["cancel"])
        self._check(ended, "cancel")
        self._answers["cancel"] = ended

    async def _disconnect(self, server: Server) -> None:
        let_end = self._here.gated("disconnect")
        async with leaving(server, self._row.revision) as (client, leave):

            async def on_progress(
                progress: float, total: float | None, message: str | None
            ) -> None:
                if message and "running" in message:
                    self._handles["disconnect"] = _handle(message)
                    leave()

            answer = None
            with suppress(MCPError):
                answer = await self._order(client, "disconnect", on_progress)
            assert answer is None, answer
        let_end()
        handle = self._handles["disconnect"]
        if self._row.transport != "stdio":
            # It ends with a server that is there, and nobody to tell; on stdio with neither.
            await wait_until(lambda: self._here.states()[handle] == "completed")
        async with connected(server, self._row.revision) as client:
            again = await self._order(client, "disconnect")
        found = facts(again)
        assert "not run again" in text(again)
        assert found["exec_id"] == handle
        self._check(found, "disconnect")

    async def _sigterm_in_a_call(self, client: Client, server: Server) -> None:
        let_end = self._here.gated("sigterm")
        begun = anyio.Event()
        answers: list[types.CallToolResult] = []

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            if message and "running" in message:
                self._handles["sigterm"] = _handle(message)
                begun.set()

        async def call() -> None:
            # The connection may end first.
            with suppress(MCPError):
                answers.append(await self._order(client, "sigterm", on_progress))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await begun.wait()
            self._row.ended = await server.terminate()
        self._check_end()
        assert answers, "a call under way is answered, with its handle"
        for answer in answers:
            told = facts(answer)
            assert (told["status"], told["exec_id"]) == ("running", self._handles["sigterm"])
        self._check_journal()
        # It ends while no server is there.
        let_end()

    def _check_end(self) -> None:
        """In time, with the documented code, and quietly."""
        ended = self._row.ended
        assert ended
        assert ended.seconds < LONGEST_SECONDS
        assert ended.code == (143 if self._row.transport == "stdio" else 0), ended.log
        assert not [word for word in ("Traceback", " ERROR ") if word in ended.log], ended.log

    def _check_journal(self) -> None:
        """The file is whole, and says what is so."""
        with closing(sqlite3.connect(self._here.state / "journal.sqlite3")) as journal:
            assert journal.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        states = {command: state for _, state, command in self._here.journal()}
        expected = {
            self._here.command(name): "running" if name == "sigterm" else "completed"
            for name in ("progress", "long", "cancel", "disconnect", "sigterm")
        }
        assert states == expected

    async def _after_sigterm(self, client: Client) -> None:
        found = await self._result(client, self._handles["sigterm"])
        self._check(found, "sigterm")

    async def _restart(self, client: Client) -> None:
        for name in ("long", "cancel"):
            assert await self._result(client, self._handles[name]) == self._answers[name]
        counted = self._here.executed()
        assert counted == dict.fromkeys(counted, 1)


def _handle(message: str) -> str:
    return message.rsplit(" ", 1)[1]


# ------------------------------------------------------------------ the table


def table(rows: Sequence[Row]) -> str:
    """What passed, and how long the end took, as lines."""
    lines = [
        f"{'transport':<11}{'revision':<13}{'passed':<8}{'SIGTERM to exit':<17}exit code  failed",
    ]
    for row in sorted(rows, key=lambda row: (TRANSPORTS.index(row.transport), row.revision)):
        mark = "*" if (row.transport, row.revision) in UNNAMED else ""
        passed = f"{len(SITUATIONS) - len(row.failures)}/{len(SITUATIONS)}{mark}"
        took = f"{row.ended.seconds:.2f} s" if row.ended else "-"
        code = row.ended.code if row.ended else "-"
        failed = ", ".join(row.failures)
        lines.append(
            f"{row.transport:<11}{row.revision:<13}{passed:<8}{took:<17}{code:<11}{failed}".rstrip()
        )
    passed = sum(len(SITUATIONS) - len(row.failures) for row in rows)
    ends = [row.ended.seconds for row in rows if row.ended]
    lines += [
        "",
        f"cells passed             {passed} of {len(rows) * len(SITUATIONS)}",
        f"slowest SIGTERM to exit  {max(ends, default=0):.2f} s (at most {LONGEST_SECONDS:g} s)",
        f"rows refusing the absent {sum(row.absent is None for row in rows)} of {len(rows)}",
        "",
        "* the revision does not name the transport; it is served all the same:",
        *(f"  {where} {revision}: {why}" for (where, revision), why in UNNAMED.items()),
        "",
        "what cannot be, and the error it gets:",
        *(
            f"  {one.method} on {', '.join(one.transports)} in {', '.join(one.revisions)}: "
            f"{one.code} ({one.why})"
            for one in ABSENT
        ),
    ]
    return "\n".join(lines)


def failures(row: Row) -> str:
    """The failures of a row with their tracebacks; empty if there are none."""
    found: dict[str, Exception] = {**row.failures}
    if row.absent:
        found["absent"] = row.absent
    return "".join(
        f"{row.transport} {row.revision} {name}:\n{''.join(traceback.format_exception(error))}\n"
        for name, error in found.items()
    )


async def run_all(folder: Path) -> list[Row]:
    """Every row; the transports of one revision at the same time."""
    rows: list[Row] = []

    async def one(transport: TransportName, revision: Revision) -> None:
        rows.append(await run_row(transport, revision, folder))

    for revision in REVISIONS:
        async with anyio.create_task_group() as tasks:
            for transport in TRANSPORTS:
                tasks.start_soon(one, transport, revision)
    return rows
