"""The losses that a journal records by itself: their codes, and what a caller reads."""

from __future__ import annotations

from typing import Final, NamedTuple


class Loss(NamedTuple):
    """Why a result is lost: a stable code, a sentence, and what to do next."""

    code: str
    message: str
    advice: str


PID_REUSED: Final = Loss(
    "pid_reused",
    "The guest gave this command's pid to another command before its result was read, so the "
    "result is gone.",
    "Check in the VPS what the command did.",
)
GIVEN_UP: Final = Loss(
    "given_up",
    "The command was started, and nobody came for its result while this server polled for it, so "
    "it is not asked for any more.",
    "Check in the VPS whether it still runs and what it did.",
)
"""The guest may still have the result."""

GONE_FOR_GOOD: Final = (PID_REUSED.code, "vps_rebooted")
"""Codes of losses that are final: the pid belongs to another command now."""
