"""A guest that is a real QEMU guest agent (qemu-ga), reached over its Unix socket.

Protocol: https://www.qemu.org/docs/master/interop/qemu-ga-ref.html, one JSON object per line:
`guest-sync-delimited`, `guest-ping`, `guest-exec`, `guest-exec-status`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Final, cast

from pydantic import JsonValue

from hostup_mcp.hostup.agent import CAPTURE_MAX_BYTES
from hostup_mcp.sandbox.guests import Availability, Exit, GuestError, UnknownPid

_START_SECONDS: Final = 10.0
_REPLY_SECONDS: Final = 30.0
# Two streams of 16 MiB in base64, in one line.
_LINE_MAX_BYTES: Final = 4 * CAPTURE_MAX_BYTES

_Reply = dict[str, JsonValue]


def find_qemu_ga() -> str | None:
    """The path of qemu-ga on this machine, if it is installed."""
    return shutil.which("qemu-ga") or shutil.which("qemu-ga", path="/usr/sbin:/usr/local/sbin")


class QgaGuest:
    """Starts its own qemu-ga, which runs commands as the current user."""

    def __init__(self, program: str) -> None:
        """Prepare a guest; `open` starts it.

        Args:
            program: the path of qemu-ga.
        """
        self._program = program
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._agent: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._lock = asyncio.Lock()

    @property
    def socket(self) -> Path:
        """The agent's Unix socket. Raises `GuestError` unless the guest is open."""
        if self._folder is None:
            raise GuestError("the guest agent is not running")
        return Path(self._folder.name) / "agent.sock"

    async def open(self) -> None:
        """Start the agent, and wait until it answers.

        Raises:
            GuestError: it does not answer in 10 s.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="hostup-qga-")
        folder = self._folder.name
        self._agent = await asyncio.create_subprocess_exec(
            *(self._program, "-m", "unix-listen", "-p", str(self.socket)),
            *("-t", folder, "-f", f"{folder}/agent.pid"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        deadline = asyncio.get_running_loop().time() + _START_SECONDS
        while True:
            try:
                await self._ask("guest-ping")
            except GuestError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.02)
            else:
                return

    async def close(self) -> None:
        """Stop the agent."""
        self._hang_up()
        if self._agent is not None:
            if self._agent.returncode is None:
                self._agent.kill()
            await self._agent.wait()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    async def availability(self) -> Availability:
        """Whether the agent answers a ping. That does not prove that it allows exec."""
        try:
            await self._ask("guest-ping")
        except GuestError:
            return Availability(available=False, reason="QEMU guest agent is not running")
        return Availability(available=True)

    async def start(self, command: str) -> int:
        """Start `/bin/sh -c COMMAND` in the guest."""
        reply = await self._ask(
            "guest-exec",
            {"path": "/bin/sh", "arg": ["-c", command], "capture-output": True},
        )
        return cast("int", reply["pid"])

    async def read(self, pid: int) -> Exit | None:
        """Take the result; None while the command runs."""
        try:
            reply = await self._ask("guest-exec-status", {"pid": pid})
        except GuestError as error:
            # The text differs by version and cause; each means that there is no result to read.
            raise UnknownPid(str(error)) from None
        if not reply["exited"]:
            return None
        out, err = (
            base64.b64decode(cast("str", reply.get(key, ""))) for key in ("out-data", "err-data")
        )
        return Exit(
            exit_code=cast("int | None", reply.get("exitcode")),
            signal=cast("int | None", reply.get("signal")),
            stdout=out,
            stderr=err,
            # Older agents give these flags the wrong value, so a full buffer counts as cut off too.
            stdout_truncated=bool(reply.get("out-truncated")) or len(out) >= CAPTURE_MAX_BYTES,
            stderr_truncated=bool(reply.get("err-truncated")) or len(err) >= CAPTURE_MAX_BYTES,
        )

    async def _ask(self, command: str, arguments: _Reply | None = None) -> _Reply:
        """Send a command and read its reply; one at a time, as the agent needs it."""
        async with self._lock:
            try:
                async with asyncio.timeout(_REPLY_SECONDS):
                    await self._connect()
                    request: _Reply = {"execute": command}
                    if arguments:
                        request["arguments"] = arguments
                    return await self._send(json.dumps(request).encode())
            except (OSError, TimeoutError, EOFError, ValueError) as error:
                self._hang_up()
                raise GuestError(f"Agent error: {error}") from None

    async def _connect(self) -> None:
        if self._writer is not None:
            return
        self._reader, self._writer = await asyncio.open_unix_connection(
            str(self.socket), limit=_LINE_MAX_BYTES
        )
        token = secrets.randbelow(2**31)
        sync = {"execute": "guest-sync-delimited", "arguments": {"id": token}}
        # 0xFF makes the agent drop an earlier client's unfinished request; its reply begins so too.
        self._writer.write(b"\xff" + json.dumps(sync).encode() + b"\n")
        await self._reader.readuntil(b"\xff")
        if json.loads(await self._reader.readline()) != {"return": token}:
            raise ValueError("the agent is out of step")

    async def _send(self, request: bytes) -> _Reply:
        if self._reader is None or self._writer is None:
            raise EOFError("no connection")
        self._writer.write(request + b"\n")
        await self._writer.drain()
        line = await self._reader.readline()
        if not line:
            raise EOFError("the agent hung up")
        reply = cast("_Reply", json.loads(line))
        if "error" in reply:
            fault = cast("_Reply", reply["error"])
            raise GuestError(f"Agent error: {fault.get('desc')}")
        return cast("_Reply", reply["return"])

    def _hang_up(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None
