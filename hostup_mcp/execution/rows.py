"""An execution as a row of the journal, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, cast

from hostup_mcp.execution.database import Row
from hostup_mcp.execution.records import (
    Completed,
    Ended,
    Execution,
    Intended,
    Running,
    Sent,
    State,
    StateName,
    Stream,
)

COLUMNS: Final = (
    "exec_id, vps_id, command, policy, created_at, owner, lease_until, read_at, state, sent_at,"
    " finished_at, pid, exit_code, signal, stdout, stderr, stdout_truncated, stderr_truncated,"
    " changes, dropped_at, error_code, error_message, error_advice"
)
"""What `execution` reads, in that order."""

_Fields = tuple[
    str, str, str, str, float, str, float, float | None, StateName, float | None,
    float | None, int | None, int | None, int | None, bytes | None, bytes | None, int | None,
    int | None, str | None, float | None, str | None, str | None, str | None,
]  # fmt: skip


def execution(row: Row) -> Execution:
    """The execution that a row of `COLUMNS` holds."""
    fields = cast("_Fields", row)
    return Execution(*fields[:8], _state(fields))


def _state(fields: _Fields) -> State:
    created_at, name, sent_at, finished_at, pid = fields[4], *fields[8:12]
    begun = sent_at or created_at
    match name:
        case "intended":
            return Intended()
        case "sent":
            return Sent(begun)
        case "running":
            return Running(begun, pid or 0)
        case "completed":
            return _completed(fields, begun, finished_at or created_at, pid or 0)
        case _:
            code, message, advice = (text or "" for text in fields[20:])
            ended = finished_at or created_at
            return Ended(name, sent_at, ended, pid, code, message, advice)


def _completed(fields: _Fields, sent_at: float, finished_at: float, pid: int) -> Completed:
    exit_code, signal, stdout, stderr, cut_stdout, cut_stderr, changes, dropped_at = fields[12:20]
    counts = cast("dict[str, dict[str, int]]", json.loads(changes)) if changes else {}
    return Completed(
        sent_at=sent_at,
        finished_at=finished_at,
        pid=pid,
        exit_code=exit_code,
        signal=signal,
        stdout=_stream(stdout, cut_stdout, counts.get("stdout")),
        stderr=_stream(stderr, cut_stderr, counts.get("stderr")),
        dropped_at=dropped_at,
    )


def _stream(raw: bytes | None, truncated: int | None, changes: Mapping[str, int] | None) -> Stream:
    return Stream((raw or b"").decode("utf-8", "surrogatepass"), bool(truncated), changes)


def encoded(text: str) -> bytes:
    """A text as it is stored: lone surrogates too."""
    return text.encode("utf-8", "surrogatepass")
