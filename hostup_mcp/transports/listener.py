"""Where HTTP is served: a TCP address or a Unix socket, with or without TLS."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import ssl
import stat
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hostup_mcp.hostup.origin import is_loopback
from hostup_mcp.http_settings import HttpSettings
from hostup_mcp.sections import require_file, shown_path
from hostup_mcp.transports.errors import ServeError

if sys.platform != "win32":
    import fcntl

_BACKLOG: Final = 128
_PROBE_SECONDS: Final = 2.0
_LOCK_SECONDS: Final = 5.0
_LOCK_AGAIN_SECONDS: Final = 0.05


def is_exposed(settings: HttpSettings) -> bool:
    """Whether other machines can connect."""
    return settings.uds is None and not is_loopback(settings.host)


def shown_host(host: str) -> str:
    """A host for a message: an address, or the setting that holds what may be a secret."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host if host == "localhost" else "The address in http.host"
    return host


def _shown_address(host: str, port: int) -> str:
    shown = shown_host(host)
    return f"{host}:{port}" if shown == host else shown


def require_consent(settings: HttpSettings) -> None:
    """Refuse to be reachable from elsewhere by accident.

    Raises:
        ServeError: the address is not loopback, and what must then be set explicitly is not.
    """
    if not is_exposed(settings):
        return
    missing = [
        name
        for name, given in (
            (
                "a token (HOSTUP_MCP_HTTP_TOKEN or http.token_file)",
                settings.token is not None or settings.token_file is not None,
            ),
            ("http.allowed_hosts", bool(settings.allowed_hosts)),
            ("http.allowed_origins", settings.allowed_origins is not None),
            ("--i-understand-remote-access", settings.i_understand_remote_access),
        )
        if not given
    ]
    if missing:
        raise ServeError(
            "remote_access_refused",
            f"{shown_host(settings.host)} can be reached from other machines, and whoever holds a "
            "token runs commands as root.",
            f"Serve on 127.0.0.1 behind a proxy with TLS, or also give: {', '.join(missing)}.",
        )


def tls_context(settings: HttpSettings) -> ssl.SSLContext | None:
    """TLS with the certificate of the settings; None if they have none.

    Raises:
        ServeError: certificate or key cannot be used.
    """
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise ServeError(
            "tls_incomplete",
            "TLS needs a certificate and its key.",
            "Give --tls-cert and --tls-key together.",
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        for path in (cert, key):
            require_file(Path(path))
        # A key with a password would otherwise be asked for on the terminal.
        context.load_cert_chain(cert, key, password=lambda: "")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "unreadable"
        raise ServeError(
            "tls_unusable",
            f"The certificate {shown_path(cert)} or its key {shown_path(key)} cannot be used "
            f"({reason}).",
            "Give PEM files that belong together, the key without a password.",
        ) from None
    return context


@contextmanager
def listening(settings: HttpSettings) -> Generator[tuple[socket.socket, str]]:
    """A listening socket and its address as text: `HOST:PORT`, or the path of a Unix socket.

    Raises:
        ServeError: it cannot be had.
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
        # `localhost` is an IPv4 and an IPv6 address; one of them is enough, and always the same.
        wanted = "127.0.0.1" if host == "localhost" else host
        family, _, _, _, address = socket.getaddrinfo(wanted, port, type=socket.SOCK_STREAM)[0]
        # Named as TCP's, asyncio switches Nagle's algorithm off: replies do not wait for an ACK.
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
                # From its first moment the file is its owner's alone.
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
    """The right to look at a socket's file and to replace it, while the block runs.

    Between the two another server could begin to listen there, and its file would be removed.
    The lock is on `PATH.lock`, which goes away with it.

    Raises:
        OSError: the lock cannot be had.
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
        # First the name, then the lock: who waits finds that its file is no more the one in place.
        lock.unlink(missing_ok=True)
        os.close(held)


def _try_lock(lock: Path) -> int | None:
    """The descriptor of the locked file; None if another has it."""
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
    """Remove the socket file of a server that is no more.

    Raises:
        OSError: it belongs to a server that runs, or it is no socket.
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
        "address_unusable", f"{where} cannot be served on ({reason}).", "Choose another address."
    )
