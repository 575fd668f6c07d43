"""The official client with the Tasks extension, which the SDK leaves to its users to write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import anyio
import mcp_types as types
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from pydantic import ConfigDict

from hostup_mcp.server.tasks import EXTENSION

DECLARED: dict[str, Any] = {"extensions": {EXTENSION: {}}}


class CreateTaskResult(types.Result):
    """The answer to a call that became a task."""

    model_config = ConfigDict(extra="forbid")

    result_type: Literal["task"]
    task_id: str
    status: str
    status_message: str
    created_at: str
    last_updated_at: str
    ttl_ms: int | None
    poll_interval_ms: int


class TaskParams(types.RequestParams):
    """Parameters of the three methods."""

    task_id: str


class TaskState(types.Result):
    """The answer to `tasks/get`."""

    model_config = ConfigDict(extra="forbid")

    result_type: Literal["complete"]
    task_id: str
    status: str
    status_message: str = ""
    created_at: str
    last_updated_at: str
    ttl_ms: int | None
    poll_interval_ms: int | None = None
    result: types.CallToolResult | None = None


class GetTask(types.Request[TaskParams, Literal["tasks/get"]]):
    """`tasks/get`; over HTTP its id is in `Mcp-Name` too."""

    name_param = "taskId"
    method: Literal["tasks/get"] = "tasks/get"
    params: TaskParams


class Tasks(ClientExtension):
    """Asks for every task that a call becomes until it is over, and returns its result.

    Attributes:
        created: the tasks so far.
        seen: what `tasks/get` said, over all of them.
    """

    identifier = EXTENSION

    def __init__(self) -> None:
        self.created: list[CreateTaskResult] = []
        self.seen: list[TaskState] = []

    def claims(self) -> Sequence[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=CreateTaskResult, resolve=self._resolve)]

    async def _resolve(self, task: CreateTaskResult, context: ClaimContext) -> types.CallToolResult:
        self.created.append(task)
        pause = task.poll_interval_ms
        while True:
            await anyio.sleep(pause / 1000)
            request = GetTask(params=TaskParams(task_id=task.task_id))
            state = await context.session.send_request(request, TaskState)
            self.seen.append(state)
            if state.result is not None:
                return state.result
            assert state.poll_interval_ms
            pause = state.poll_interval_ms
