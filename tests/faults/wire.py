"""HTTP/1.1 as the proxy needs it: whole messages, what they ask for, and replies of our own."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Final, Literal

from tests.scripted_api import problem

Kind = Literal["list", "describe", "probe", "start", "poll", "status", "other"]

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TARGET = re.compile(r"/api/v2/vps(?:/([^/?]+))?(/[^?]*)?(?:\?(.*))?")


@dataclass(frozen=True, slots=True)
class Request:
    """One request: what it asks for, of which VPS and pid, and its bytes."""

    kind: Kind
    vps_id: str
    pid: int
    raw: bytes


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """A whole message: head and body. Empty where the connection ended before it began.

    Raises:
        asyncio.IncompleteReadError: it ended inside a message.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return b""
    found = _LENGTH.search(head)
    return head + await reader.readexactly(int(found[1]) if found else 0)


def recognise(raw: bytes) -> Request:
    """What a request asks for."""
    method, target, _ = raw.split(b"\r\n", 1)[0].decode("ascii").split(" ")
    found = _TARGET.fullmatch(target)
    vps_id, rest, query = found.groups("") if found else ("", "?", "")
    pid = int(query.removeprefix("pid=")) if query.startswith("pid=") else 0
    kind: Kind = "other"
    match (method, rest):
        case ("GET", ""):
            kind = "describe" if vps_id else "list"
        case ("GET", "/status"):
            kind = "status"
        case ("POST", "/agent/exec"):
            kind = "start"
        case ("GET", "/agent/exec"):
            kind = "poll" if pid else "probe"
        case _:
            pass
    return Request(kind, vps_id, pid, raw)


def halves(reply: bytes) -> tuple[bytes, bytes]:
    """A reply broken off inside its head, and inside its body."""
    head, body = reply.split(b"\r\n\r\n", 1)
    return head[: len(head) // 2], head + b"\r\n\r\n" + body[: len(body) // 2]


def last(reply: bytes) -> bytes:
    """A reply after which its connection is not to be used again."""
    return reply.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)


def says_ended(reply: bytes) -> bool:
    """Whether a reply hands out a result."""
    return b'"exited":true' in reply


def is_ok(reply: bytes) -> bool:
    """Whether a reply has status 200."""
    return reply.startswith(b"HTTP/1.1 200")


def _reply(status: str, kind: str, body: bytes, *headers: str) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        *([f"content-type: {kind}"] if kind else []),
        f"content-length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _problem(status: int, code: str) -> bytes:
    return json.dumps(problem(status, code)).encode()


_PROBLEM: Final = "application/problem+json"
ERROR: Final = _reply("500 Internal Server Error", _PROBLEM, _problem(500, "internal_error"))
BAD_GATEWAY: Final = _reply(
    "502 Bad Gateway", "text/html", b"<html><body><h1>502 Bad Gateway</h1></body></html>"
)
UNAVAILABLE: Final = _reply("503 Service Unavailable", "", b"")
_LIMITED: Final = _problem(429, "rate_limit_exceeded")
LIMITED: Final = _reply("429 Too Many Requests", _PROBLEM, _LIMITED)
LIMITED_FOR_A_SECOND: Final = _reply(
    "429 Too Many Requests", _PROBLEM, _LIMITED, "retry-after: 1", "x-ratelimit-remaining: 0"
)
