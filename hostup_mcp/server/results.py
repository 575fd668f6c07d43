"""What a tool call returns: a text to read and the same facts as structured content.

Text content and structured content are each complete, since a host may show the model only one
of them. An error is text only: several hosts hide the text if there is structured content too.
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

# Texts from HostUp are cut to these lengths, and put on one line.
_SENTENCE_MAX: Final = 1000
_FACT_MAX: Final = 4096
_NAME_MAX: Final = 255
_SOON_SECONDS: Final = 2
_HELD_UP_SECONDS: Final = 1.0
"""A shorter wait for the rate limit is normal, so no note mentions it."""

_UNANSWERED: Final = Fault(
    "hostup_unanswered",
    "HostUp has not answered for this pid yet.",
    "Call again with a longer wait_seconds.",
)

ErrorStatus = Literal["running", "refused", "not_started", "unknown", "lost"]
"""What happened to the command of an error: it still runs; the policy refused it; it did certainly
not run; it may have run; it ran, and its result is lost."""


def error(
    code: str, message: str, advice: str, **facts: str | int | tuple[str, ...] | None
) -> types.CallToolResult:
    """An error result: code, what happened, what to do next, then one fact per line."""
    lines = [f"{code}: {one_line(message, _SENTENCE_MAX)} {advice}"]
    for name, value in facts.items():
        if isinstance(value, tuple):
            lines += [f"{name}: {one_line(item, _FACT_MAX)}" for item in value]
        elif value not in (None, ""):
            lines.append(f"{name}: {one_line(str(value), _FACT_MAX)}")
    return tool_result("\n".join(lines), None, is_error=True)


def request_failed(fault: HostUpError | JournalError | Fault) -> types.CallToolResult:
    """The error result for a request to HostUp or to the journal that failed."""
    return error(fault.code, fault.message, fault.advice)


def not_sent(fault: HostUpError | JournalError, vps_id: str, policy: str) -> types.CallToolResult:
    """The error result for a command that failed before its execution was recorded."""
    message = f"{fault.message} The command was not run."
    return error(
        fault.code, message, fault.advice, status="not_started", vps_id=vps_id, policy=policy
    )


def refused(refusal: Refusal, advice: Advice, command: str) -> types.CallToolResult:
    """The error result for a command that the policy refuses."""
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
        "This VPS runs Windows. Which shell would read the command there is not known.",
        "Nothing was sent. Use a Linux VPS.",
        status="refused",
        who_can_change_it="Nobody: no policy covers Windows guests.",
        policy=policy,
    )


@dataclass(frozen=True, slots=True)
class AnswerContext:
    """What an answer needs beside the execution.

    Attributes:
        elapsed: seconds that the command has run, or ran until its end was seen.
        again: while it runs: seconds until the next poll, and the reason.
        view: which part of the output the caller wants.
        window_bytes: bytes of each stream that are shown by default.
        notes: the first notes of the answer.
        held_up_seconds: seconds until HostUp's rate limit allows the next request.
    """

    elapsed: float
    again: tuple[int, str]
    view: View
    window_bytes: int
    notes: tuple[str, ...] = ()
    held_up_seconds: float = 0.0


def execution(job: Job, output: Output, context: AnswerContext) -> types.CallToolResult:
    """The result of a command, running or completed, or the error to return instead.

    Args:
        job: the command.
        output: its output, if it has ended.
        context: what else the answer needs.

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
    """The result of a command that has ended while its output is still being prepared."""
    note = "the command has ended; its output is long and is still being prepared"
    soon = replace(context, again=(_SOON_SECONDS, "the output should be ready then"))
    return _running(job.execution, replace(soon, notes=(*context.notes, note)))


def unclear(record: Execution) -> types.CallToolResult:
    """The error result for a duplicate of a command that may have run."""
    state = record.state
    when = state.sent_at if isinstance(state, Ended) and state.sent_at else record.created_at
    return error(
        "earlier_outcome_unknown",
        f"The same command was sent to this VPS at {_time(when)}. It is not known whether it ran, "
        "so it was not sent again.",
        CHECK_BEFORE_REPEAT,
        status="unknown",
        exec_id=record.exec_id,
        vps_id=record.vps_id,
        command=record.command,
        policy=record.policy,
    )


def too_many(at_work: int) -> types.CallToolResult:
    """The error result for a principal that has too many unfinished commands."""
    return error(
        "too_many_commands",
        f"You already have {at_work} unfinished commands, so this one was not sent.",
        "Wait for some of them with vps_exec_result. The operator can raise the limit "
        "(execution.commands_at_once).",
        status="not_started",
    )


def key_conflict(record: Execution) -> types.CallToolResult:
    """The error result for an idempotency key that was used for another command."""
    return error(
        "idempotency_key_taken",
        "This idempotency_key was used for another command on this VPS, so nothing was sent.",
        "Use a new key for a new command.",
        exec_id=record.exec_id,
        command=record.command,
    )


def repeat_note(claim: Claim, record: Execution) -> tuple[str, ...]:
    """The note for a duplicate: it was not run, and the answer is the earlier execution's."""
    if claim == "same_key":
        return (f"not run again: this idempotency_key was used at {_time(record.created_at)}",)
    if claim == "repeat":
        return (
            f"not run again: the same command was started at {_time(record.created_at)}, and its "
            "result had not been read; to run it again, give a new idempotency_key",
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
            ended, how = "signal", f"no exit code: signal {signal} ended it"
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
    return (f"the output was deleted at {_time(state.dropped_at)} to keep the journal small",)


def _running(record: Execution, context: AnswerContext) -> types.CallToolResult:
    seconds, why = context.again
    notes = context.notes
    if context.held_up_seconds > _HELD_UP_SECONDS:
        held = ceil(context.held_up_seconds)
        notes = (*notes, f"HostUp's rate limit blocks all requests for {held} s more")
        if held > seconds:
            seconds, why = held, "HostUp's rate limit blocks requests until then"
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
    started = "" if record.pid is not None else " (HostUp has not confirmed the start yet)"
    lines = [
        f"running{started} after {result.elapsed_seconds} s. Exit code and output arrive only when "
        "the command has ended. To wait for it, call vps_exec_result with this exec_id; "
        f"next_poll_seconds: {seconds} ({why})",
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
    """The error result for a command whose result an error holds up.

    Its status says how far the command got.
    """
    record = job.execution
    status: ErrorStatus = "running"
    advice = problem.advice
    if not job.is_confirmed:
        status, message = "unknown", problem.message
    elif job.pid is not None:
        message = f"The command was started, but its result cannot be read now. {problem.message}"
        advice += " Then call vps_exec_result with this exec_id; do not run it again."
    elif isinstance(record.state, Sent):
        status, message = "unknown", f"The command may have run. {problem.message}"
        advice += " Check whether it ran before you send it again."
    else:
        message = f"{problem.message} The command has not run yet."
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
    """A result with one text and, unless it is an error, the same facts as structured content."""
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=encodable(text))],
        structured_content=None if structured is None else encodable_json(structured.model_dump()),
        is_error=is_error,
    )
