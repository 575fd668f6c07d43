"""Serves the sandbox's API: from a thread of this process, or as a command in a terminal."""

from __future__ import annotations

import secrets
import signal
import socket
import threading
import time
from collections.abc import Sequence
from typing import Final, Self

import click
import uvicorn

from hostup_mcp.sandbox.api import READ, WRITE, SandboxApi, SandboxVps
from hostup_mcp.sandbox.machines import GuestKind, SandboxError, describe, fleet, make_guest

_START_SECONDS: Final = 15.0


class Sandbox:
    """A sandbox that runs in its own thread while this context manager is entered.

    Attributes:
        api_key: a random key with all scopes.
        read_key: a random key with `read:vm` only.
        base_url: the API's origin; empty until the sandbox is entered.
    """

    def __init__(
        self, machines: Sequence[SandboxVps], *, port: int = 0, rate_limit: int = 600
    ) -> None:
        """Prepare a sandbox; entering it starts it.

        Args:
            machines: the VPSs.
            port: the TCP port on 127.0.0.1; 0 takes a free one.
            rate_limit: requests per minute for each key.
        """
        self.api_key = f"sandbox_{secrets.token_urlsafe(24)}"
        self.read_key = f"sandbox_{secrets.token_urlsafe(24)}"
        self.base_url = ""
        keys = {self.api_key: frozenset({READ, WRITE}), self.read_key: frozenset({READ})}
        self._api = SandboxApi(machines, keys, rate_limit)
        config = uvicorn.Config(
            self._api.app,
            lifespan="on",
            ws="none",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._port = port
        self._thread: threading.Thread | None = None

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last request, or since the start if there was none."""
        return time.monotonic() - self._api.last_request_at

    def __enter__(self) -> Self:
        try:
            listener = _listener(self._port)
        except OSError as error:
            raise SandboxError(f"port {self._port} cannot be used ({error.strerror})") from None
        self.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self.__exit__()
                raise SandboxError("the sandbox did not start; its guest did not come up")
            time.sleep(0.005)
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_START_SECONDS)


def _listener(port: int) -> socket.socket:
    """A listening socket whose protocol is named.

    asyncio sets TCP_NODELAY only on connections of such a socket. Without it, replies wait for the
    client's ACK.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def run_sandbox(kind: GuestKind, *, port: int, rate_limit: int) -> None:
    """Print how to use a sandbox, and serve it until Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        guest = make_guest(kind)
        with Sandbox(fleet(guest), port=port, rate_limit=rate_limit) as sandbox:
            click.echo(describe(guest))
            click.echo("For another terminal:")
            click.echo(f"  export HOSTUP_BASE_URL={sandbox.base_url}")
            click.echo(f"  export HOSTUP_API_KEY={sandbox.api_key}")
            click.echo("Ctrl-C ends it.")
            threading.Event().wait()
    except SandboxError as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        click.echo("")
