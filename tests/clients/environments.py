"""Where the clients live: environments of their own, made once and kept in the user's cache.

Everything in them is pinned: Python packages in `requirements/`, npm's in `node/package-lock.json`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import platformdirs

HERE: Final = Path(__file__).parent
_CACHE: Final = platformdirs.user_cache_path("hostup-mcp-tests")
ENVIRON: Final[Mapping[str, str]] = dict(os.environ)
"""As it was before a test pointed HOME elsewhere: tools find their own caches and settings."""

_INSTALL_SECONDS: Final = 240
_UNUSED_SECONDS: Final = 7 * 24 * 3600.0


def python_with(name: str, *also: Path) -> Path:
    """A Python with exactly what `requirements/NAME.txt` pins.

    Args:
        name: of the file with the pins.
        also: files whose own requirements have to agree with them, such as a script.
    """
    pins = HERE / "requirements" / f"{name}.txt"
    wanted = [word for file in (pins, *also) for word in ("-r", file)]
    uv = Path(sysconfig.get_path("scripts"), "uv")

    def make(folder: Path) -> None:
        python = folder / "bin/python"
        _run([uv, "venv", "-q", "--python", sys.executable, folder], HERE)
        _run([uv, "pip", "install", "-q", "--python", python, *wanted], HERE)

    key = [sys.version, sys.base_prefix, *(file.read_text() for file in (pins, *also))]
    return _kept(name, "\n".join(key), make) / "bin/python"


def node_packages() -> Path:
    """A folder with the scripts of `node/` and the packages that they and the tests need."""
    source = HERE / "node"

    def make(folder: Path) -> None:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], folder)

    return _kept("node", "".join(f.read_text() for f in sorted(source.iterdir())), make)


def _kept(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder for this key; made if it is not there whole, by one process at a time."""
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    folder = _CACHE / f"{name}-{digest}"
    complete = folder / ".complete"
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
        complete.touch()
        os.utime(folder)
        for other in _CACHE.glob(f"{name}-*"):
            if time.time() - other.stat().st_mtime > _UNUSED_SECONDS:
                shutil.rmtree(other)
    return folder


def _run(command: list[str | Path], folder: Path) -> None:
    ran = subprocess.run(
        command,
        cwd=folder,
        env=ENVIRON,
        capture_output=True,
        text=True,
        check=False,
        timeout=_INSTALL_SECONDS,
    )
    assert ran.returncode == 0, f"{command}: {ran.stdout}{ran.stderr}"
