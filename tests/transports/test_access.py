"""Nobody gets in by a foreign name, from a foreign page, without a token, or by a side path."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hostup_mcp.sandbox.api_server import Sandbox
from tests.transports.http_process import ACCEPT, INITIALIZE, HttpServer, request

ROUTES = ["/mcp", "/sse", "/messages/", "/healthz", "/readyz", "/nothing"]


def code_of(reply: bytes) -> str:
    return json.loads(reply.partition(b"\r\n\r\n")[2])["error"]["data"]["error"]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "localhost@evil.example",
        "localhost:80:80",
        "localhost:x",
        "192.0.2.1",
        "0.0.0.0",
        "[::]",
        "",
    ],
)
def test_a_name_that_is_not_ours_gets_nothing(served: HttpServer, route: str, host: str) -> None:
    """DNS rebinding: the browser has resolved its page's own name to 127.0.0.1."""
    token = f"Authorization: Bearer {served.token}"
    status, reply = served.raw(request(route, token, host=host.format(port=served.port)))
    assert (status, code_of(reply)) == (421, "host_not_allowed")


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:{port}", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:{port}", "[::1]:80"],
)
def test_our_own_names_are_served_with_and_without_a_port(served: HttpServer, host: str) -> None:
    status, _ = served.raw(request("/healthz", host=host.format(port=served.port)))
    assert status == 200


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ("GET /healthz HTTP/1.1\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
        ("GET /healthz HTTP/1.0\r\n\r\n", 421),
        ("GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 401),
        ("GET /healthz HTTP/1.1\r\nHost: localhost, evil.example\r\n\r\n", 421),
        ("nonsense\r\n\r\n", 400),
    ],
)
def test_a_host_that_is_not_clear_gets_nothing(served: HttpServer, lines: str, status: int) -> None:
    first = lines.partition("\r\n")
    assert served.raw(f"{first[0]}\r\nConnection: close\r\n{first[2]}".encode())[0] == status


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "origins",
    [
        ["null"],
        ["https://evil.example"],
        ["http://localhost.evil.example"],
        ["http://localhost@evil.example"],
        ["file://"],
        ["chrome-extension://abcdef"],
        [""],
        ["http://localhost", "https://evil.example"],
    ],
)
def test_a_page_of_another_origin_gets_nothing(
    served: HttpServer, route: str, origins: list[str]
) -> None:
    sent = [f"Origin: {origin}" for origin in origins]
    status, reply = served.raw(request(route, f"Authorization: Bearer {served.token}", *sent))
    assert (status, code_of(reply)) == (403, "origin_not_allowed")


def test_a_page_on_this_machine_may_call(served: HttpServer) -> None:
    for origin in ("http://localhost:6274", "http://127.0.0.1", "https://[::1]:1"):
        assert served.raw(request("/healthz", f"Origin: {origin}"))[0] == 200


