"""What a revision of MCP has not got: the transports it does not name, the requests it lacks.

In every revision a client can list, run, follow, cancel, leave and come back, so every cell of the
matrix is there. Over Streamable HTTP in 2026-07-28, to cancel a call is to close its stream: the
server cannot tell it from leaving, and does the same for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import mcp_types as types
from mcp import Client
from mcp.client.session import ClientSession
from mcp.shared.exceptions import MCPError

from tests.task_client import GetTask, TaskParams, TaskState
from tests.transports.matrix_client import (
    MODERN,
    TRANSPORTS,
    Revision,
    Server,
    TransportName,
    offered,
)

_REPLACED: Final = "HTTP+SSE was replaced in 2025-03-26"
_NOT_YET: Final = "Streamable HTTP came with 2025-03-26"
UNNAMED: Final[Mapping[tuple[TransportName, Revision], str]] = {
    ("http", "2024-11-05"): _NOT_YET,
    ("uds", "2024-11-05"): _NOT_YET,
    ("sse", "2025-06-18"): _REPLACED,
    ("sse", "2025-11-25"): _REPLACED,
    ("sse", "2026-07-28"): _REPLACED,
}
"""Rows whose revision does not name the transport, and why; they are served all the same."""


@dataclass(frozen=True, slots=True)
class Absent:
    """A request that a revision has not got.

    Attributes:
        method: its method.
        why: since when, or as long as what.
        transports: on which it is absent.
        revisions: in which.
        code: the error that it gets.
    """

    method: str
    why: str
    transports: tuple[TransportName, ...]
    revisions: tuple[Revision, ...]
    code: int


_HANDSHAKE: Final[tuple[Revision, ...]] = ("2024-11-05", "2025-06-18", "2025-11-25")
_ONE_ERA: Final = "the first request settles the era of a connection"
ABSENT: Final = (
    Absent("ping", "removed in 2026-07-28", TRANSPORTS, (MODERN,), -32601),
    Absent("initialize", "removed in 2026-07-28", ("http", "uds"), (MODERN,), -32601),
    Absent("initialize", _ONE_ERA, ("stdio", "sse"), (MODERN,), -32022),
    Absent("server/discover", _ONE_ERA, ("stdio", "sse"), _HANDSHAKE, -32600),
    Absent("tasks/get", "extensions came with 2026-07-28", TRANSPORTS, _HANDSHAKE, -32601),
)
"""Over Streamable HTTP each request says its revision, so a handshake client may still discover."""


async def refuses_what_is_absent(
    server: Server, client: Client, transport: TransportName, revision: Revision
) -> None:
    """Each request that this revision lacks gets its error, and the connection lives on."""
    for absent in ABSENT:
        if transport in absent.transports and revision in absent.revisions:
            try:
                await _request(client.session, absent.method)
            except MCPError as error:
                assert error.code == absent.code, (absent.method, error)
            else:
                raise AssertionError(f"{absent.method} was answered")
    if revision == MODERN:
        # No handshake agrees on it: the answer is the newest revision that has one.
        assert await offered(server, revision) == _HANDSHAKE[-1]
    assert (await client.call_tool("list_vps", {})).structured_content


async def _request(session: ClientSession, method: str) -> None:
    info = types.Implementation(name="matrix", version="1")
    handshake = types.InitializeRequestParams(
        protocol_version=_HANDSHAKE[-1], capabilities=types.ClientCapabilities(), client_info=info
    )
    requests: dict[str, tuple[types.Request[Any, Any], type[types.Result]]] = {
        "ping": (types.PingRequest(), types.EmptyResult),
        "initialize": (types.InitializeRequest(params=handshake), types.InitializeResult),
        "tasks/get": (GetTask(params=TaskParams(task_id="exec_none")), TaskState),
    }
    if method == "server/discover":
        await session.send_discover(MODERN)
    else:
        await session.send_request(*requests[method])
