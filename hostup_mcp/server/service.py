"""What each tool does, apart from the protocol."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread
import mcp_types as types
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, ValidationError

from hostup_mcp.execution.faults import INTERNAL, PID_UNKNOWN, Fault
from hostup_mcp.execution.job import START_SECONDS, Job
from hostup_mcp.execution.journal.errors import JournalError, KeyConflict
from hostup_mcp.execution.journal.records import LOCAL, Completed, Ended
from hostup_mcp.execution.runner import Order, Runner
from hostup_mcp.hostup.client import HostUpClient
from hostup_mcp.hostup.errors import HostUpError, TimedOut
from hostup_mcp.hostup.inventory import Inventory, Machine
from hostup_mcp.hostup.models import VpsPage
from hostup_mcp.output.line_search import LinePatternError
from hostup_mcp.policy.judge import Policy, Refusal
from hostup_mcp.policy.policies import Policies
from hostup_mcp.server import results, tasks
from hostup_mcp.server.client_timeouts import budget_seconds, limit_seconds
from hostup_mcp.server.delivery import Receipts
from hostup_mcp.server.progress import Send, reporting
from hostup_mcp.server.refusal_log import RefusalLog
from hostup_mcp.server.tools import (
    WAIT_MAX_SECONDS,
    ListVpsArguments,
    VpsExecArguments,
    VpsExecResultArguments,
    argument_error,
    definitions,
)
from hostup_mcp.server.views import View
from hostup_mcp.server.vps_list import vps_list
from hostup_mcp.suggestions.nearest import advise

_logger = logging.getLogger(__name__)

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Limits of a call.

    Attributes:
        window_bytes: bytes of each stream that an answer shows by default.
        client_seconds: the timeout of every client, if the operator set one; None to look up each
            client's own (`client_timeouts`).
        keep_seconds: how long a result is kept, as a task reports it; None for ever.
        commands_at_once: how many unfinished commands one principal may have.
    """

    window_bytes: int = 16_384
    client_seconds: float | None = None
    keep_seconds: float | None = None
    commands_at_once: int = 256


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call.

    Attributes:
        send: sends progress to the client.
        client_name: the name in its `clientInfo`; None if it gave none.
        principal: whose call it is. A principal sees its own executions only.
        takes_tasks: whether the client accepts a task as the answer, and polls it.
    """

    send: Send
    client_name: str | None = None
    principal: str = LOCAL
    takes_tasks: bool = False


_ANSWER_BY_SHARE: Final = 0.9
"""The share of the client's timeout after which the answer must be ready."""
_ANSWER_LEAST_SECONDS: Final = 0.5
"""The time that preparing an answer always gets, even if the share is used up."""

Answer = types.CallToolResult | tasks.Task
"""The answer to a call: its result, or a task if the client accepts tasks."""


class ArgumentError(Exception):
    """An argument breaks its rule; the message is the sentence for the agent."""


