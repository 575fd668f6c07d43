"""How much one client may send: bytes of a request, calls at once, calls a minute."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, cast

import anyio
import pydantic_core
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_REQUEST
from starlette.authentication import BaseUser
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hostup_mcp.http_settings import HttpSettings
from hostup_mcp.transports.guard import headers
from hostup_mcp.transports.http_errors import error_response

ADMITTED: Final = "admitted"
"""In the state of a request: its call has been counted."""


@dataclass(slots=True)
class _Account:
    """What a principal has used: calls at work, and calls it may still make at once."""

    in_flight: int
    left: float
    counted_at: float


class CallBudget:
    """Counts tool calls by principal. A minute's worth may come at once, then they are spread."""

    def __init__(
        self, at_once: int, per_minute: int, clock: Callable[[], float] = anyio.current_time
    ) -> None:
        """The budget of each principal.

        Args:
            at_once: how many calls may be at work.
            per_minute: how many may begin in a minute.
            clock: seconds.
        """
        self._at_once = at_once
        self._per_minute = per_minute
        self._clock = clock
        self._accounts: dict[str, _Account] = {}

    def admit(self, principal: str) -> tuple[str, int] | None:
        """Count a call that is about to begin.

        Returns:
            None; or why it may not begin, and after how many whole seconds to try again.
        """
        account = self._account(principal)
        if full := self._full(account):
            return full
        if account.left < 1:
            wait = math.ceil((1 - account.left) * 60 / self._per_minute)
            return f"This token has made {self._per_minute} calls in a minute.", wait
        account.left -= 1
        return None

    @contextmanager
    def at_work(self, principal: str, *, admitted: bool) -> Generator[None]:
        """A call, while it is carried out.

        Args:
            principal: whose.
            admitted: whether it has been counted; others may have begun since.

        Raises:
            MCPError: there is no room for it.
        """
        account = self._account(principal)
        refused = self._full(account) if admitted else self.admit(principal)
        if refused is not None:
            reason, wait = refused
            raise MCPError(INVALID_REQUEST, f"{reason} {_again(wait)}", {"error": "too_many_calls"})
        account.in_flight += 1
        try:
            yield
        finally:
            account.in_flight -= 1

    def _full(self, account: _Account) -> tuple[str, int] | None:
        if account.in_flight < self._at_once:
            return None
        return f"{self._at_once} calls of this token are at work.", 1

    def _account(self, principal: str) -> _Account:
        now = self._clock()
        # There are as many as there are tokens.
        account = self._accounts.setdefault(principal, _Account(0, self._per_minute, now))
        gained = (now - account.counted_at) * self._per_minute / 60
        account.left = min(self._per_minute, account.left + gained)
        account.counted_at = now
        return account


class RequestLimits:
    """ASGI middleware: headers and body of a bounded size, and a place for a call."""

    def __init__(self, app: ASGIApp, settings: HttpSettings, budget: CallBudget | None) -> None:
        """The middleware.

        Args:
            app: what answers.
            settings: the limits.
            budget: where calls are counted; None where a refusal by HTTP status would end the
                client's whole session, so that the call itself must be answered.
        """
        self._app = app
        self._settings = settings
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its whole body, or answer 413, 429 or 431."""
        size = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
        if size > self._settings.max_header_bytes:
            await _headers_too_large(self._settings.max_header_bytes)(scope, receive, send)
            return
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        body = await self._body(scope, receive)
        if body is None:
            return  # the client left
        refusal = body if isinstance(body, Response) else self._admit(scope, body)
        if refusal is not None:
            await refusal(scope, receive, send)
        elif isinstance(body, bytes):
            await self._app(scope, _replay(body, receive), send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | Response | None:
        longest = self._settings.max_body_bytes
        (declared, *_) = [*headers(scope, b"content-length"), "0"]
        # h11 lets only digits through.
        too_large = int(declared) > longest
        body = bytearray()
        more = True
        while more and not too_large:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            more = message.get("more_body", False)
            too_large = len(body) > longest
        if too_large:
            return error_response(
                413,
                "body_too_large",
                f"The request's body is over {longest} bytes.",
                "Send less; its operator sets http.max_body_bytes.",
            )
        return bytes(body)

    def _admit(self, scope: Scope, body: bytes) -> Response | None:
        if self._budget is None or not _is_call(body):
            return None
        refused = self._budget.admit(principal(scope))
        if refused is None:
            scope["state"][ADMITTED] = True
            return None
        reason, wait = refused
        return error_response(
            429,
            "too_many_calls",
            reason,
            _again(wait),
            {"Retry-After": str(wait)},
        )


def _again(wait: int) -> str:
    return f"Try again in {wait} s; nothing was sent to HostUp."


def principal(scope: Scope) -> str:
    """Whose request this is."""
    return cast("BaseUser", scope["user"]).display_name


def _is_call(body: bytes) -> bool:
    try:
        message = cast("object", pydantic_core.from_json(body))
    except ValueError:
        return True  # the SDK is sometimes more tolerant: in doubt it counts
    return isinstance(message, dict) and cast("dict[str, object]", message).get("method") == (
        "tools/call"
    )


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body again, as one message, and then what comes."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed


def _headers_too_large(longest: int) -> Response:
    return error_response(
        431,
        "headers_too_large",
        f"The request's headers are over {longest} bytes.",
        "Send fewer; its operator sets http.max_header_bytes.",
    )