@pytest.mark.parametrize("route", ["/mcp", "/sse", "/messages/", "/nothing", "/"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS", "PUT"])
def test_without_a_token_every_route_but_health_is_closed(
    served: HttpServer, route: str, method: str
) -> None:
    status, reply = served.raw(request(route, "Content-Length: 0", method=method))
    assert (status, code_of(reply)) == (401, "token_missing")
    assert b'www-authenticate: Bearer realm="hostup-mcp"\r\n' in reply


@pytest.mark.parametrize("route", ["/mcp", "/sse", "/messages/"])
@pytest.mark.parametrize(
    "authorization",
    [
        ["Bearer wrong-token-of-the-usual-length-0000000000"],
        ["Bearer"],
        ["Bearer "],
        ["Basic {token}"],
        ["{token}"],
        ["Bearer {token}x"],
        ["Bearer x{token}"],
        ["Bearer {token}", "Bearer {token}"],
        ["Bearer \udcff\udcfe"],
    ],
)
def test_with_a_wrong_token_too(served: HttpServer, route: str, authorization: list[str]) -> None:
    sent = [f"Authorization: {value}".format(token=served.token) for value in authorization]
    raw = request(route).replace(
        b"Connection",
        b"".join(line.encode("latin-1", "replace") + b"\r\n" for line in sent) + b"Connection",
        1,
    )
    status, reply = served.raw(raw)
    assert (status, code_of(reply)) == (401, "token_invalid")
    assert b'error="invalid_token"' in reply
    assert served.token.encode() not in reply


@pytest.mark.parametrize("name", ["token", "access_token", "API_KEY", "%74oken"])
def test_a_token_in_the_url_is_refused_even_beside_the_header(
    served: HttpServer, name: str
) -> None:
    for headers in ([], [f"Authorization: Bearer {served.token}"]):
        status, reply = served.raw(request(f"/mcp?{name}={served.token}", *headers))
        assert (status, code_of(reply)) == (400, "token_in_url")
        assert served.token.encode() not in reply


def test_hostups_key_is_no_token_and_is_not_taken_from_a_client(
    served: HttpServer, sandbox: Sandbox
) -> None:
    status, reply = served.raw(request("/mcp", f"Authorization: Bearer {sandbox.api_key}"))
    assert (status, code_of(reply)) == (401, "token_invalid")
    assert sandbox.api_key not in served.log()


@pytest.mark.parametrize(
    "path",
    [
        "//mcp",
        "/mcp/",
        "/mcp/../healthz",
        "/healthz/../mcp",
        "/healthz/",
        "//healthz",
        "/%68ealthz",
        "/healthz%2f..%2fmcp",
        "/healthz;/mcp",
        "/.//mcp",
        "/%6dcp",
        "/MCP",
        "/mcp%00",
        "/mcp\\",
    ],
)
def test_a_path_is_taken_as_it_was_sent(served: HttpServer, path: str) -> None:
    assert served.raw(request(path))[0] == 401
    status, reply = served.raw(request(path, f"Authorization: Bearer {served.token}"))
    assert (status, code_of(reply)) == (404, "path_unknown")


def test_health_takes_only_questions(served: HttpServer) -> None:
    for route in ("/healthz", "/readyz"):
        assert served.raw(request(route, "Content-Length: 0", method="POST"))[0] == 405
        status, reply = served.raw(request(route, method="HEAD"))
        assert status == 200
        assert reply.endswith(b"\r\n\r\n")


def test_the_token_is_made_for_its_user_alone_and_its_value_told_nowhere(
    served: HttpServer,
) -> None:
    file = served.state / "http-token"
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(served.token) >= 40
    assert str(file) in served.announced
    process = Path(f"/proc/{served.pid}")
    assert served.token.encode() not in (process / "cmdline").read_bytes()
    assert served.token.encode() not in (process / "environ").read_bytes()
    assert served.token not in served.log()


def test_another_token_gets_a_session_of_its_own(sandbox: Sandbox, tmp_path: Path) -> None:
    """A session belongs to the principal that opened it; to others it does not exist."""
    tokens = tmp_path / "tokens"
    tokens.write_text("# who may\nann ann-0123456789abcdef\n\nbob bob-0123456789abcdef\n")
    tokens.chmod(0o600)
    state = tmp_path / "state"
    arguments = ("--token-file", str(tokens), "--log-level", "debug")
    with HttpServer.of(sandbox, state, *arguments) as server:
        ann, bob = ({"Authorization": f"Bearer {n}-0123456789abcdef"} for n in ("ann", "bob"))
        with server.http_without_token() as http:
            opened = http.post("/mcp", json=INITIALIZE, headers={**ACCEPT, **ann})
            assert opened.status_code == 200
            session = {"Mcp-Session-Id": opened.headers["mcp-session-id"]}
            ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
            for who, status in ((bob, 404), (ann, 200)):
                sent = {**ACCEPT, **who, **session}
                assert http.post("/mcp", json=ping, headers=sent).status_code == status
            assert http.delete("/mcp", headers={**ACCEPT, **bob, **session}).status_code == 404
            assert http.delete("/mcp", headers={**ACCEPT, **ann, **session}).status_code == 200
        assert not (state / "http-token").exists()
        server.stop()
        assert "0123456789abcdef" not in server.log()


def test_tokens_from_the_environment_and_from_files_that_others_can_read(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    token = "from-the-environment-0123456789"
    with HttpServer.of(sandbox, tmp_path / "a", HOSTUP_MCP_HTTP_TOKEN=token) as server:
        assert token not in server.announced
        assert server.raw(request("/mcp"))[0] == 401
        status, _ = server.raw(request("/mcp", f"Authorization: Bearer {token}", method="PUT"))
        assert status == 405  # it is in
    path = tmp_path / "open"
    path.write_text(token)
    path.chmod(0o644)
    with HttpServer.of(sandbox, tmp_path / "b", HOSTUP_MCP_HTTP_TOKEN_FILE=str(path)) as server:
        assert "can be read by other users" in server.log()
        assert token not in server.log()
