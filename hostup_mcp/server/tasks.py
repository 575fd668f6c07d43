"""The Tasks extension of MCP 2026-07-28: a client polls a command as a task.

Source: github.com/modelcontextprotocol/ext-tasks, `specification/2026-07-28/tasks.md`. The SDK
supports extensions but does not contain this one. A task is a view of an execution in the journal,
with `exec_id` as its id. It has no state of its own, so it survives a restart with the execution.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeVar

import mcp_types as types
from mcp.server.context import HandlerResult, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_METHOD_HEADER, MCP_NAME_HEADER, decode_header_value
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field, JsonValue

from hostup_mcp.execution.faults import CANCELLED
from hostup_mcp.execution.job import Job
from hostup_mcp.execution.journal.errors import JournalError
from hostup_mcp.execution.journal.records import Completed, Ended, Execution, Running, Sent

EXTENSION: Final = "io.modelcontextprotocol/tasks"

# Polling a task sends no request to HostUp, because the server polls the command in the background.
# Most commands end within seconds, so the first polls may come often.
_EARLY_SECONDS: Final = 3.0
_EARLY_POLL_SECONDS: Final = 0.25
# With this as `waited`, the runner suggests a third of the elapsed time. It pauses as long itself
# between two polls of HostUp.
POLL_WAITED_SECONDS: Final = 30.0

Context = ServerRequestContext[Any, Any]
_Found = TypeVar("_Found")
Status = Literal["working", "completed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Task:
    """A task as a client sees it.

    `input_required` and `failed` of the specification do not occur: a command takes no input, and
    its errors are results of the tool.

    Attributes:
        task_id: its id, which is the execution's exec_id.
        status: `working` until the result is here, or it is certain that there will be none;
            `cancelled` only if the command was never sent.
        message: what the command is doing, or why there is no result; may be empty.
        created_at: seconds since the epoch.
        updated_at: when the status or the command's state last changed; seconds since the epoch.
        keep_seconds: how long after `created_at` its result is kept; None for ever.
        poll_seconds: seconds until the next poll; None once it is over.
        result: the tool's result; only with `completed`.
    """

    task_id: str
    status: Status
    message: str
    created_at: float
    updated_at: float
    keep_seconds: float | None = None
    poll_seconds: float | None = None
    result: types.CallToolResult | None = None

    def created(self) -> dict[str, Any]:
        """The answer to the call that created it: `CreateTaskResult`."""
        return {"resultType": "task", **self._fields()}

    def detailed(self) -> dict[str, Any]:
        """The answer to `tasks/get`: `GetTaskResult`."""
        answer = {"resultType": "complete", **self._fields()}
        if self.result is not None:
            answer["result"] = self.result.model_dump(by_alias=True, mode="json", exclude_none=True)
        return answer

    def _fields(self) -> dict[str, Any]:
        keep, poll = self.keep_seconds, self.poll_seconds
        fields = {
            "taskId": self.task_id,
            "status": self.status,
            "createdAt": _iso(self.created_at),
            "lastUpdatedAt": _iso(self.updated_at),
            # null means that the result is kept for ever, so it must be sent.
            "ttlMs": None if keep is None else round(keep * 1000),
        }
        if self.message:
            fields["statusMessage"] = self.message
        if poll is not None:
            fields["pollIntervalMs"] = round(poll * 1000)
        return fields


def of(
    job: Job,
    result: types.CallToolResult | None,
    *,
    elapsed: float,
    suggested: float,
    held_up_seconds: float,
    keep_seconds: float | None,
) -> Task:
    """The task that shows an execution.

    Args:
        job: the execution, as this process drives it.
        result: the tool's result, once the execution is over.
        elapsed: seconds that the command has run, or ran until its end was seen.
        suggested: seconds until the next poll, as the runner suggests.
        held_up_seconds: seconds until HostUp's rate limit allows the next request.
        keep_seconds: how long a result is kept after the command's end; None for ever.
    """
    record = job.execution
    task = Task(
        task_id=record.exec_id,
        status="working",
        message="",
        created_at=record.created_at,
        updated_at=_updated_at(record),
    )
    if result is None:
        poll_seconds = _EARLY_POLL_SECONDS if elapsed < _EARLY_SECONDS else suggested
        return replace(
            task,
            message=_working(job, elapsed),
            keep_seconds=None if keep_seconds is None else elapsed + keep_seconds,
            poll_seconds=max(poll_seconds, held_up_seconds),
        )
    until_end = task.updated_at - task.created_at
    task = replace(task, keep_seconds=None if keep_seconds is None else until_end + keep_seconds)
    if isinstance(record.state, Ended) and record.state.code == CANCELLED.code:
        return replace(task, status="cancelled", message=record.state.message)
    return replace(task, status="completed", result=result)


def _working(job: Job, elapsed: float) -> str:
    problem = f" {job.problem.code}: {job.problem.message}" if job.problem else ""
    return (
        f"{elapsed:.0f} s: {job.describe()}.{problem} HostUp cannot stop a command that was sent: "
        "after tasks/cancel it runs on, and its result is kept."
    )


def _updated_at(record: Execution) -> float:
    match record.state:
        case Sent(sent_at=at) | Running(sent_at=at):
            return at
        case Completed(finished_at=at) | Ended(ended_at=at):
            return at
        case _:
            return record.created_at


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


# ------------------------------------------------------------------ the protocol


class TaskParams(types.RequestParams):
    """Parameters of `tasks/get` and `tasks/cancel`.

    A missing id counts as an unknown one, so that a client that may not use tasks gets that error
    first.
    """

    task_id: str = ""


class UpdateTaskParams(TaskParams):
    """Parameters of `tasks/update`."""

    input_responses: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])


Find = Callable[[Context, str], Awaitable[Task | None]]
"""Finds a task of this request's caller by its id; None if there is none."""

