"""The sandbox's HTTP side: the documented endpoints, their errors, scopes, paging and rate limit.

HostUp leaves two replies undocumented. Here, a pid that is unknown, or whose result was read, gets
404 `not_found`; a start on a VPS that takes no commands gets 409 `vps_not_ready`.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pydantic import JsonValue, TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hostup_mcp.hostup.agent import (
    COMMAND_MAX_CHARACTERS,
    AgentAvailability,
    StartedCommand,
)
from hostup_mcp.hostup.models import LIST_LIMIT_MAX, Vps, VpsStatus
from hostup_mcp.sandbox.guests import Exit, Guest, GuestError, UnknownPid

READ: Final = "read:vm"
WRITE: Final = "write:vm"

_BASE: Final = "/api/v2/vps"
_WINDOW_SECONDS: Final = 60.0
_BODY_MAX_BYTES: Final = 65_536
_LIST_QUERY: Final = ("limit", "cursor", "name", "primaryIp", "include")

_PROBLEMS: Final = {
    "invalid_request": (400, "Invalid request"),
    "unauthorized": (401, "Unauthorized"),
    "forbidden": (403, "Forbidden"),
    "not_found": (404, "Not found"),
    "method_not_allowed": (405, "Method not allowed"),
    "vps_not_ready": (409, "VPS not ready"),
    "rate_limit_exceeded": (429, "Too many requests"),
    "internal_error": (500, "Internal server error"),
}


@dataclass(frozen=True, slots=True)
class SandboxVps:
    """One VPS: its entry in the list, and the guest that runs its commands."""

    vps: Vps
    guest: Guest


class _Problem(Exception):
    """A refused request; `pointer` names the member of the request that is wrong."""

    def __init__(
        self,
        code: str,
        detail: str,
        pointer: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        self.code = code
        self.detail = detail
        self.pointer = pointer
        self.headers = headers or {}


class SandboxApi:
    """The API.

    Attributes:
        app: the ASGI application.
        last_request_at: seconds on the monotonic clock; at first, when this was made.
    """

    def __init__(
        self, fleet: Sequence[SandboxVps], keys: dict[str, frozenset[str]], rate_limit: int
    ) -> None:
        """An API for these VPSs.

        Args:
            fleet: the VPSs, in the order of the list.
            keys: the scopes of each API key.
            rate_limit: requests per minute for each key.
        """
        self._fleet = {item.vps.id: item for item in fleet}
        self._keys = keys
        self._rate_limit = rate_limit
        self._windows: dict[str, tuple[float, int]] = {}
        self.last_request_at = time.monotonic()
        self._started = time.monotonic()
        routes = [
            Route(_BASE, self._reading(self._list, *_LIST_QUERY)),
            Route(_BASE + "/{id}", self._reading(self._get)),
            Route(_BASE + "/{id}/status", self._reading(self._status)),
            Route(_BASE + "/{id}/agent/exec", self._agent, methods=["GET", "POST"]),
        ]
        self.app = Starlette(
            routes=routes,
            lifespan=self._lifespan,
            exception_handlers={
                _Problem: _on_problem,
                HTTPException: _on_http_exception,
                Exception: _on_unexpected,
            },
        )

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            for item in self._fleet.values():
                await item.guest.open()
                stack.push_async_callback(item.guest.close)
            yield

    def _reading(
        self, handle: Callable[[Request], Awaitable[JsonValue]], *query: str
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            self._admit(request, READ)
            _only(query, request)
            return JSONResponse(await handle(request))

        return endpoint

    async def _agent(self, request: Request) -> Response:
        starting = request.method == "POST"
        self._admit(request, WRITE if starting or "pid" in request.query_params else READ)
        _only(() if starting else ("pid",), request)
        return JSONResponse(await (self._exec(request) if starting else self._read(request)))

    def _admit(self, request: Request, scope: str) -> None:
        """Check the key, then the rate limit, then the scope."""
        self.last_request_at = time.monotonic()
        kind, _, key = request.headers.get("authorization", "").partition(" ")
        scopes = self._keys.get(key.strip()) if kind.lower() == "bearer" else None
        if scopes is None:
            raise _Problem("unauthorized", "Authentication is required.")
        now = time.time()
        began, used = self._windows.get(key, (now, 0))
        if now - began >= _WINDOW_SECONDS:
            began, used = now, 0
        self._windows[key] = (began, used + 1)
        if used >= self._rate_limit:
            reset = began + _WINDOW_SECONDS
            raise _Problem(
                "rate_limit_exceeded",
                "Too many requests. Retry after the limit resets.",
                headers={
                    "Retry-After": str(max(1, round(reset - now))),
                    "X-RateLimit-Limit": str(self._rate_limit),
                    "X-RateLimit-Remaining": "0",
                    "X-RateLimit-Reset": _iso(reset),
                },
            )
        if scope not in scopes:
            raise _Problem("forbidden", f"The API key lacks the scope {scope}.")

    def _vps(self, request: Request) -> SandboxVps:
        found = self._fleet.get(request.path_params["id"])
        if found is None:
            raise _Problem("not_found", "The requested resource could not be found.")
        return found

    async def _list(self, request: Request) -> JsonValue:
        query = request.query_params
        limit = _integer(query.get("limit", "50"), "/limit", 1, LIST_LIMIT_MAX)
        start = _decode_cursor(query["cursor"]) if query.get("cursor") else 0
        for value in query.getlist("include"):
            if value != "pendingMaintenance":
                raise _Problem("invalid_request", "An include is not known.", "/include")
        found = [
            item.vps
            for item in self._fleet.values()
            if query.get("primaryIp") in (None, item.vps.primary_ip)
            and query.get("name", item.vps.name or "").lower() == (item.vps.name or "").lower()
        ]
        page = found[start : start + limit]
        more = start + limit < len(found)
        return {
            "data": [_item(vps, query.getlist("include")) for vps in page],
            "nextCursor": _encode_cursor(start + limit) if more else None,
        }

    async def _get(self, request: Request) -> JsonValue:
        return _item(self._vps(request).vps, [])

    async def _status(self, request: Request) -> JsonValue:
        item = self._vps(request)
        running = (await item.guest.availability()).vm_running
        status = VpsStatus(
            id=item.vps.id,
            power_state="running" if running else "stopped",
            uptime_seconds=round(time.monotonic() - self._started, 1) if running else None,
            cpu_cores=item.vps.resources.cpu_cores if item.vps.resources else None,
        )
        return status.model_dump(by_alias=True, mode="json")

    async def _read(self, request: Request) -> JsonValue:
        guest = self._vps(request).guest
        if "pid" not in request.query_params:
            state = await guest.availability()
            return AgentAvailability(
                available=state.available, reason=state.reason, vm_running=state.vm_running
            ).model_dump(by_alias=True, mode="json")
        pid = _integer(request.query_params["pid"], "/pid", 1, 2**63 - 1)
        try:
            result = await guest.read(pid)
        except UnknownPid as error:
            raise _Problem("not_found", str(error)) from None
        return {"exited": False} if result is None else _result(pid, result)

    async def _exec(self, request: Request) -> JsonValue:
        item = self._vps(request)
        command = await _command(request)
        if not (await item.guest.availability()).available:
            raise _Problem("vps_not_ready", "The VPS takes no commands now.")
        try:
            pid = await item.guest.start(command)
        except GuestError as error:
            raise _Problem("internal_error", str(error)) from None
        started = StartedCommand(pid=pid).model_dump(by_alias=True)
        return {**started, "pollUrl": f"{_BASE}/{item.vps.id}/agent/exec?pid={pid}"}


def _only(names: Sequence[str], request: Request) -> None:
    """Refuse other query parameters: how HostUp treats them is unknown, so we send none."""
    for name in request.query_params:
        if name not in names:
            raise _Problem("invalid_request", "A query parameter is not known.", f"/{name}")


def _item(vps: Vps, include: Sequence[str]) -> dict[str, JsonValue]:
    item: dict[str, JsonValue] = vps.model_dump(by_alias=True, mode="json")
    if "pendingMaintenance" in include:
        item |= {"pendingMaintenance": None, "pendingMaintenanceHasDeadline": False}
    return item


def _result(pid: int, result: Exit) -> dict[str, JsonValue]:
    reply: dict[str, JsonValue] = {
        "pid": pid,
        "exited": True,
        "exitCode": result.exit_code,
        "stdout": result.stdout.decode("utf-8", "replace"),
        "stderr": result.stderr.decode("utf-8", "replace"),
    }
    if result.signal is not None:
        reply["signal"] = result.signal
    if result.stdout_truncated:
        reply["out-truncated"] = True
    if result.stderr_truncated:
        reply["err-truncated"] = True
    return reply


async def _command(request: Request) -> str:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY_MAX_BYTES:
            raise _Problem("invalid_request", "The request body is too large.")
    try:
        document = _OBJECT.validate_json(bytes(body))
    except ValidationError:
        raise _Problem("invalid_request", "The request body is not a JSON object.") from None
    command = document.get("command")
    if not isinstance(command, str) or not 1 <= len(command) <= COMMAND_MAX_CHARACTERS:
        detail = f"`command` must be a string of 1 to {COMMAND_MAX_CHARACTERS} characters."
        raise _Problem("invalid_request", detail, "/command")
    return command


_OBJECT: Final = TypeAdapter(dict[str, JsonValue])


def _integer(text: str, pointer: str, least: int, most: int) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
    if not least <= number <= most:
        detail = f"`{pointer[1:]}` must be an integer from {least} to {most}."
        raise _Problem("invalid_request", detail, pointer)
    return number


def _encode_cursor(start: int) -> str:
    return base64.urlsafe_b64encode(f"from:{start}".encode()).decode()


def _decode_cursor(cursor: str) -> int:
    try:
        text = base64.b64decode(cursor, altchars=b"-_", validate=True).decode("ascii")
    except ValueError:
        text = ""
    if not text.startswith("from:"):
        raise _Problem("invalid_request", "`cursor` is not one that this API gave.", "/cursor")
    return _integer(text.removeprefix("from:"), "/cursor", 0, 10**9)


async def _on_problem(request: Request, error: Exception) -> Response:
    if not isinstance(error, _Problem):
        raise error
    status, title = _PROBLEMS[error.code]
    document: dict[str, JsonValue] = {
        "type": f"https://developer.hostup.se/errors/{error.code}",
        "title": title,
        "status": status,
        "detail": error.detail,
        "code": error.code,
        "instance": request.url.path,
        "requestId": f"req_{secrets.token_hex(13)}",
        "timestamp": _iso(time.time()),
    }
    if error.pointer:
        document["errors"] = [
            {"pointer": error.pointer, "detail": error.detail, "code": error.code}
        ]
    return JSONResponse(
        document, status, headers=error.headers, media_type="application/problem+json"
    )


async def _on_http_exception(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 405:
        problem = _Problem("method_not_allowed", "The method is not allowed here.")
        problem.headers = dict(getattr(error, "headers", None) or {})
    else:
        problem = _Problem("not_found", "The requested resource could not be found.")
    return await _on_problem(request, problem)


async def _on_unexpected(request: Request, _error: Exception) -> Response:
    return await _on_problem(request, _Problem("internal_error", "An unexpected error occurred."))


def _iso(seconds: float) -> str:
    time_ = datetime.fromtimestamp(seconds, UTC)
    return time_.isoformat(timespec="milliseconds").replace("+00:00", "Z")
