"""What a tool call returns: a text to read and the same facts as structured content.

Text content and structured content are each complete, since a host may show the model only one
of them. An error is text only: several hosts hide the text where a structured part stands beside.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import ceil
from typing import Final, Literal

import mcp_types as types
from pydantic import BaseModel

from hostup_mcp.execution.faults import CHECK_BEFORE_REPEAT, Fault
from hostup_mcp.execution.job import Job
from hostup_mcp.execution.journal.errors import JournalError
from hostup_mcp.execution.journal.records import Claim, Completed, Ended, Execution, Output, Sent
from hostup_mcp.hostup.errors import HostUpError
from hostup_mcp.output.clean import encodable, encodable_json, one_line
from hostup_mcp.policy.judge import Refusal
from hostup_mcp.server.tools import ExecResult
from hostup_mcp.server.views import View, show
from hostup_mcp.suggestions.nearest import Advice

# What comes from HostUp is bounded here, and cannot start a line of its own.
_SENTENCE_MAX: Final = 1000
_FACT_MAX: Final = 4096
_NAME_MAX: Final = 255
_SOON_SECONDS: Final = 2
_HELD_UP_SECONDS: Final = 1.0
"""Turns that come sooner are the usual pace."""

_UNANSWERED: Final = Fault(
    "hostup_unanswered",
    "HostUp has not answered for this pid yet.",
    "Call again with a longer wait_seconds.",
)

ErrorStatus = Literal["running", "refused", "not_started", "unknown", "lost"]
"""What an error says of its command: under way; refused by the policy; certainly not run; may have
run; ran, and its result is gone."""


def error(
    code: str, message: str, advice: str, **facts: str | int | tuple[str, ...] | None
) -> types.CallToolResult:
    """An error result: code, what happened, what to do next, then one fact a line."""
    lines = [f"{code}: {one_line(message, _SENTENCE_MAX)} {advice}"]
    for name, value in facts.items():
        if isinstance(value, tuple):
            lines += [f"{name}: {one_line(item, _FACT_MAX)}" for item in value]
        elif value not in (None, ""):
            lines.append(f"{name}: {one_line(str(value), _FACT_MAX)}")
    return tool_result("\n".join(lines), None, is_error=True)


def request_failed(fault: HostUpError | JournalError | Fault) -> types.CallToolResult:
    """The error result for a request to HostUp, or to the journal, that failed."""
    return error(fault.code, fault.message, fault.advice)


def not_sent(fault: HostUpError | JournalError, vps_id: str, policy: str) -> types.CallToolResult:
    """The error result for a command that failed before it was an execution."""
    message = f"{fault.message} The command was not run."
    return error(
        fault.code, message, fault.advice, status="not_started", vps_id=vps_id, policy=policy
    )


def refused(refusal: Refusal, advice: Advice, command: str) -> types.CallToolResult:
    """The error result for a command that the policy does not let through."""
    first, last = refusal.offset + 1, refusal.offset + refusal.length
    where = f"characters {first} to {last}" if last > first else f"character {first}"
    part = command[refusal.offset : refusal.offset + refusal.length]
    return error(
        refusal.code,
        refusal.message,
        f"{advice.hint} Nothing was sent.",
        status="refused",
        refused_part=f"{one_line(part, 80)} ({where})" if part.strip() else None,
        nearest_allowed=advice.nearest,
        who_can_change_it=refusal.who_can_change_it,
        policy=refusal.policy,
    )


def windows_refused(policy: str) -> types.CallToolResult:
    """The error result for a command to a Windows guest."""
    return error(
        "guest_unsupported",
        "This VPS runs Windows, and which shell would read the command there is not known.",
        "Nothing was sent. Work on a Linux VPS.",
        status="refused",
        who_can_change_it="Nobody: no policy covers Windows guests.",
        policy=policy,
    )


@dataclass(frozen=True, slots=True)
class AnswerContext:
    """What an answer is made from, beside the execution.

    Attributes:
        elapsed: seconds that the command ran, so far or until its end was seen.
        again: while it runs, after how many seconds to ask again, and why.
        view: what the caller wants to see of a result.
        window_bytes: how much of each stream is shown by itself.
        notes: sentences that come first.
        held_up_seconds: for how long no request may go to HostUp.
    """

    elapsed: float
    again: tuple[int, str]
    view: View
    window_bytes: int
    notes: tuple[str, ...] = ()
    held_up_seconds: float = 0.0


def execution(job: Job, output: Output, context: AnswerContext) -> types.CallToolResult:
    """The result of a command, finished or not, or the error that stands in its place.

    Args:
        job: the command.
        output: what it wrote, if it is over.
        context: what else the answer is made from.

    Raises:
        LinePatternError: the pattern of the view cannot be used.
    """
    record = job.execution
    match record.state:
        case Completed() as state if state.is_prepared:
            return _completed(record, state, output, context)
        case Ended() as state:
            return _ended(record, state, context.notes)
        case _ if job.problem is not None:
            return held_up(job, job.problem)
        case Completed():
            return not_read_yet(job, context)
        case _ if not job.is_confirmed:
            return held_up(job, _UNANSWERED)
        case _:
            return _running(record, context)


def not_read_yet(job: Job, context: AnswerContext) -> types.CallToolResult:
    """The result of a command that has ended, while what it wrote is not ready to be shown."""
    note = "the command has ended; its output is long, and not ready to be shown yet"
    soon = replace(context, again=(_SOON_SECONDS, "its output is ready then"))
    return _running(job.execution, replace(soon, notes=(*context.notes, note)))


def unclear(record: Execution) -> types.CallToolResult:
    """The error result for a command of which it is not known whether it ran before."""
    state = record.state
    when = state.sent_at if isinstance(state, Ended) and state.sent_at else record.created_at
    return error(
        "earlier_outcome_unknown",
        f"The same command was sent to this VPS at {_time(when)}, and it is not known whether it "
        "ran, so it was not sent again.",
        CHECK_BEFORE_REPEAT,
        status="unknown",
        exec_id=record.exec_id,
        vps_id=record.vps_id,
        command=record.command,
        policy=record.policy,
    )


def too_many(at_work: int) -> types.CallToolResult:
    """The error result for an order beyond what one principal may have unfinished."""
    return error(
        "too_many_commands",
        f"{at_work} commands were started here and have not ended, so nothing was sent.",
        "Wait for some of them with vps_exec_result; the operator sets execution.commands_at_once.",
        status="not_started",
    )


def key_conflict(record: Execution) -> types.CallToolResult:
    """The error result for an idempotency key that another command has."""
    return error(
        "idempotency_key_taken",
        "This idempotency_key belongs to another command on this VPS, so nothing was sent.",
        "Give a new key for a new command.",
        exec_id=record.exec_id,
        command=record.command,
    )


def repeat_note(claim: Claim, record: Execution) -> tuple[str, ...]:
    """What a caller should know whose order was not run, since an earlier one stands for it."""
    if claim == "same_key":
        return (f"not run again: this idempotency_key was used at {_time(record.created_at)}",)
    if claim == "repeat":
        return (
            f"not run again: the same command was started at {_time(record.created_at)}, and its "
            "result was not read before; to run it anew, give a new idempotency_key",
        )
    return ()


def _completed(
    record: Execution, state: Completed, output: Output, context: AnswerContext
) -> types.CallToolResult:
    out, err = (
        show(name, output, context.view, context.window_bytes, record.exec_id)
        for name in ("stdout", "stderr")
    )
    notes = (*context.notes, *_dropped(state), *out.notes, *err.notes)
    one = context.view.streams
    rest = (out if one == ("stdout",) else err).next_offset if len(one) == 1 else None
    ended: Literal["exit", "signal", "abnormal"]
    match (state.exit_code, state.signal):
        case (0, _):
            ended, how = "exit", "exit code 0"
        case (None, None):
            ended, how = "abnormal", "ended abnormally: no exit code and no signal is known"
        case (None, signal):
            ended, how = "signal", f"no exit code: it was ended by signal: {signal}"
        case (code, _):
            ended, how = "exit", f"exit code {code}: it reports a failure"
    result = ExecResult(
        status="completed",
        exec_id=record.exec_id,
        vps_id=record.vps_id,
        pid=record.pid,
        command=record.command,
        policy=record.policy,
        ended=ended,
        exit_code=state.exit_code,
        signal=state.signal,
        stdout=out.text,
        stderr=err.text,
        stdout_bytes=out.total_bytes,
        stderr_bytes=err.total_bytes,
        next_offset=rest,
        notes=notes,
        elapsed_seconds=round(context.elapsed, 3),
        next_poll_seconds=None,
    )
    lines = [
        f"completed after {result.elapsed_seconds} s, {how}",
        *_identity(result),
        *(f"note: {note}" for note in notes),
        *_stream("stdout", result.stdout),
        *_stream("stderr", result.stderr),
    ]
    return tool_result("\n".join(lines), result)


def _dropped(state: Completed) -> tuple[str, ...]:
    if state.dropped_at is None:
        return ()
    return (f"the output was dropped at {_time(state.dropped_at)}, to keep the journal small",)


def _running(record: Execution, context: AnswerContext) -> types.CallToolResult:
    seconds, why = context.again
    notes = context.notes
    if context.held_up_seconds > _HELD_UP_SECONDS:
        held = ceil(context.held_up_seconds)
        notes = (*notes, f"HostUp's rate limit lets nothing be asked or sent for {held} s more")
        if held > seconds:
            seconds, why = held, "HostUp's rate limit holds until then"
    result = ExecResult(
        status="running",
        exec_id=record.exec_id,
        vps_id=record.vps_id,
        pid=record.pid,
        command=record.command,
        policy=record.policy,
        ended=None,
        exit_code=None,
        signal=None,
        stdout="",
        stderr="",
        stdout_bytes=0,
        stderr_bytes=0,
        next_offset=None,
        notes=notes,
        elapsed_seconds=round(context.elapsed, 3),
        next_poll_seconds=seconds,
    )
    started = "" if record.pid is not None else " (HostUp has not confirmed its start yet)"
    lines = [
        f"running{started} after {result.elapsed_seconds} s; there is no exit code and no output "
        "before the end. vps_exec_result with this exec_id waits for it; next_poll_seconds: "
        f"{seconds} ({why})",
        *_identity(result),
        *(f"note: {note}" for note in notes),
    ]
    return tool_result("\n".join(lines), result)


def _ended(record: Execution, state: Ended, notes: tuple[str, ...]) -> types.CallToolResult:
    message = state.message
    if state.kind == "not_started":
        message = f"{message} The command was not run."
    return error(
        state.code,
        message,
        state.advice,
        status=state.kind,
        exec_id=record.exec_id,
        vps_id=record.vps_id,
        pid=record.pid,
        command=record.command,
        policy=record.policy,
        note=notes,
    )


def held_up(job: Job, problem: Fault) -> types.CallToolResult:
    """The error result where an error stands between a command and its result.

    How far the command had come says what it may have done.
    """
    record = job.execution
    status: ErrorStatus = "running"
    advice = problem.advice
    if not job.is_confirmed:
        status, message = "unknown", problem.message
    elif job.pid is not None:
        message = f"The command was started, and its result cannot be read now. {problem.message}"
        advice += " Then call vps_exec_result with this exec_id; do not run it again."
    elif isinstance(record.state, Sent):
        status, message = "unknown", f"The command may have run. {problem.message}"
        advice += " Do not send it again before you have checked whether it ran."
    else:
        message = f"{problem.message} The command was not run so far."
    return error(
        problem.code,
        message,
        advice,
        status=status,
        exec_id=record.exec_id if job.is_confirmed else None,
        vps_id=record.vps_id,
        pid=job.pid,
        command=record.command,
        policy=record.policy,
    )


def _identity(result: ExecResult) -> list[str]:
    return [
        f"exec_id: {result.exec_id}",
        f"vps_id: {result.vps_id}",
        f"pid: {'not known yet' if result.pid is None else result.pid}",
        f"command: {result.command or '(not known: started elsewhere)'}",
        f"policy: {result.policy or '(not known: started elsewhere)'}",
    ]


def _stream(name: str, text: str) -> list[str]:
    return [f"{name}:", text.removesuffix("\n")] if text else [f"{name}: empty"]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def tool_result(
    text: str, structured: BaseModel | None, *, is_error: bool = False
) -> types.CallToolResult:
    """A result of one text, and the same facts as structured content if it is no error."""
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=encodable(text))],
        structured_content=None if structured is None else encodable_json(structured.model_dump()),
        is_error=is_error,
    )
