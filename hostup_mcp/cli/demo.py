"""`hostup-mcp demo`: the main job end to end; every part is the real one, except HostUp."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO, cast

import anyio
import click
import mcp_types as types
import platformdirs
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from hostup_mcp.sandbox import detached
from hostup_mcp.sandbox.detached import DetachedSandbox
from hostup_mcp.sandbox.machines import GuestKind, SandboxError

if sys.platform != "win32":
    import fcntl

_DEMO_SECONDS = 120
_PIPELINE = "df -h | grep -v tmpfs | sort"
_SLOW = "sleep 5 && date -u"
_EXEC_ID = re.compile(r"exec_id (exec_[a-z0-9]+)")
# A file with the exec_id of the long command while it runs. If a demo finds it, the one before was
# cut off.
_CUT_OFF: Final = "cut-off"
_TAUGHT = "tail -n 50 /var/log/syslog"
_REFUSED = "sudo tail -f /var/log/syslog"


class DemoError(Exception):
    """A step of the demo failed; the text says which, and how."""


def run_demo(kind: GuestKind) -> int:
    """Run the demo and print every step.

    If a demo is cut off, its sandbox and its journal stay, and the next demo continues with them.

    Returns:
        The exit code: 0 only if all of it worked.
    """
    with _own_folder() as folder:
        log = folder / "server.log"
        try:
            sandbox = _sandbox(kind, folder)
            try:
                with log.open("w") as errlog:
                    _say(f"1. {sandbox.description}")
                    _say(f"   It answers at {sandbox.base_url}.")
                    anyio.run(_Demo(sandbox, folder, errlog).run)
            finally:
                sandbox.stop()
        except (DemoError, SandboxError) as error:
            return _failed(str(error), log)
        except Exception as error:  # noqa: BLE001 - a newcomer gets a sentence, not a traceback
            cause = _innermost(error)
            return _failed(f"{type(cause).__name__}: {cause}", log)
        shutil.rmtree(folder, ignore_errors=True)
    _say("Everything worked. Next: put HOSTUP_API_KEY in your MCP client's configuration (README).")
    return 0


@contextmanager
def _own_folder() -> Generator[Path]:
    """The demo's folder in the user's state folder; a temporary one if a demo runs there."""
    folder = platformdirs.user_state_path("hostup-mcp") / "demo"
    with tempfile.TemporaryDirectory(prefix="hostup-demo-") as other:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (folder.parent / "demo.lock").open("w")
        except OSError:
            yield Path(other)
            return
        with lock:
            yield folder if _locked(lock) else Path(other)


def _locked(file: TextIO) -> bool:
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sandbox(kind: GuestKind, folder: Path) -> DetachedSandbox:
    """The sandbox of a demo that was cut off while its long command ran; else a new one."""
    found = detached.find(folder)
    if found is not None and (folder / _CUT_OFF).exists():
        _say("0. An earlier demo was cut off. Its sandbox and its command ran on.")
        return found
    if found is not None:
        found.stop()
    for name in (_CUT_OFF, "journal.sqlite3", "journal.sqlite3-wal", "journal.sqlite3-shm"):
        (folder / name).unlink(missing_ok=True)
    return detached.start(kind, folder)


class _Demo:
    def __init__(self, sandbox: DetachedSandbox, folder: Path, errlog: TextIO) -> None:
        self._sandbox = sandbox
        self._folder = folder
        self._errlog = errlog
        self._cut_off = folder / _CUT_OFF

    async def run(self) -> None:
        """Connect, list, run, wait, be refused, read again."""
        # An empty file: the demo must not depend on the user's own settings.
        config = self._folder / "config.toml"
        config.touch()
        server = StdioServerParameters(
            command=sys.executable,
            args=["-m", "hostup_mcp", "--config", str(config)],
            env={
                "HOSTUP_BASE_URL": self._sandbox.base_url,
                "HOSTUP_API_KEY": self._sandbox.api_key,
                "HOSTUP_MCP_STATE_DIR": str(self._folder),
                # This client waits long enough; for an unknown client the server assumes 5 s.
                "HOSTUP_MCP__SERVER__CLIENT_TIMEOUT_SECONDS": "60",
            },
        )
        failure: DemoError | None = None
        with anyio.fail_after(_DEMO_SECONDS):
            async with Client(stdio_client(server, errlog=self._errlog)) as client:
                try:
                    await self._steps(client)
                except DemoError as error:
                    failure = error  # raised below, outside the task groups that would wrap it
        if failure is not None:
            raise failure

    async def _steps(self, client: Client) -> None:
        info = client.server_info
        name = f"{info.name} {info.version}" if info else "the server"
        _say(f"2. The MCP client started {name} and talks to it on its stdin and stdout.")
        _say(f"   They agreed on protocol {client.protocol_version}.")
        if self._cut_off.exists():
            await self._take_up(client)
        vps_id = await self._list(client)
        exec_id = await self._quick(client, vps_id)
        await self._pipeline(client, vps_id)
        await self._slow(client, vps_id)
        await self._refused(client, vps_id)
        await self._again(client, exec_id)

    async def _take_up(self, client: Client) -> None:
        exec_id = self._cut_off.read_text().strip()
        result = await client.call_tool("vps_exec_result", {"exec_id": exec_id})
        _say("   vps_exec_result reads the result of the earlier demo's command:")
        _quote(result)
        self._cut_off.unlink()
        if _facts(result, "the earlier command")["status"] != "completed":
            raise DemoError("the earlier command's result could not be read")

    async def _list(self, client: Client) -> str:
        result = await client.call_tool("list_vps", {})
        _say("3. list_vps: what the agent reads:")
        _quote(result)
        machines = _facts(result, "list_vps")["vps"]
        ready = [vps["id"] for vps in machines if vps["name"] == "web-1"]
        if not ready:
            raise DemoError("list_vps does not show web-1")
        return ready[0]

    async def _quick(self, client: Client, vps_id: str) -> str:
        result = await client.call_tool("vps_exec", {"vps_id": vps_id, "command": "uname -a"})
        _say("4. vps_exec uname -a: MCP client, server, HTTP, guest, and back:")
        _quote(result)
        facts = _facts(result, "uname -a")
        if facts["exit_code"] != 0 or "Linux" not in facts["stdout"]:
            raise DemoError("uname -a did not return exit code 0 and the word Linux")
        return facts["exec_id"]

    async def _pipeline(self, client: Client, vps_id: str) -> None:
        result = await client.call_tool("vps_exec", {"vps_id": vps_id, "command": _PIPELINE})
        _say(f"5. vps_exec {_PIPELINE}: parsed, judged stage by stage, rebuilt and sent:")
        _quote(result)
        if _facts(result, _PIPELINE)["exit_code"] != 0:
            raise DemoError(f"{_PIPELINE} did not end well")

    async def _slow(self, client: Client, vps_id: str) -> None:
        _say(f"6. vps_exec {_SLOW}: a command that takes a while, and its progress:")
        seen: list[float] = []

        async def show(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
            seen.append(progress)
            if found := _EXEC_ID.search(message or ""):
                self._cut_off.write_text(found[1])
            _say(f"   … {message}")

        result = await client.call_tool(
            "vps_exec", {"vps_id": vps_id, "command": _SLOW}, progress_callback=show
        )
        self._cut_off.unlink(missing_ok=True)
        _quote(result)
        if _facts(result, _SLOW)["exit_code"] != 0 or len(seen) < 3:
            raise DemoError(f"{_SLOW} did not end well, or came without progress")

    async def _refused(self, client: Client, vps_id: str) -> None:
        result = await client.call_tool("vps_exec", {"vps_id": vps_id, "command": _REFUSED})
        _say(f"7. vps_exec {_REFUSED}: the policy refuses it, and says what would pass:")
        _quote(result)
        if not result.is_error or _TAUGHT not in _text(result):
            raise DemoError(f"{_REFUSED} was not refused, or {_TAUGHT} was not suggested")

    async def _again(self, client: Client, exec_id: str) -> None:
        result = await client.call_tool("vps_exec_result", {"exec_id": exec_id})
        _say("8. vps_exec_result: HostUp returns a result only once; the journal has it:")
        _quote(result)
        if "Linux" not in _facts(result, "vps_exec_result")["stdout"]:
            raise DemoError("the result could not be read again")


def _facts(result: types.CallToolResult, step: str) -> dict[str, Any]:
    content: object = result.structured_content
    if result.is_error or not isinstance(content, dict):
        raise DemoError(f"{step} came back as an error")
    return cast("dict[str, Any]", content)


def _text(result: types.CallToolResult) -> str:
    return "\n".join(b.text for b in result.content if isinstance(b, types.TextContent))


def _quote(result: types.CallToolResult) -> None:
    for line in _text(result).splitlines():
        _say(f"   | {line}")


def _innermost(error: BaseException) -> BaseException:
    """The error that happened, out of the exception groups around it."""
    while isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        error = group.exceptions[0]
    return error


def _say(text: str) -> None:
    click.echo(text)


def _failed(reason: str, log: Path) -> int:
    click.echo(f"The demo failed: {reason}", err=True)
    if log.exists() and (text := log.read_text("utf-8", "replace").strip()):
        click.echo(f"The server's log:\n{text}", err=True)
    return 1
