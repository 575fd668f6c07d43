"""A sandbox in a detached process, which outlives the process that started it.

A demo that was interrupted finds its VPSs and their commands again when it is restarted. It calls
`start` and `find`; the detached process is `python -m hostup_mcp.sandbox.detached KIND FOLDER`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType
from typing import Final, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from hostup_mcp.sandbox.api_server import Sandbox
from hostup_mcp.sandbox.machines import GuestKind, SandboxError, describe, fleet, make_guest

_FILE: Final = "sandbox.json"
_IDLE_SECONDS: Final = 120.0
_START_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.05


class DetachedSandbox(BaseModel):
    """A sandbox that runs in a detached process.

    Attributes:
        pid: the process.
        base_url: the origin of its API.
        api_key: a key with all scopes.
        description: see `machines.describe`.
    """

    model_config = ConfigDict(frozen=True)

    pid: int
    base_url: str
    api_key: str
    description: str

    def stop(self) -> None:
        """End it, and the commands that run in it."""
        try:
            os.kill(self.pid, signal.SIGTERM)
        except ProcessLookupError:
            return


def find(folder: Path) -> DetachedSandbox | None:
    """The sandbox of this folder, if it still answers."""
    try:
        found = DetachedSandbox.model_validate_json((folder / _FILE).read_bytes())
    except (OSError, ValidationError):
        return None
    request = urllib.request.Request(  # noqa: S310 - an address on this machine, from our own file
        f"{found.base_url}/api/v2/vps", headers={"Authorization": f"Bearer {found.api_key}"}
    )
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=2):
            return found
    except (OSError, urllib.error.URLError):
        return None


def start(kind: GuestKind, folder: Path) -> DetachedSandbox:
    """Start a sandbox for a folder, and wait until it answers.

    Raises:
        SandboxError: it does not answer in 20 s, or ends before; the text says why.
    """
    file = folder / _FILE
    file.unlink(missing_ok=True)
    log = folder / "sandbox.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "hostup_mcp.sandbox.detached", kind, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if found := find(folder):
            return found
        if process.poll() is not None:
            break
        time.sleep(_LOOK_SECONDS)
    said = log.read_text("utf-8", "replace").strip().splitlines()
    raise SandboxError(said[-1] if said else "the sandbox did not start")


def main(kind: GuestKind, folder: Path) -> None:
    """Serve until SIGTERM, or until two minutes have passed without a request."""
    signal.signal(signal.SIGTERM, _end)
    try:
        guest = make_guest(kind)
        with Sandbox(fleet(guest)) as sandbox:
            running = DetachedSandbox(
                pid=os.getpid(),
                base_url=sandbox.base_url,
                api_key=sandbox.api_key,
                description=describe(guest),
            )
            _write(folder / _FILE, running)
            while sandbox.idle_seconds < _IDLE_SECONDS:
                time.sleep(1)
    except SandboxError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass
    finally:
        (folder / _FILE).unlink(missing_ok=True)


def _write(path: Path, running: DetachedSandbox) -> None:
    """Write the file in one step, and readable by this user only: it holds a key."""
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(json.dumps(running.model_dump()))
    new.replace(path)


def _end(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main(cast("GuestKind", sys.argv[1]), Path(sys.argv[2]))
