"""Turns rows of the table into executions and outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, cast

from hostup_mcp.execution.journal.records import (
    Completed,
    Ended,
    Execution,
    Intended,
    Output,
    Running,
    Sent,
    State,
    StateName,
    Stream,
)
from hostup_mcp.execution.journal.sqlite.database import Row

COLUMNS: Final = (
    "exec_id, vps_id, command, policy, principal, created_at, owner, lease_until, read_at, state,"
    " sent_at, finished_at, pid, exit_code, signal,"
    " ifnull(length(stdout), 0) + ifnull(length(stderr), 0),"
    " changes IS NOT NULL OR dropped_at IS NOT NULL, dropped_at,"
    " error_code, error_message, error_advice, received_at"
)
"""What `execution` reads, in that order."""

OUTPUT_COLUMNS: Final = "stdout, stderr, stdout_truncated, stderr_truncated, changes"
"""What `output` reads, in that order."""

RESULT_COLUMNS: Final = (
    "exit_code, signal, stdout, stderr, stdout_truncated, stderr_truncated, received_at"
)
"""The result, which HostUp returns only once."""

_Fields = tuple[
    str, str, str, str, str, float, str, float, float | None, StateName, float | None,
    float | None, int | None, int | None, int | None, int, int, float | None,
    str | None, str | None, str | None, float | None,
]  # fmt: skip
_OutputFields = tuple[bytes | None, bytes | None, int | None, int | None, str | None]


def execution(row: Row) -> Execution:
    """The execution that a row of `COLUMNS` holds."""
    fields = cast("_Fields", row)
    return Execution(*fields[:9], _state(fields))


def _state(fields: _Fields) -> State:
    created_at, name, sent_at, finished_at, pid = fields[5], *fields[9:13]
    begun = sent_at or created_at
    match name:
        case "intended":
            return Intended()
        case "sent":
            return Sent(begun)
        case "running":
            return Running(begun, pid or 0, fields[21])
        case "completed":
            return _completed(fields, begun, finished_at or created_at, pid or 0)
        case _:
            code, message, advice = (text or "" for text in fields[18:21])
            ended = finished_at or created_at
            return Ended(name, sent_at, ended, pid, code, message, advice)


def _completed(fields: _Fields, sent_at: float, finished_at: float, pid: int) -> Completed:
    exit_code, signal, output_bytes, is_prepared, dropped_at = fields[13:18]
    return Completed(
        sent_at, finished_at, pid, exit_code, signal, output_bytes, bool(is_prepared), dropped_at
    )


def output(row: Row) -> Output:
    """The output that a row of `OUTPUT_COLUMNS` holds."""
    stdout, stderr, cut_stdout, cut_stderr, changes = cast("_OutputFields", row)
    counts = cast("dict[str, dict[str, int]]", json.loads(changes)) if changes else {}
    return Output(
        _stream(stdout, cut_stdout, counts.get("stdout")),
        _stream(stderr, cut_stderr, counts.get("stderr")),
    )


def _stream(raw: bytes | None, truncated: int | None, changes: Mapping[str, int] | None) -> Stream:
    return Stream((raw or b"").decode("utf-8", "surrogatepass"), bool(truncated), changes)


def encoded(text: str) -> bytes:
    """A text as it is stored, with its lone surrogates."""
    return text.encode("utf-8", "surrogatepass")