class ToolService:
    """The tools' behaviour, apart from the protocol."""

    def __init__(
        self,
        client: HostUpClient,
        runner: Runner,
        policies: Policies,
        limits: CallLimits,
        receipts: Receipts | None = None,
        refusals: RefusalLog | None = None,
    ) -> None:
        """The service.

        Args:
            client: the HostUp API, for `list_vps`.
            runner: runs commands and finds results.
            policies: what may be run.
            limits: how much is shown, and how long a call may wait.
            receipts: knows when an answer was sent; None to count every answer as delivered.
            refusals: logs refused commands.
        """
        self._client = client
        self._runner = runner
        self._policies = policies
        self._inventory = Inventory(client)
        self._limits = limits
        self._receipts = receipts
        self._refusals = refusals or RefusalLog()
        self._calls: dict[str, Callable[[_Arguments, Caller], Awaitable[Answer]]] = {
            "list_vps": self._list_vps,
            "vps_exec": self._vps_exec,
            "vps_exec_result": self._vps_exec_result,
        }

    @property
    def tools(self) -> tuple[types.Tool, ...]:
        """The tools, in the order in which they are listed."""
        return definitions()

    async def call(self, name: str, arguments: dict[str, Any], caller: Caller) -> Answer:
        """Carry out one call. Every failure is an error result, except an unknown tool.

        Raises:
            MCPError: -32602, there is no such tool.
        """
        if name not in self._calls:
            known = ", ".join(self._calls)
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {name[:64]}. Tools: {known}.")
        try:
            return await self._calls[name](_Arguments(name, arguments), caller)
        except ArgumentError as fault:
            if name == "vps_exec":
                asked = arguments.get("vps_id"), arguments.get("command")
                self._refusals.note(caller.principal, *asked, "argument_invalid")
            return results.error("argument_invalid", str(fault), "Nothing was sent to HostUp.")
        except LinePatternError as fault:
            return results.error("pattern_invalid", str(fault), "Nothing was sent to HostUp.")
        except (HostUpError, JournalError) as fault:
            return results.request_failed(fault)
        except Exception:  # a bug of ours must not end the connection
            _logger.exception("tool %s", name)
            return results.error(
                "internal_error",
                "hostup-mcp hit an unexpected internal error.",
                "The operator can find the cause in the server's log.",
            )

    async def _list_vps(self, arguments: _Arguments, caller: Caller) -> types.CallToolResult:
        wanted = arguments.read(ListVpsArguments)
        page: VpsPage | None = None
        with anyio.move_on_after(self._budget(caller, WAIT_MAX_SECONDS)):
            async with reporting(caller.send, lambda: "asking HostUp for the list"):
                page = await self._client.list_vps(
                    limit=wanted.limit,
                    cursor=wanted.cursor,
                    name=wanted.name,
                    primary_ip=wanted.primary_ip,
                )
        if page is None:
            return results.request_failed(
                TimedOut("HostUp did not give the list in time.", "Try again a little later.")
            )
        for vps in page.data:
            self._inventory.note(vps)
        return vps_list(page, self._policies)

    async def _vps_exec(self, arguments: _Arguments, caller: Caller) -> Answer:
        wanted = arguments.read(VpsExecArguments)
        began = anyio.current_time()
        permitted = await self._permit(wanted, caller)
        if isinstance(permitted, types.CallToolResult):
            return permitted
        try:
            job, claim = await self._runner.start(permitted)
        except KeyConflict as conflict:
            return results.key_conflict(conflict.execution)
        except JournalError as fault:
            return results.not_sent(fault, wanted.vps_id, permitted.command.policy)
        if claim == "unclear":
            return results.unclear(job.execution)
        # A duplicate gets a result, not a task: only a result has a note that says so.
        if claim == "new" and caller.takes_tasks:
            return await self._task(job)
        notes = results.repeat_note(claim, job.execution)
        try:
            return await self._answer(job, wanted.wait_seconds, caller, began=began, notes=notes)
        except anyio.get_cancelled_exc_class():
            if claim == "new":
                job.abandon()
            raise

    async def _permit(
        self, wanted: VpsExecArguments, caller: Caller
    ) -> Order | types.CallToolResult:
        """The order to run, or the error result if the call is refused."""
        vps_id, command = wanted.vps_id, wanted.command
        asked = caller.principal, vps_id, command
        policy = self._policies.by_id(vps_id)
        # If the id alone decides the policy, a refusal needs no request to HostUp.
        verdict = policy.judge(command) if policy else None
        if policy and isinstance(verdict, Refusal):
            self._refusals.note(*asked, verdict.code, verdict.policy)
            return _refused(policy, verdict, command)
        try:
            seconds = self._budget(caller, wanted.wait_seconds + START_SECONDS)
            machine = await self._look_up(vps_id, seconds)
        except HostUpError as fault:
            return results.not_sent(fault, vps_id, (policy or self._policies.default).label)
        policy = policy or self._policies.find(vps_id, machine.name)
        if machine.is_windows:
            self._refusals.note(*asked, "guest_unsupported", policy.label)
            return results.windows_refused(policy.label)
        verdict = verdict or policy.judge(command)
        if isinstance(verdict, Refusal):
            self._refusals.note(*asked, verdict.code, verdict.policy)
            return _refused(policy, verdict, command)
        at_work = self._runner.at_work(caller.principal)
        if at_work >= self._limits.commands_at_once:
            self._refusals.note(*asked, "too_many_commands", policy.label)
            return results.too_many(at_work)
        key = wanted.idempotency_key or None
        return Order(vps_id, verdict, key, machine.service_status, caller.principal)

    def _budget(self, caller: Caller, wait_seconds: float) -> float:
        return budget_seconds(caller.client_name, wait_seconds, self._limits.client_seconds)

    def _limit(self, caller: Caller) -> float:
        """After how many seconds the caller's client times out."""
        return limit_seconds(caller.client_name, self._limits.client_seconds)

    async def _look_up(self, vps_id: str, seconds: float) -> Machine:
        """The VPS with this id. Meanwhile the runner checks whether it accepts commands.

        Raises:
            HostUpError: HostUp does not know the VPS, or did not answer within `seconds`.
        """
        found: Machine | HostUpError = TimedOut(
            "HostUp did not describe this VPS in time.", "Try again a little later."
        )
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._runner.look_ahead, vps_id)
                try:
                    found = await self._inventory.get(vps_id)
                except HostUpError as error:
                    found = error  # raised below, outside the group that would wrap it
        if isinstance(found, HostUpError):
            raise found
        return found

    async def _vps_exec_result(self, arguments: _Arguments, caller: Caller) -> types.CallToolResult:
        wanted = arguments.read(VpsExecResultArguments)
        if wanted.tail_lines and (wanted.offset or wanted.grep):
            raise ArgumentError("tail_lines cannot be combined with offset or grep.")
        view = View.of(wanted)
        if wanted.exec_id:
            execution = await self._runner.get(wanted.exec_id, caller.principal)
            if execution is None:
                return results.error(
                    "exec_id_unknown",
                    "There is no command with this exec_id.",
                    "Use the exec_id from vps_exec's answer, or give vps_id and pid.",
                )
            if wanted.vps_id not in ("", execution.vps_id) or wanted.pid not in (0, execution.pid):
                raise ArgumentError("exec_id belongs to another vps_id or pid: give exec_id alone.")
            job = await self._runner.resume(execution)
        elif wanted.vps_id and wanted.pid:
            followed = await self._runner.follow(wanted.vps_id, wanted.pid, caller.principal)
            if followed is None:
                return results.request_failed(PID_UNKNOWN)
            job = followed
        else:
            raise ArgumentError("exec_id is required, or vps_id and pid together.")
        return await self._answer(job, wanted.wait_seconds, caller, view=view, ask_now=True)

    async def _answer(
        self,
        job: Job,
        wait_seconds: int,
        caller: Caller,
        *,
        began: float | None = None,
        view: View | None = None,
        notes: tuple[str, ...] = (),
        ask_now: bool = False,
    ) -> types.CallToolResult:
        now = anyio.current_time()
        began = now if began is None else began
        spent = now - began
        budget = max(0.0, self._budget(caller, wait_seconds) - spent)
        longest = max(0.0, self._budget(caller, START_SECONDS) - spent)
        async with reporting(caller.send, job.describe):
            await job.wait(budget, ask_now=ask_now, start_seconds=longest)
        waited = max(anyio.current_time() - began, budget)
        left = self._limit(caller) * _ANSWER_BY_SHARE - (anyio.current_time() - began)
        with anyio.move_on_after(max(_ANSWER_LEAST_SECONDS, left)):
            return await self._result(job, waited, view or View(), notes)
        # A client that gets its answer too late has timed out, and would send the command again.
        return results.not_read_yet(job, self._context(job, waited, view or View(), notes))

    async def _result(
        self, job: Job, waited: float, view: View, notes: tuple[str, ...] = ()
    ) -> types.CallToolResult:
        context = self._context(job, waited, view, notes)
        try:
            async with self._runner.output(job.execution) as output:
                answer = await anyio.to_thread.run_sync(
                    results.execution, job, output, context, abandon_on_cancel=True
                )
        except JournalError as fault:
            return results.held_up(job, Fault.of(fault))
        except LinePatternError:
            raise
        except Exception:  # the command may run, so the caller must get its exec_id
            _logger.exception("execution %s", job.execution.exec_id)
            return results.held_up(job, INTERNAL)
        ended = job.execution
        if isinstance(ended.state, Completed) and not ended.state.is_prepared:
            pass  # the answer does not hold the result yet
        elif self._receipts is None:
            await self._runner.told(ended)
        else:
            self._receipts.expect(ended.exec_id, lambda: self._runner.was_told(ended))
        return answer

    def _context(
        self, job: Job, waited: float, view: View, notes: tuple[str, ...]
    ) -> results.AnswerContext:
        return results.AnswerContext(
            elapsed=self._runner.elapsed(job.execution),
            again=self._runner.suggest(job.execution, waited),
            view=view,
            window_bytes=self._limits.window_bytes,
            notes=notes,
            held_up_seconds=self._client.waiting_seconds,
        )

    # ------------------------------------------------------------------ tasks

    async def task(self, task_id: str, caller: Caller) -> tasks.Task | None:
        """This caller's task; None if there is none. Raises `JournalError`."""
        execution = await self._runner.get(task_id, caller.principal)
        return None if execution is None else await self._task(await self._runner.resume(execution))

    async def has_task(self, task_id: str, caller: Caller) -> bool:
        """Whether there is such a task. Raises `JournalError`."""
        return await self._runner.get(task_id, caller.principal) is not None

    async def cancel_task(self, task_id: str, caller: Caller) -> bool:
        """Cancel a task: a command that was not sent is never sent; one that was sent runs on.

        Returns whether there is such a task. Raises `JournalError`.
        """
        execution = await self._runner.get(task_id, caller.principal)
        if execution is None:
            return False
        (await self._runner.resume(execution)).abandon()
        return True

    async def _task(self, job: Job) -> tasks.Task:
        # A command whose output is still being prepared is not over.
        is_over = job.done.is_set() and isinstance(job.execution.state, Completed | Ended)
        elapsed = self._runner.elapsed(job.execution)
        return tasks.of(
            job,
            await self._result(job, 0.0, View()) if is_over else None,
            elapsed=elapsed,
            suggested=self._runner.suggest(job.execution, tasks.POLL_WAITED_SECONDS)[0],
            held_up_seconds=self._client.waiting_seconds,
            keep_seconds=self._limits.keep_seconds,
        )


class _Arguments:
    """The raw arguments of a call to one tool."""

    def __init__(self, tool: str, raw: dict[str, Any]) -> None:
        self._tool = tool
        self._raw = raw

    def read(self, model: type[_Model]) -> _Model:
        """The validated arguments.

        Raises:
            ArgumentError: an argument breaks its rule.
        """
        try:
            return model.model_validate(self._raw)
        except ValidationError as error:
            raise ArgumentError(argument_error(self._tool, model, error)) from None


def _refused(policy: Policy, refusal: Refusal, command: str) -> types.CallToolResult:
    return results.refused(refusal, advise(policy, command, refusal), command)
