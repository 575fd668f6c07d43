"""A sandbox in a process of its own, which outlives whoever started it until nobody needs it.

So a demo that is cut off finds its VPSs, and the commands in them, when it is started again.
`python -m hostup_mcp.sandbox.lingering KIND FOLDER` serves one; `start` and `find` are for others.
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

from hostup_mcp.sandbox.serving import (
    GuestKind,
    Sandbox,
    SandboxError,
    describe,
    fleet,
    make_guest,
)

_FILE: Final = "sandbox.json"
_IDLE_SECONDS: Final = 120.0
_START_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.05


class Lingering(BaseModel):
    """A running sandbox.

    Attributes:
        pid: its process.
        base_url: where it answers.
        api_key: its key, with all scopes.
        description: what it is and what its commands can do.
    """

    model_config = ConfigDict(frozen=True)

    pid: int
    base_url: str
    api_key: str
    description: str

    def stop(self) -> None:
        """End it, and what runs in it."""
        try:
            os.kill(self.pid, signal.SIGTERM)
        except ProcessLookupError:
            return


def find(folder: Path) -> Lingering | None:
    """The sandbox that was started for this folder, if it still answers."""
    try:
        found = Lingering.model_validate_json((folder / _FILE).read_bytes())
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


def start(kind: GuestKind, folder: Path) -> Lingering:
    """Start a sandbox for a folder, and wait until it answers.

    Raises:
        SandboxError: it does not come up; the text says why.
    """
    file = folder / _FILE
    file.unlink(missing_ok=True)
    log = folder / "sandbox.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "hostup_mcp.sandbox.lingering", kind, str(folder)],
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
    """Serve until SIGTERM, or until no request has come for two minutes."""
    signal.signal(signal.SIGTERM, _end)
    try:
        guest = make_guest(kind)
        with Sandbox(fleet(guest)) as sandbox:
            known = Lingering(
                pid=os.getpid(),
                base_url=sandbox.base_url,
                api_key=sandbox.api_key,
                description=describe(guest),
            )
            _write(folder / _FILE, known)
            while sandbox.idle_seconds < _IDLE_SECONDS:
                time.sleep(1)
    except SandboxError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass
    finally:
        (folder / _FILE).unlink(missing_ok=True)


def _write(path: Path, known: Lingering) -> None:
    """Whole or not at all, and for this user only: it has a key."""
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(json.dumps(known.model_dump()))
    new.replace(path)


def _end(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main(cast("GuestKind", sys.argv[1]), Path(sys.argv[2]))
