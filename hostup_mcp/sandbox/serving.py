"""Running the sandbox: in a thread beside other code, or alone in a terminal."""

from __future__ import annotations

import getpass
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Sequence
from typing import Final, Literal, Self

import click
import uvicorn

from hostup_mcp.hostup.models import OperatingSystem, Resources, Vps
from hostup_mcp.sandbox.api import READ, WRITE, SandboxApi, SandboxVps
from hostup_mcp.sandbox.guests import AbsentGuest, Guest, LocalGuest
from hostup_mcp.sandbox.qga import QgaGuest, find_qemu_ga

GuestKind = Literal["auto", "local", "qga"]

WEB: Final = "vps_01sandb0xweb1aaaaaaaaaaaaa"
"""The VPS that takes commands."""

DB: Final = "vps_01sandb0xdb1bbbbbbbbbbbbbb"
"""The VPS that is switched off."""

MAIL: Final = "vps_01sandb0xmail1cccccccccccc"
"""The VPS without a guest agent."""

_START_SECONDS: Final = 15.0


class SandboxError(Exception):
    """The sandbox cannot be started; the text says why and what to do."""


def make_guest(kind: GuestKind) -> Guest:
    """A guest of this kind, not opened yet.

    Raises:
        SandboxError: qemu-ga was asked for and is not installed.
    """
    program = None if kind == "local" else find_qemu_ga()
    if program is not None:
        return QgaGuest(program)
    if kind == "qga":
        raise SandboxError("qemu-ga is not installed; on Debian: apt-get install qemu-guest-agent")
    return LocalGuest()


def fleet(guest: Guest) -> tuple[SandboxVps, ...]:
    """Three VPSs: one that takes commands, one that is off, one without an agent."""
    debian = OperatingSystem(display_name="Debian GNU/Linux 12", family="debian", version="12")
    size = Resources(cpu_cores=2, memory_gb=4, storage_gb=80)

    def vps(vps_id: str, name: str, ip: str, power: str) -> Vps:
        return Vps(
            id=vps_id,
            name=name,
            primary_ip=ip,
            service_status="active",
            power_state=power,
            operating_system=debian,
            resources=size,
        )

    off = AbsentGuest("VM is not running", vm_running=False)
    mute = AbsentGuest("QEMU guest agent is not running", vm_running=True)
    return (
        SandboxVps(vps(WEB, "web-1", "192.0.2.10", "running"), guest),
        SandboxVps(vps(DB, "db-1", "192.0.2.11", "stopped"), off),
        SandboxVps(vps(MAIL, "mail-1", "192.0.2.12", "running"), mute),
    )


class Sandbox:
    """A sandbox in a thread of its own, as a context manager.

    Attributes:
        api_key: a key with all scopes, random.
        read_key: a key with `read:vm` only.
        base_url: its origin, once it is started.
    """

    def __init__(
        self, machines: Sequence[SandboxVps], *, port: int = 0, rate_limit: int = 600
    ) -> None:
        """A sandbox that is not started yet.

        Args:
            machines: the VPSs.
            port: the TCP port on 127.0.0.1; 0 takes a free one.
            rate_limit: requests a minute for each key.
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
        """Since the last request, or the start."""
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
    """A listening socket that says that it is TCP's: else replies wait for the client's ACK.

    asyncio sets TCP_NODELAY on the connections of such a socket only.
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
    """Serve a sandbox until Ctrl-C or SIGTERM, and print how to use it."""
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


def describe(guest: Guest) -> str:
    """One or two sentences on what this sandbox is and what its commands can do."""
    user = _user()
    if isinstance(guest, LocalGuest):
        how = f"run on this machine as {user}, in {guest.folder}"
    else:
        how = f"go through a real qemu-ga and run on this machine as {user}"
    return f"A sandbox in place of HostUp, for trying things out. Its commands {how}."


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"user id {os.getuid()}"
