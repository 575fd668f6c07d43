"""Where it may be served: loopback, a Unix socket, TLS, and elsewhere only on purpose."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from pydantic import SecretStr

from hostup_mcp.http_settings import HttpSettings
from hostup_mcp.sandbox.serving import WEB, Sandbox
from hostup_mcp.transports import listener
from hostup_mcp.transports.errors import ServeError
from hostup_mcp.transports.listener import listening, require_consent, tls_context
from hostup_mcp.transports.tokens import find_tokens
from tests.stdio_client import LEGACY, MODERN, environment, facts
from tests.transports.http_process import HttpServer, read_all, request, tolerating_anyio

TOKEN = "elsewhere-0123456789abcdef"
SWITCH = "--i-understand-remote-access"


def refusal(sandbox: Sandbox, state: Path, *arguments: str, **more: str) -> str:
    """What a start that comes to nothing says; it must be short and end with 2."""
    ended = subprocess.run(
        [sys.executable, "-m", "hostup_mcp", "serve", *arguments],
        env={"PATH": "/usr/bin:/bin", **environment(sandbox.base_url, "a_key", state, **more)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    assert TOKEN not in ended.stderr
    return ended.stderr


# ------------------------------------------------------------------ other machines


def test_an_address_that_others_reach_does_not_start_by_itself(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    said = refusal(sandbox, tmp_path, "--transport", "http", "--host", "0.0.0.0")
    assert said.startswith("hostup-mcp: remote_access_refused: ")
    for missing in ("HOSTUP_MCP_HTTP_TOKEN", "http.allowed_hosts", "allowed_origins", SWITCH):
        assert missing in said


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", "127.0.0.1.x.se"])
@pytest.mark.parametrize("left_out", ["token", "allowed_hosts", "allowed_origins", "switch"])
def test_one_of_it_missing_is_enough_to_refuse(host: str, left_out: str) -> None:
    given: dict[str, Any] = {
        "token": {"token": SecretStr(TOKEN)},
        "allowed_hosts": {"allowed_hosts": ("mcp.example.com",)},
        "allowed_origins": {"allowed_origins": ()},
        "switch": {"i_understand_remote_access": True},
    }
    chosen = {key: value for part in given.values() for key, value in part.items()}
    require_consent(HttpSettings(host=host, **chosen))
    for key in given[left_out]:
        del chosen[key]
    with pytest.raises(ServeError) as refused:
        require_consent(HttpSettings(host=host, **chosen))
    missing = refused.value.advice.rpartition("or also give: ")[2]
    assert missing.count(",") == 0
    assert left_out.replace("switch", SWITCH) in missing


def test_all_of_it_serves_the_names_that_are_set_and_no_others(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    with HttpServer.of(
        sandbox,
        tmp_path,
        *("--host", "0.0.0.0", SWITCH),
        *("--allowed-host", "mcp.example.com", "--allowed-host", "other.example:8443"),
        *("--allowed-origin", "https://app.example.com"),
        HOSTUP_MCP_HTTP_TOKEN=TOKEN,
    ) as server:
        hosts = {
            "mcp.example.com": 200,
            "mcp.example.com:1": 200,
            "MCP.example.com": 200,
            "other.example:8443": 200,
            "other.example": 421,
            "localhost": 421,
            "127.0.0.1": 421,
            "evil.example": 421,
        }
        for host, status in hosts.items():
            assert server.raw(request("/healthz", host=host))[0] == status, host
        origins = {
            "https://app.example.com": 200,
            "https://APP.example.com": 200,
            "http://app.example.com": 403,
            "https://app.example.com:1": 403,
            "http://localhost": 403,
            "null": 403,
        }
        for origin, status in origins.items():
            sent = request("/healthz", f"Origin: {origin}", host="mcp.example.com")
            assert server.raw(sent)[0] == status, origin
        assert server.raw(request("/mcp", host="mcp.example.com"))[0] == 401
        preflight = request(
            "/mcp",
            "Origin: https://app.example.com",
            "Access-Control-Request-Method: POST",
            "Access-Control-Request-Headers: authorization, mcp-session-id",
            method="OPTIONS",
            host="mcp.example.com",
        )
        status, reply = server.raw(preflight)
        assert status == 200
        assert b"access-control-allow-origin: https://app.example.com\r\n" in reply
        assert b"allow-credentials" not in reply
        foreign = preflight.replace(b"app.example.com", b"evil.example")
        status, reply = server.raw(foreign)
        assert (status, b"access-control" in reply) == (403, False)
        assert "tokens cross the network in clear" in server.log()
        assert not (tmp_path / "http-token").exists()


# ------------------------------------------------------------------ TLS


@pytest.fixture
def pem(tmp_path: Path) -> Callable[[str], Path]:
    """PEM files by name: a certificate for localhost, its key, another key."""
    authority = trustme.CA()
    cert = authority.issue_cert("localhost", "127.0.0.1")
    files = {
        "ca": authority.cert_pem.bytes(),
        "cert": b"".join(blob.bytes() for blob in cert.cert_chain_pems),
        "key": cert.private_key_pem.bytes(),
        "other": authority.issue_cert("x.example").private_key_pem.bytes(),
        "nonsense": b"nonsense",
    }
    for name, content in files.items():
        (tmp_path / f"{name}.pem").write_bytes(content)
    return lambda name: tmp_path / f"{name}.pem"


def test_tls_with_certificate_and_key(
    sandbox: Sandbox, tmp_path: Path, pem: Callable[[str], Path]
) -> None:
    given = ("--tls-cert", str(pem("cert")), "--tls-key", str(pem("key")))
    with HttpServer.of(sandbox, tmp_path / "state", *given) as server:
        assert server.url.startswith("https://127.0.0.1:")
        trust = ssl.create_default_context(cafile=pem("ca"))
        with httpx2.Client(base_url=server.url, verify=trust, timeout=30) as http:
            assert http.get("/healthz").json() == {"status": "alive"}
            assert http.post("/mcp").status_code == 401
        assert server.raw(request("/healthz"))[0] == 0  # not in clear
        with (
            server.connect() as connection,
            trust.wrap_socket(connection, server_hostname="localhost") as tls,
        ):
            tls.sendall(request("/mcp", host="evil.example"))
            assert read_all(tls)[0] == 421
        with server.connect():  # a handshake that never comes
            assert server.stop() < 3
        assert "Traceback" not in server.log()


def test_a_handshake_that_never_comes_counts_and_is_hung_up_on(
    sandbox: Sandbox, tmp_path: Path, pem: Callable[[str], Path]
) -> None:
    given = ("--tls-cert", str(pem("cert")), "--tls-key", str(pem("key")))
    small = {"HOSTUP_MCP__HTTP__MAX_CONNECTIONS": "10", "HOSTUP_MCP__HTTP__RECEIVE_SECONDS": "8"}
    trust = ssl.create_default_context(cafile=pem("ca"))
    with ExitStack() as held, HttpServer.of(sandbox, tmp_path / "state", *given, **small) as server:
        began = time.monotonic()
        bare = [held.enter_context(server.connect()) for _ in range(60)]
        # Those over the limit are closed at once, and who speaks TLS gets through.
        over = [read_all(connection)[0] for connection in bare[:50]]
        tls = held.enter_context(trust.wrap_socket(server.connect(), server_hostname="localhost"))
        tls.sendall(request("/healthz"))
        assert read_all(tls)[0] == 200
        assert time.monotonic() - began < 6
        assert over == [0] * 50
        # asyncio's own limit would be 60 s.
        assert [read_all(connection)[0] for connection in bare[50:]] == [0] * 10
        assert 6 < time.monotonic() - began < 30
        assert server.stop() < 3
        assert "Traceback" not in server.log()


def test_all_of_a_request_that_comes_with_the_handshake_is_read(
    sandbox: Sandbox, tmp_path: Path, pem: Callable[[str], Path]
) -> None:
    """With TLS 1.3 the client may send right behind its last message of the handshake."""
    given = ("--tls-cert", str(pem("cert")), "--tls-key", str(pem("key")))
    trust = ssl.create_default_context(cafile=pem("ca"))
    with HttpServer.of(sandbox, tmp_path / "state", *given) as server, server.connect() as raw:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = trust.wrap_bio(incoming, outgoing, server_hostname="localhost")
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw.sendall(outgoing.read())
                incoming.write(raw.recv(65536))
        tls.write(request("/healthz"))
        raw.sendall(outgoing.read())
        got = b""
        while b"alive" not in got:
            incoming.write(raw.recv(65536))
            with suppress(ssl.SSLWantReadError):
                got += tls.read(65536)
        assert got.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("cert", "key", "code"),
    [
        ("cert", "", "tls_incomplete"),
        ("", "key", "tls_incomplete"),
        ("cert", "other", "tls_unusable"),
        ("nonsense", "key", "tls_unusable"),
        ("missing", "key", "tls_unusable"),
    ],
)
def test_tls_that_cannot_be(pem: Callable[[str], Path], cert: str, key: str, code: str) -> None:
    given = {f"tls_{name}": str(pem(v)) for name, v in (("cert", cert), ("key", key)) if v}
    with pytest.raises(ServeError) as refused:
        tls_context(HttpSettings.model_validate(given))
    assert refused.value.code == code


# ------------------------------------------------------------------ a Unix socket


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


def test_a_port_that_is_taken_is_said(sandbox: Sandbox, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refusal(sandbox, tmp_path, "--transport", "http", "--port", port)
    assert "address_unusable" in said
    assert port in said


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n# nobody\n",
        "short",
        "name short",
        f"two names {TOKEN}",
        "å" * 20,
        f"local {TOKEN}",
        f"a:b {TOKEN}",
        f"a {TOKEN}\nb {TOKEN}",
        TOKEN * 10_000,
    ],
    ids=lambda content: content[:12],
)
def test_a_token_file_that_cannot_be_used(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ServeError) as refused:
        find_tokens(HttpSettings(token_file=str(path)), tmp_path)
    assert refused.value.code == "http_token_unusable"
    assert TOKEN not in str(refused.value)


def test_whose_token_it_is(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"ann {TOKEN}1\n  ann\t{TOKEN}2\n{TOKEN}3\n")
    path.chmod(0o600)
    tokens, texts = find_tokens(HttpSettings(token_file=str(path)), tmp_path)
    assert texts == [f"{TOKEN}{number}" for number in (1, 2, 3)]
    unnamed = hashlib.sha256(f"{TOKEN}3".encode()).hexdigest()[:16]
    whose = [tokens.principal(text) for text in (*texts, TOKEN, "", "\udcff")]
    assert whose == ["ann", "ann", f"token:{unnamed}", None, None, None]
    assert TOKEN not in repr(vars(tokens))


def test_a_made_token_stays(tmp_path: Path) -> None:
    first = find_tokens(HttpSettings(), tmp_path)[1]
    assert find_tokens(HttpSettings(), tmp_path)[1] == first
    assert [path.name for path in tmp_path.iterdir()] == ["http-token"]
    other = tmp_path / "other"
    other.mkdir()
    assert find_tokens(HttpSettings(), other)[1] != first


@pytest.mark.parametrize("refusal", [errno.EPERM, errno.ENOTSUP, errno.EMLINK])
def test_a_token_is_made_where_there_are_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    def refuse(*_paths: object, **_more: object) -> None:
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(os, "link", refuse)
    made = find_tokens(HttpSettings(), tmp_path)[1]
    assert find_tokens(HttpSettings(), tmp_path)[1] == made
    (file,) = tmp_path.iterdir()
    assert file.read_text() == f"{made[0]}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_no_draft_and_no_empty_token_is_left_where_nothing_can_be_written(tmp_path: Path) -> None:
    """With a limit of no bytes on files, as on a full disk."""
    program = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from hostup_mcp.http_settings import HttpSettings\n"
        "from hostup_mcp.transports.tokens import find_tokens\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "find_tokens(HttpSettings(), Path(sys.argv[1]))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-B", "-c", program, str(tmp_path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "ServeError" in ended.stderr
    assert "it cannot be made: File too large" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_options_of_http_do_not_go_with_stdio(sandbox: Sandbox, tmp_path: Path) -> None:
    assert "go with --transport http" in refusal(sandbox, tmp_path, "--port", "8765")


def test_sse_alone_says_that_it_is_deprecated(sandbox: Sandbox, tmp_path: Path) -> None:
    given = ("--transport", "sse", "--port", "0")
    with HttpServer(sandbox.base_url, sandbox.api_key, tmp_path, *given) as server:
        server.await_log("HTTP[+]SSE at /sse is deprecated")
        bearer = f"Authorization: Bearer {server.token}"
        assert server.raw(request("/mcp", bearer))[0] == 404
        assert server.raw(request("/sse", bearer, "Content-Length: 0", method="POST"))[0] == 405
