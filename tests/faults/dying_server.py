"""A server that kills itself at a chosen moment, for tests only.

One process imports the server, and forks for each server that is wanted: a start takes a second,
a fork none. A client starts `shim`, which hands its stdin, stdout and stderr over and then waits
for the end of the fork that serves on them, so that to the client it is the server.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

from hostup_mcp.cli.main import main
from hostup_mcp.config.loading import Settings, load_policies
from hostup_mcp.execution.journal.sqlite.database import Database, Durability
from hostup_mcp.execution.journal.sqlite.store import SqliteStore
from hostup_mcp.transports.stdio import serve_stdio

Moment = Literal["before", "uncommitted", "after"]
"""Before the write, in the middle of its transaction, or when it is on disk."""

ENV: Final = "DIES_AT"
"""`METHOD KIND MOMENT`: a method of the journal; for `end`, the kind of end, else `-`."""

# Hands over the standard streams and waits. Started with -S -E -I: it must start at once.
SHIM: Final = """
import array, json, os, socket, sys
door = socket.socket(socket.AF_UNIX)
door.connect(sys.argv[1])
streams = array.array("i", [0, 1, 2])
environ = json.dumps(dict(os.environ)).encode()
door.sendmsg([environ], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
door.shutdown(socket.SHUT_WR)
for stream in (0, 1):
    os.close(stream)
while door.recv(1):
    pass
"""


def die_at(method: str, kind: str, moment: Moment) -> None:
    """Have this process kill itself at this write."""
    armed = threading.local()
    original: Callable[..., Any] = getattr(SqliteStore, method)
    writing = Database.writing

    @wraps(original)
    def dying(self: SqliteStore, *arguments: Any, **more: Any) -> Any:
        if kind not in ("-", *arguments[1:2]):
            return original(self, *arguments, **more)
        if moment == "before":
            _die()
        armed.now = moment == "uncommitted"
        done = original(self, *arguments, **more)
        if moment == "after":
            _die()
        return done

    @contextmanager
    def dying_writing(self: Database, durability: Durability = "FULL") -> Generator[None]:
        with writing(self, durability):
            yield
            if getattr(armed, "now", False):
                _die()

    setattr(SqliteStore, method, dying)
    Database.writing = dying_writing


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


# ------------------------------------------------------------------ the process that forks


def fork_servers(path: str) -> None:
    """Fork a server for each shim that comes, until stdin ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # What every server needs is imported, read and compiled once.
    assert serve_stdio
    load_policies(Settings())
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(path)
        door.listen(64)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            client, _ = door.accept()
            if os.fork():
                client.close()
                continue
            door.close()
            _become_server(client)


def _become_server(client: socket.socket) -> NoReturn:
    """Serve on the streams of the shim; its connection ends with this process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    data, streams, _, _ = socket.recv_fds(client, 1 << 20, 3)
    while more := client.recv(1 << 20):
        data += more
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(json.loads(data))
    if wanted := os.environ.pop(ENV, ""):
        method, kind, moment = wanted.split(" ")
        assert moment in ("before", "uncommitted", "after")
        die_at(method, kind, moment)
    main([], standalone_mode=True)
    sys.exit(0)


@contextmanager
def forking(folder: Path) -> Generator[tuple[str, ...]]:
    """The process that forks, for as long as the block runs; the command that is a server of it."""
    path = str(folder / "door")
    forker = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.dying_server", path], stdout=subprocess.PIPE
    )
    try:
        assert forker.stdout
        assert forker.stdout.readline() == b"ready\n"
        yield (sys.executable, "-S", "-E", "-I", "-c", SHIM, path)
    finally:
        forker.kill()
        forker.communicate()


if __name__ == "__main__":
    fork_servers(sys.argv[1])
