"""The socket that HTTP is served on: a TCP port, or a Unix socket."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hostup_mcp.config.http import HttpSettings
from hostup_mcp.transports.errors import ServeError
from hostup_mcp.transports.remote_access import shown_host

if sys.platform != "win32":
    import fcntl

_BACKLOG: Final = 128
_PROBE_SECONDS: Final = 2.0
_LOCK_SECONDS: Final = 5.0
_LOCK_AGAIN_SECONDS: Final = 0.05


def _shown_address(host: str, port: int) -> str:
    shown = shown_host(host)
    return f"{host}:{port}" if shown == host else shown


@contextmanager
def listening(settings: HttpSettings) -> Generator[tuple[socket.socket, str]]:
    """Listen while the block runs.

    Yields:
        The socket, and its address: `HOST:PORT`, or the path of a Unix socket.

    Raises:
        ServeError: the address cannot be used.
    """
    if settings.uds is not None:
        with _unix(Path(settings.uds)) as listener:
            yield listener, settings.uds
        return
    with _tcp(settings.host, settings.port) as listener:
        host, port = listener.getsockname()[:2]
        yield listener, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _tcp(host: str, port: int) -> socket.socket:
    try:
        # `localhost` stands for an IPv4 and an IPv6 address; always take the same one.
        wanted = "127.0.0.1" if host == "localhost" else host
        family, _, _, _, address = socket.getaddrinfo(wanted, port, type=socket.SOCK_STREAM)[0]
        # asyncio sets TCP_NODELAY only if the protocol is named; then replies wait for no ACK.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except UnicodeError:  # a part of it is empty or too long
        no_name = OSError(errno.EINVAL, "it is no host name")
        raise _no_address(_shown_address(host, port), no_name) from None
    except OSError as error:
        raise _no_address(_shown_address(host, port), error) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _no_address(_shown_address(host, port), error) from None
    return listener


@contextmanager
def _unix(path: Path) -> Generator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        try:
            with _lock(path):
                _remove_stale(path)
                # The file has mode 0600 from the moment it exists.
                before = os.umask(0o177)
                try:
                    listener.bind(str(path))
                finally:
                    os.umask(before)
                made = path.stat().st_ino
                listener.listen(_BACKLOG)
        except OSError as error:
            raise _no_address(str(path), error) from None
        try:
            yield listener
        finally:
            try:
                with _lock(path):
                    if path.stat().st_ino == made:
                        path.unlink()
            except OSError:
                pass  # it is gone, or the folder is


@contextmanager
def _lock(path: Path) -> Generator[None]:
    """Lock a socket's path while the block runs, to look at the file there and replace it.

    Without the lock, another server could begin to listen between the look and the replacement, and
    its file would be removed. The lock is on `PATH.lock`, which is removed at the end.

    Raises:
        OSError: another server keeps the lock, or the system has no Unix sockets.
    """
    if sys.platform == "win32":
        raise OSError(errno.EAFNOSUPPORT, "this system has no Unix sockets")
    lock = path.with_name(f"{path.name}.lock")
    deadline = time.monotonic() + _LOCK_SECONDS
    while (held := _try_lock(lock)) is None:
        if time.monotonic() > deadline:
            raise OSError(errno.EADDRINUSE, f"another server is about to use it: it holds {lock}")
        time.sleep(_LOCK_AGAIN_SECONDS)
    try:
        yield
    finally:
        # The name goes before the lock: a waiting server then sees that its own file has no name.
        lock.unlink(missing_ok=True)
        os.close(held)


def _try_lock(lock: Path) -> int | None:
    """The descriptor of the locked file; None if another server has the lock."""
    if sys.platform == "win32":
        return None
    held = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(held), lock.stat()):
            return held
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        os.close(held)
        raise
    os.close(held)
    return None


def _remove_stale(path: Path) -> None:
    """Remove the socket file of a server that has ended.

    Raises:
        OSError: a running server has it, or it is not a socket.
    """
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "another file is there")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise OSError(errno.EADDRINUSE, "a server answers there")


def _no_address(where: str, error: OSError) -> ServeError:
    reason = error.strerror or str(error)
    return ServeError(
        "address_unusable", f"The server cannot listen on {where} ({reason}).", "Choose another."
    )
