"""A Unix socket: its owner's alone, and one server's at a time."""

from __future__ import annotations

import fcntl
import socket
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from hostup_mcp.config.http import HttpSettings
from hostup_mcp.sandbox.api_server import Sandbox
from hostup_mcp.sandbox.machines import WEB
from hostup_mcp.transports import listener
from hostup_mcp.transports.errors import ServeError
from hostup_mcp.transports.listener import listening
from tests.stdio_client import LEGACY, MODERN, facts
from tests.transports.http_process import HttpServer, read_all, refusal, request, tolerating_anyio

TOKEN = "elsewhere-0123456789abcdef"
SWITCH = "--i-understand-remote-access"


@pytest.mark.parametrize("transport", ["http", "sse"])
@pytest.mark.parametrize("era", [LEGACY, MODERN])
async def test_a_unix_socket_is_its_owners_alone_and_needs_no_token(
    sandbox: Sandbox, tmp_path: Path, transport: str, era: str
) -> None:
    path = tmp_path / "s"
    with (
        tolerating_anyio(),
        HttpServer.of(sandbox, tmp_path / "state", "--with-sse", "--uds", str(path)) as server,
    ):
        mode = path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        assert not (tmp_path / "state/http-token").exists()

        def over_uds(
            headers: dict[str, str] | None = None,
            timeout: httpx2.Timeout | None = None,
            auth: httpx2.Auth | None = None,
        ) -> httpx2.AsyncClient:
            return httpx2.AsyncClient(
                transport=httpx2.AsyncHTTPTransport(uds=str(path)), timeout=30
            )

        mode = "legacy" if era == LEGACY else "auto"
        async with over_uds() as http:
            for host, status in {"localhost": 200, "evil.example": 421}.items():
                answer = await http.get("http://localhost/readyz", headers={"Host": host})
                assert answer.status_code == status
            if transport == "http":
                streams = streamable_http_client("http://localhost/mcp", http_client=http)
            else:
                streams = sse_client("http://localhost/sse", httpx_client_factory=over_uds)
            async with Client(streams, mode=mode) as client:
                ran = await client.call_tool("vps_exec", {"vps_id": WEB, "command": "uname"})
                assert facts(ran)["exit_code"] == 0
        assert server.stop() < 3
        assert not path.exists()


def test_the_socket_of_a_dead_server_is_replaced_and_of_a_live_one_not(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    path = tmp_path / "s"
    given = ("--transport", "http", "--uds", str(path))
    with HttpServer.of(sandbox, tmp_path / "a", *given) as first:
        said = refusal(sandbox, tmp_path / "b", *given)
        assert "address_unusable" in said
        assert "a server answers there" in said
        assert reachable(path)
        first.process.kill()
        first.process.wait()
    assert path.exists()
    assert not reachable(path)
    with HttpServer.of(sandbox, tmp_path / "a", *given):
        assert reachable(path)


def test_of_servers_that_find_one_dead_socket_at_once_only_one_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is held up between its look at the file and its removal."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    unlink, looked, go_on = Path.unlink, threading.Event(), threading.Event()

    def slow_unlink(self: Path, missing_ok: bool = False) -> None:
        if self == path and not looked.is_set():
            looked.set()
            go_on.wait(10)
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", slow_unlink)
    done = threading.Event()
    served = threading.Semaphore(0)

    def serve() -> str:
        try:
            with listening(HttpSettings(uds=str(path))):
                served.release()
                done.wait(10)
                return "served"
        except ServeError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(serve)
        assert looked.wait(10)
        modes = [stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob("s.lock")]
        second = pool.submit(serve)
        early = served.acquire(timeout=0.5)
        go_on.set()
        assert early or served.acquire(timeout=10)
        said = second.result(10) if not early else ""
        done.set()
        outcomes = [first.result(10), second.result(10)]
    assert not early, outcomes
    assert outcomes[0] == "served"
    assert "a server answers there" in said
    assert modes == [0o600]
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_another_holds_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_LOCK_SECONDS", 0.2)
    lock = tmp_path / "s.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with (
            pytest.raises(ServeError, match="another server is about to use it"),
            listening(HttpSettings(uds=str(tmp_path / "s"))),
        ):
            pass
    with listening(HttpSettings(uds=str(tmp_path / "s"))):
        assert reachable_at_all(tmp_path / "s")


def reachable_at_all(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(str(path)) == 0


def reachable(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except ConnectionRefusedError:
            return False
        connection.sendall(request("/healthz"))
        return read_all(connection)[0] == 200


def test_another_file_is_not_replaced(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    said = refusal(sandbox, tmp_path / "state", "--transport", "http", "--uds", str(path))
    assert "another file is there" in said
    assert path.read_text() == "precious"
    for impossible in ("/nonexistent/s", "x" * 200):
        said = refusal(sandbox, tmp_path / "state", "--transport", "http", "--uds", impossible)
        assert "address_unusable" in said


# ------------------------------------------------------------------ other starts
