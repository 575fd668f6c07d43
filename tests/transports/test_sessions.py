"""Sessions of one token cannot shut out those of another."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostup_mcp.sandbox.api_server import Sandbox
from hostup_mcp.transports.sessions import SessionBounds
from tests.transports.http_process import ACCEPT, INITIALIZE, HttpServer, request

ALICE, BOB = "alice-token-0123456789", "bob-token-0123456789ab"
MOST = {"HOSTUP_MCP__HTTP__MAX_SESSIONS": "6"}


def token_file(folder: Path) -> str:
    path = folder / "tokens"
    path.write_text(f"alice {ALICE}\nalice {ALICE}2\nbob {BOB}\n")
    path.chmod(0o600)
    return str(path)


def test_a_token_has_half_of_the_sessions_and_the_others_the_rest(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    given = ("--token-file", token_file(tmp_path))
    with HttpServer.of(sandbox, tmp_path / "state", *given, **MOST) as server:
        with server.http_without_token() as http:

            def opened(token: str) -> int:
                sent = {"Authorization": f"Bearer {token}", **ACCEPT}
                sessions = 0
                while (reply := http.post("/mcp", json=INITIALIZE, headers=sent)).is_success:
                    sessions += 1
                    assert sessions <= 6
                assert reply.status_code == 503
                assert reply.json()["error"]["data"]["error"] == "too_many_sessions"
                assert int(reply.headers["retry-after"]) > 0
                return sessions

            assert opened(ALICE) == 3
            # A principal's second token is no second share.
            assert opened(f"{ALICE}2") == 0
            assert opened(BOB) == 3
        # A flood of refusals is no flood of log lines.
        assert "session" not in server.log().partition("serving MCP at")[2].lower()


def test_sse_too(sandbox: Sandbox, tmp_path: Path) -> None:
    given = ("--with-sse", "--token-file", token_file(tmp_path))
    with HttpServer.of(sandbox, tmp_path / "state", *given, **MOST) as server:
        held = [server.connect() for _ in range(6)]
        tokens = [ALICE] * 4 + [BOB] * 2
        statuses: list[bytes] = []
        for connection, token in zip(held, tokens, strict=True):
            connection.sendall(request("/sse", f"Authorization: Bearer {token}"))
            statuses.append(connection.recv(65536).split(b" ")[1])
        for connection in held:
            connection.close()
        assert statuses == [b"200"] * 3 + [b"503"] + [b"200"] * 2


@pytest.mark.parametrize(
    ("in_all", "principals", "of_one"),
    [(1, {"a"}, 1), (7, {"a"}, 7), (1, {"a", "b"}, 1), (7, {"a", "b"}, 3), (9, {"a", "b", "c"}, 4)],
)
def test_the_share_of_one(in_all: int, principals: set[str], of_one: int) -> None:
    bounds = SessionBounds.of(in_all, principals)
    assert bounds.of_one == of_one
    assert bounds.full(of_one - 1, of_one - 1) is None
    assert bounds.full(of_one, of_one) is not None
    assert bounds.full(in_all, 0) is not None
