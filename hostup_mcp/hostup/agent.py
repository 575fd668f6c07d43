"""The request and the replies of the guest agent's endpoint, as frozen models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Final, cast

from pydantic import AliasChoices, BeforeValidator, Field, model_validator

from hostup_mcp.hostup.models import HostUpModel

COMMAND_MAX_CHARACTERS: Final = 4096
"""Longest command, in characters (post-v2-vps-id-agent-exec; the unit is not documented)."""

CAPTURE_MAX_BYTES: Final = 16 * 1024 * 1024
"""What the QEMU guest agent keeps of each stream; it discards the rest (qga/commands.c)."""


def _not_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a boolean is not a number")  # noqa: TRY004 - pydantic needs this class
    return value


class AgentAvailability(HostUpModel):
    """Whether commands can be run now (page get-v2-vps-id-agent-exec, without `pid`).

    The page marks all fields optional. It does not say whether `available` tests more than a ping
    of the agent; only an explicit true counts as available. The older API's `message` is accepted
    for `reason`.
    """

    available: bool | None = None
    reason: str | None = Field(default=None, validation_alias=AliasChoices("reason", "message"))
    vm_running: bool | None = None


class StartedCommand(HostUpModel):
    """Reply to a started command (page post-v2-vps-id-agent-exec).

    `pollUrl` is ignored: the client builds the address from id and pid, so that no reply can send
    the key elsewhere. The page marks `pid` optional; without it the outcome is unknown.
    """

    pid: Annotated[int, Field(gt=0, lt=2**63), BeforeValidator(_not_bool)] | None = None


# The documented name of each field first, then the older API's and the guest agent's.
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "exited": ("exited",),
    "exitCode": ("exitCode", "exitcode", "exit_code", "exit-code"),
    "signal": ("signal",),
    "stdout": ("stdout", "out-data", "out_data", "outData"),
    "stderr": ("stderr", "err-data", "err_data", "errData"),
    "stdoutTruncated": ("stdoutTruncated", "out-truncated", "out_truncated", "outTruncated"),
    "stderrTruncated": ("stderrTruncated", "err-truncated", "err_truncated", "errTruncated"),
}
STREAM_NAMES: Final = frozenset(_NAMES["stdout"] + _NAMES["stderr"])
"""The fields that hold what a command printed."""

_KNOWN: Final = {"pid", "success", *(name for names in _NAMES.values() for name in names)}


class CommandState(HostUpModel):
    """State of a command (page get-v2-vps-id-agent-exec, with `pid`).

    This schema is not documented. Other pages name `exited`, `stdout`, `stderr` and `exitCode`; the
    names of the older API and of the guest agent are accepted too.

    HostUp returns a result only once, so only an unreadable `exited` is an error. A code or signal
    that is not a number counts as absent, and output that is not text is shown as JSON. `exited`
    without an exit code means an abnormal end, never success. Without `exited`, the command has
    ended if there is an exit code, a signal or output; an empty object is a running command.

    Attributes:
        refusal: HostUp's message, if it says `success: false` and nothing about the command, as the
            older API may; None if this is a command's state.
    """

    exited: bool
    exit_code: int | None = None
    signal: int | None = None
    stdout: str = ""
    stderr: str = ""
    stdout_truncated: bool = False
    stderr_truncated: bool = False
    refusal: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        fields = cast("dict[str, object]", data)
        if fields and not fields.keys() & _KNOWN:
            raise ValueError("it has none of the known fields")
        first = {
            field: next((fields[name] for name in names if fields.get(name) is not None), None)
            for field, names in _NAMES.items()
        }
        code, signal = _number(first["exitCode"]), _number(first["signal"])
        out, err = _output(first["stdout"]), _output(first["stderr"])
        exited, refusal = first["exited"], None
        if exited is None:
            exited = code is not None or signal is not None or bool(out or err)
            if not exited and fields.get("success") is False:
                refusal = _message(fields)
        return {
            "exited": exited,
            "refusal": refusal,
            "exitCode": code,
            "signal": signal,
            "stdout": out,
            "stderr": err,
            "stdoutTruncated": first["stdoutTruncated"] in _TRUE or _is_full(out),
            "stderrTruncated": first["stderrTruncated"] in _TRUE or _is_full(err),
        }


_TRUE: Final = (True, 1, "1", "true")


def _number(value: object) -> int | None:
    """A whole number of at most 64 bits, from a number or its digits; else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return None
    return number if -(2**63) <= number < 2**63 and number == float(value) else None


def _output(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _message(fields: Mapping[str, object]) -> str:
    """The message of a refusal, or an empty text. HostUp does not document its field."""
    said = (fields.get(name) for name in ("message", "detail", "reason", "error"))
    return next((text for text in said if isinstance(text, str) and text), "")


def _is_full(text: str) -> bool:
    """Whether a stream has the most that an agent keeps; older agents do not say that they cut."""
    return len(text.encode("utf-8", "surrogatepass")) >= CAPTURE_MAX_BYTES


class CommandRequest(HostUpModel):
    """Body of the request that starts a command (page post-v2-vps-id-agent-exec)."""

    command: str = Field(min_length=1, max_length=COMMAND_MAX_CHARACTERS)