Know = Callable[[Context, str], Awaitable[bool]]
"""Whether this request's caller has a task with this id."""


def are_declared(context: Context) -> bool:
    """Whether this request's client accepts a task as an answer."""
    if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        return False
    capabilities = context.session.client_capabilities
    return bool(capabilities and EXTENSION in (capabilities.extensions or {}))


def serve(server: Server[Any], find: Find, know: Know, cancel: Know) -> None:
    """Serve `tasks/get`, `tasks/update` and `tasks/cancel`, and advertise the extension.

    Args:
        server: the server that gets them.
        find: finds a task.
        know: says whether there is such a task.
        cancel: says the same, and stops the command if it was not sent yet.
    """

    async def get_task(context: Context, params: TaskParams) -> HandlerResult:
        return (await _known(context, params, find)).detailed()

    async def update_task(context: Context, params: UpdateTaskParams) -> HandlerResult:
        # Tasks never ask for input, so there is no request that a response could belong to.
        await _known(context, params, know)
        return types.EmptyResult()

    async def cancel_task(context: Context, params: TaskParams) -> HandlerResult:
        await _known(context, params, cancel)
        return types.EmptyResult()

    server.add_request_handler("tasks/get", TaskParams, get_task)
    server.add_request_handler("tasks/update", UpdateTaskParams, update_task)
    server.add_request_handler("tasks/cancel", TaskParams, cancel_task)
    server.extensions[EXTENSION] = {}


async def _known(
    context: Context, params: TaskParams, look: Callable[[Context, str], Awaitable[_Found | None]]
) -> _Found:
    """What `look` finds of a task, if this request may ask for it and it exists.

    Raises:
        MCPError: as `_admit` says; -32602, there is none; -32603, the journal cannot be read.
    """
    _admit(context, params.task_id)
    try:
        found = await look(context, params.task_id)
    except JournalError as fault:
        message = f"{fault.code}: {fault.message} {fault.advice}"
        raise MCPError(types.INTERNAL_ERROR, message) from None
    if not found:
        raise MCPError(
            types.INVALID_PARAMS,
            "There is no task with this taskId. Use the taskId from vps_exec's answer.",
        )
    return found


def _admit(context: Context, task_id: str) -> None:
    """Check that a request may ask for a task.

    Raises:
        MCPError: -32601, this protocol version has no tasks; -32020, the routing header names
            another task; -32021, the client has not declared the extension.
    """
    if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        raise MCPError(types.METHOD_NOT_FOUND, "Method not found", context.method)
    headers = getattr(context.request, "headers", {})
    # The SDK ensures that Streamable HTTP has the method's header here; SSE has none.
    if MCP_METHOD_HEADER in headers and (
        decode_header_value(headers.get(MCP_NAME_HEADER)) != task_id
    ):
        raise MCPError(
            types.HEADER_MISMATCH, "The Mcp-Name header does not match the request's taskId."
        )
    if not are_declared(context):
        raise not_declared()


def not_declared() -> MCPError:
    """The error -32021, with the capability that the client must declare."""
    needed = types.ClientCapabilities(extensions={EXTENSION: {}})
    data = types.MissingRequiredClientCapabilityErrorData(required_capabilities=needed)
    return MCPError(
        types.MISSING_REQUIRED_CLIENT_CAPABILITY,
        f"The client has not declared the extension {EXTENSION}.",
        data.model_dump(by_alias=True, mode="json", exclude_none=True),
    )
