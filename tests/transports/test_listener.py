"""Where it may be served: loopback, a Unix socket, TLS, and elsewhere only on purpose."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme
from pydantic import SecretStr

from hostup_mcp.config.http import HttpSettings
from hostup_mcp.sandbox.api_server import Sandbox
from hostup_mcp.transports.errors import ServeError
from hostup_mcp.transports.listener import listening
from hostup_mcp.transports.remote_access import check_remote_access
from hostup_mcp.transports.tls_certificate import tls_context
from tests.transports.http_process import TOKEN, HttpServer, read_all, refusal, request

SWITCH = "--i-understand-remote-access"


# ------------------------------------------------------------------ other machines


def test_an_address_that_others_reach_does_not_start_by_itself(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    said = refusal(sandbox, tmp_path, "--transport", "http", "--host", "0.0.0.0")
    assert said.startswith("hostup-mcp: remote_access_refused: ")
    for missing in ("HOSTUP_MCP_HTTP_TOKEN", "http.allowed_hosts", "allowed_origins", SWITCH):
        assert missing in said


@pytest.mark.parametrize("host", ["hunter2..x", "hunter2" * 20])
def test_what_stands_for_an_address_is_not_repeated(host: str) -> None:
    with pytest.raises(ServeError) as caught:
        check_remote_access(HttpSettings(host=host))
    assert "Other machines can reach the address in http.host" in caught.value.message
    message = r"The server cannot listen on the address in http\.host \(it is no host name\)"
    with pytest.raises(ServeError, match=message), listening(HttpSettings(host=host)):
        pass


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
    check_remote_access(HttpSettings(host=host, **chosen))
    for key in given[left_out]:
        del chosen[key]
    with pytest.raises(ServeError) as refused:
        check_remote_access(HttpSettings(host=host, **chosen))
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


def test_a_port_that_is_taken_is_said(sandbox: Sandbox, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refusal(sandbox, tmp_path, "--transport", "http", "--port", port)
    assert "address_unusable" in said
    assert port in said


def test_options_of_http_do_not_go_with_stdio(sandbox: Sandbox, tmp_path: Path) -> None:
    assert "need --transport http" in refusal(sandbox, tmp_path, "--port", "8765")


def test_sse_alone_says_that_it_is_deprecated(sandbox: Sandbox, tmp_path: Path) -> None:
    given = ("--transport", "sse", "--port", "0")
    with HttpServer(sandbox.base_url, sandbox.api_key, tmp_path, *given) as server:
        server.await_log("HTTP[+]SSE at /sse is deprecated")
        bearer = f"Authorization: Bearer {server.token}"
        assert server.raw(request("/mcp", bearer))[0] == 404
        assert server.raw(request("/sse", bearer, "Content-Length: 0", method="POST"))[0] == 405
