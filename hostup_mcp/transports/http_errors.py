"""HTTP error responses in the form that MCP clients read: a JSON-RPC error without an id."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from mcp_types import INTERNAL_ERROR, INVALID_REQUEST
from starlette.responses import Response

JSON: Final = "application/json"


def error_body(status: int, code: str, message: str, advice: str) -> bytes:
    """The body of an error response.

    Args:
        status: the HTTP status.
        code: a stable name for the reason.
        message: what is wrong, in one sentence.
        advice: what to do, in one sentence.
    """
    number = INVALID_REQUEST if status < 500 else INTERNAL_ERROR
    error = {"code": number, "message": f"{message} {advice}", "data": {"error": code}}
    return json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()


def error_response(
    status: int, code: str, message: str, advice: str, headers: Mapping[str, str] | None = None
) -> Response:
    """An error response; see `error_body`."""
    return Response(
        error_body(status, code, message, advice),
        status_code=status,
        headers={"Cache-Control": "no-store", **(headers or {})},
        media_type=JSON,
    )


def method_not_allowed(methods: str) -> Response:
    """The 405 for a path that takes only these methods, such as `GET, HEAD`."""
    return error_response(
        405,
        "method_not_allowed",
        "This path does not take this method.",
        f"It takes {methods}.",
        {"Allow": methods},
    )
