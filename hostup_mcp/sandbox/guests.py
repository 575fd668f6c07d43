"""The guests behind the sandbox's VPSs: they start commands, and give each result once.

They follow the QEMU guest agent. Output comes only when the command has ended. Reading a result
removes it. A command has ended when both its pipes are closed. 16 MiB of each stream are kept.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from hostup_mcp.hostup.agent import CAPTURE_MAX_BYTES

_CHUNK_BYTES: Final = 65536


class GuestError(Exception):
    """The guest refuses or does not answer; the text reads like an agent's."""


class UnknownPid(GuestError):
    """No command has this pid, or its result was already read."""


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether commands can run, why not (None if they can), and whether the machine is on."""

    available: bool
    reason: str | None = None
    vm_running: bool = True


@dataclass(frozen=True, slots=True)
class Exit:
    """How a command ended: an exit code or a signal, and the bytes kept of each stream."""

    exit_code: int | None
    signal: int | None
    stdout: bytes
    stderr: bytes
    stdout_truncated: bool = False
    stderr_truncated: bool = False


class Guest(Protocol):
    """A machine with a guest agent."""

    async def open(self) -> None:
        """Prepare it for commands."""
        ...

    async def close(self) -> None:
        """Stop it, and the commands that run in it."""
        ...

    async def availability(self) -> Availability:
        """Whether commands can run now."""
        ...

    async def start(self, command: str) -> int:
        """Start a shell command and return its pid. Raises `GuestError`."""
        ...

    async def read(self, pid: int) -> Exit | None:
        """Take the result; None while the command runs. Raises `UnknownPid`."""
        ...


class AbsentGuest:
    """A machine that takes no commands."""

    def __init__(self, reason: str, *, vm_running: bool) -> None:
        self._state = Availability(available=False, reason=reason, vm_running=vm_running)

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    async def availability(self) -> Availability:
        """Never available."""
        return self._state

    async def start(self, command: str) -> int:
        """Always raises `GuestError`."""
        raise GuestError(f"{self._state.reason}: {len(command)} characters not run")

    async def read(self, pid: int) -> Exit | None:
        """Always raises `UnknownPid`."""
        raise UnknownPid(f"PID {pid} does not exist")


@dataclass(frozen=True, slots=True)
class _Child:
    process: asyncio.subprocess.Process
    result: asyncio.Task[Exit]


class LocalGuest:
    """Runs commands on this machine, as the current user, in a temporary folder.

    It does not isolate them: it is for commands that a policy has allowed.
    """

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._children: dict[int, _Child] = {}

    @property
    def folder(self) -> Path | None:
        """The working folder of commands; None unless the guest is open."""
        return Path(self._folder.name) if self._folder else None

    async def open(self) -> None:
        """Make the folder."""
        self._folder = tempfile.TemporaryDirectory(prefix="hostup-sandbox-")

    async def close(self) -> None:
        """Kill the commands that still run, and remove the folder."""
        for child in self._children.values():
            if not child.result.done():
                os.killpg(child.process.pid, signal.SIGKILL)
        results = (child.result for child in self._children.values())
        await asyncio.gather(*results, return_exceptions=True)
        self._children.clear()
        if self._folder:
            self._folder.cleanup()
            self._folder = None

    async def availability(self) -> Availability:
        """Always available."""
        return Availability(available=True)

    async def start(self, command: str) -> int:
        """Start `/bin/sh -c COMMAND` with empty stdin, and PATH as its whole environment."""
        try:
            process = await asyncio.create_subprocess_exec(
                "/bin/sh",
                "-c",
                command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=self.folder,
                env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise GuestError(f"Failed to execute child process ({error})") from None
        self._children[process.pid] = _Child(process, asyncio.create_task(_collect(process)))
        return process.pid

    async def read(self, pid: int) -> Exit | None:
        """Take the result; None while the command runs."""
        child = self._children.get(pid)
        if child is None:
            raise UnknownPid(f"PID {pid} does not exist")
        if not child.result.done():
            return None
        del self._children[pid]
        return child.result.result()


async def _collect(process: asyncio.subprocess.Process) -> Exit:
    out, err = await asyncio.gather(_capture(process.stdout), _capture(process.stderr))
    code = await process.wait()
    return Exit(
        exit_code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        stdout=out[:CAPTURE_MAX_BYTES],
        stderr=err[:CAPTURE_MAX_BYTES],
        stdout_truncated=len(out) > CAPTURE_MAX_BYTES,
        stderr_truncated=len(err) > CAPTURE_MAX_BYTES,
    )


async def _capture(stream: asyncio.StreamReader | None) -> bytes:
    """Read a stream to its end; keep at most one byte more than the cap."""
    kept = bytearray()
    while stream is not None and (chunk := await stream.read(_CHUNK_BYTES)):
        kept += chunk[: CAPTURE_MAX_BYTES + 1 - len(kept)]
    return bytes(kept)
