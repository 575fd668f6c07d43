"""Whatever is posted is answered in good form; the server lives and its log stays short."""

from __future__ import annotations

import pytest

from tests.stdio_client import MODERN
from tests.transports.http_process import INITIALIZE, HttpServer, request

BODIES = [
    b"",
    b"nonsense-0123",
    b"\xff\xfe\x00",
    b"null",
    b"[]",
    b"{}",
    b'[{"jsonrpc": "2.0", "id": 1, "method": "ping"}]',
    b'{"jsonrpc": "2.0", "id": 1, "method": 5}',
    b'{"jsonrpc": "2.0", "id": [], "method": "ping"}',
    b'{"jsonrpc": "2.0", "id": "\\udcff", "method": "ping"}',
    b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": [1]}',
    b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "\\udcff"}}',
    b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": ' + b"9" * 5000 + b"}",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"jsonrpc": "2.0", "id": 1, "result": {}}',
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:40]))
def test_a_malformed_body_harms_nobody(served: HttpServer, body: bytes) -> None:
    with served.http(headers={"Content-Type": "application/json"}) as http:
        session = http.post("/mcp", json=INITIALIZE).headers["mcp-session-id"]
        ways: list[dict[str, str]] = [
            {},
            {"Mcp-Session-Id": session},
            {"Mcp-Session-Id": "\xff"},
            {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "x"},
            {"MCP-Protocol-Version": "\xff"},
        ]
        for sent in ways:
            headers = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]
            answer = http.post("/mcp", content=body, headers=headers)
            assert 200 <= answer.status_code < 500, (sent, answer.text)
        http.delete("/mcp", headers={"Mcp-Session-Id": session})
        assert http.get("/healthz").is_success


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:40]))
def test_a_malformed_message_to_sse_harms_nobody(served: HttpServer, body: bytes) -> None:
    bearer = f"Authorization: Bearer {served.token}"
    headers = {"Content-Type": "application/json"}
    with served.connect() as connection, served.http(headers=headers) as http:
        connection.sendall(request("/sse", bearer))
        got = b""
        while b"session_id=" not in got or not got.endswith(b"\r\n\r\n"):
            got += connection.recv(65536)
        path = got.partition(b"data: ")[2].partition(b"\r\n")[0].decode()
        assert http.post(path, content=body).status_code in (202, 400)
        assert http.post(path, json=INITIALIZE).status_code == 202
        while b"serverInfo" not in got:
            got += connection.recv(65536)
        for other in ("/messages/", "/messages/?session_id=%00", "/messages/?session_id=x"):
            assert http.post(other, content=body).status_code == 400
    assert "nonsense-0123" not in served.log()
    assert "Traceback" not in served.log()
