"""Applies the budget of tool calls over HTTP: at the request, and around the call itself.

Over Streamable HTTP a call too many is refused with status 429. Over SSE that status would end the
client's whole session, so there the call itself gets an error.
"""

from __future__ import annotations

from typing import Any, Final, cast

import pydantic_core
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from hostup_mcp.transports.asgi_scope import principal
from hostup_mcp.transports.call_budget import CallBudget
from hostup_mcp.transports.http_errors import error_response
from hostup_mcp.transports.open_requests import open_request
from hostup_mcp.transports.request_size import whole_body

_CALL: Final = "tools/call"
_ADMITTED: Final = "call_admitted"
"""In the state of a request whose call has been counted."""
_REQUEST_CANCELLED: Final = -32800


class CallAdmission:
    """ASGI middleware that counts tool calls, and refuses those over the budget."""

    def __init__(self, app: ASGIApp, budget: CallBudget) -> None:
        """The middleware; it must be behind `RequestSize`."""
        self._app = app
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 429."""
        if scope["method"] == "POST":
            body, receive = await whole_body(receive)
            if _is_call(body):
                if refused := self._budget.admit(principal(scope)):
                    refusal = error_response(
                        429,
                        "too_many_calls",
                        refused.reason,
                        refused.advice,
                        {"Retry-After": str(refused.wait)},
                    )
                    await refusal(scope, receive, send)
                    return
                scope["state"][_ADMITTED] = True
        await self._app(scope, receive, send)


class CallsOverHttp:
    """Server middleware around each tool call that came over HTTP.

    It keeps the call within the budget, and cancels it when its client leaves; the SDK does so on
    some transports only. The command itself runs on.
    """

    def __init__(self, budget: CallBudget) -> None:
        self._budget = budget

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Make the call, or raise `MCPError`."""
        request: object = ctx.request
        if ctx.method != _CALL or not isinstance(request, Request):
            return await call_next(ctx)
        scope = request.scope
        admitted = _ADMITTED in scope["state"]
        with (
            self._budget.in_flight(principal(scope), admitted=admitted),
            open_request(scope).cancelled_on_leaving(),
        ):
            return await call_next(ctx)
        raise MCPError(_REQUEST_CANCELLED, "The client left.")


def _is_call(body: bytes) -> bool:
    try:
        message = cast("object", pydantic_core.from_json(body))
    except ValueError:
        return True  # the SDK may accept what this parser does not, so it is counted
    return isinstance(message, dict) and cast("dict[str, object]", message).get("method") == _CALL
