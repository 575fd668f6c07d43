"""How much one client may send: bytes of a request, one id once, calls at once, calls a minute."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final, cast

import anyio
import pydantic_core
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_REQUEST, JSONRPCRequest, jsonrpc_message_adapter
from starlette.authentication import BaseUser
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hostup_mcp.http_settings import HttpSettings
from hostup_mcp.transports.guard import headers
from hostup_mcp.transports.http_errors import error_response

ADMITTED: Final = "admitted"
"""In the state of a request: its call has been counted."""

_SESSION_HEADER: Final = b"mcp-session-id"
# An answer reaches its client a moment before the request is over here.
_ID_FREE_SECONDS: Final = 0.5
# The SDK keeps the stream of a session's GET among those of its requests, under this name.
_RESERVED_ID: Final = "_GET_stream"


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


class IdsInFlight:
    """The ids of JSON-RPC requests that a session has under way, each of them once.

    The SDK (`streamable_http.py`) finds the stream of an answer by session and `str(id)`, so that
    of two requests with one id the second would get the first's answer, and 7 is the same as "7".
    """

    def __init__(self) -> None:
        self._ended: dict[tuple[str, str, str], anyio.Event] = {}

    @asynccontextmanager
    async def hold(self, scope: Scope, body: bytes) -> AsyncGenerator[Response | None]:
        """A request, while it is answered.

        Args:
            scope: the request.
            body: its body.

        Yields:
            None; or why it must not be passed on.
        """
        sessions, request_id = headers(scope, _SESSION_HEADER), _request_id(body)
        if not sessions or request_id is None:
            yield None
            return
        key = (principal(scope), sessions[0], request_id)
        with anyio.move_on_after(_ID_FREE_SECONDS):
            while (ended := self._ended.get(key)) is not None:
                await ended.wait()
        if key in self._ended or request_id == _RESERVED_ID:
            yield error_response(
                400,
                "request_id_in_use",
                "Another request of this session has the same JSON-RPC id and is not answered yet.",
                "Give each request an id of its own; this one was not carried out.",
            )
            return
        ended = self._ended[key] = anyio.Event()
        try:
            yield None
        finally:
            del self._ended[key]
            ended.set()


class RequestLimits:
    """ASGI middleware: headers and body of a bounded size, an id of its own, a place for a call."""

    def __init__(
        self,
        app: ASGIApp,
        settings: HttpSettings,
        budget: CallBudget | None,
        ids: IdsInFlight | None,
    ) -> None:
        """The middleware.

        Args:
            app: what answers.
            settings: the limits.
            budget: where calls are counted; None where a refusal by HTTP status would end the
                client's whole session, so that the call itself must be answered.
            ids: where ids are kept; None where all answers go into one stream anyway.
        """
        self._app = app
        self._settings = settings
        self._budget = budget
        self._ids = ids

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its whole body, or answer 400, 413, 429 or 431."""
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
        if isinstance(body, Response):
            await body(scope, receive, send)
        elif self._ids is None:
            await self._pass_on(scope, body, receive, send)
        else:
            async with self._ids.hold(scope, body) as refusal:
                if refusal is None:
                    await self._pass_on(scope, body, receive, send)
                else:
                    await refusal(scope, receive, send)

    async def _pass_on(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        refusal = self._admit(scope, body)
        if refusal is None:
            await self._app(scope, _replay(body, receive), send)
        else:
            await refusal(scope, receive, send)

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


def _request_id(body: bytes) -> str | None:
    """The id of a request, as the SDK sees it; None of what is no request."""
    try:
        message = jsonrpc_message_adapter.validate_python(
            pydantic_core.from_json(body), by_name=False
        )
    except ValueError:
        return None
    return str(message.id) if isinstance(message, JSONRPCRequest) else None


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
