"""What is known of an execution: one record, and a state that carries only what it can have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Intended:
    """On disk, not sent: nothing has run."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The request to start it has gone out and its answer is not known: it may have run.

    Attributes:
        sent_at: seconds since the epoch.
    """

    sent_at: float


@dataclass(frozen=True, slots=True)
class Running:
    """Started in the guest; `sent_at` in seconds since the epoch."""

    sent_at: float
    pid: int


@dataclass(frozen=True, slots=True)
class Completed:
    """Ended, and its result is here.

    Attributes:
        sent_at: when it was sent, seconds since the epoch.
        finished_at: when its end was seen, seconds since the epoch.
        pid: the process id in the guest.
        exit_code: None after an abnormal end (a signal, mostly).
        signal: the signal's number where HostUp gave one.
        stdout: its text; may hold anything, lone surrogates too.
        stderr: likewise.
        stdout_truncated: whether the guest agent kept only the first part of it.
        stderr_truncated: likewise.
    """

    sent_at: float
    finished_at: float
    pid: int
    exit_code: int | None
    signal: int | None
    stdout: str
    stderr: str
    stdout_truncated: bool = False
    stderr_truncated: bool = False


EndKind = Literal["not_started", "unknown", "lost"]


@dataclass(frozen=True, slots=True)
class Ended:
    """Over without a result.

    Attributes:
        kind: `not_started` (certainly did not run), `unknown` (may have run),
            `lost` (ran, and its result is gone).
        ended_at: when that was found, seconds since the epoch.
        pid: the process id, if it was started.
        code: stable code of the error that ended it.
        message: that error's sentence.
        advice: what to do next.
    """

    kind: EndKind
    ended_at: float
    pid: int | None
    code: str
    message: str
    advice: str


@dataclass(frozen=True, slots=True)
class Execution:
    """One command on one VPS.

    Attributes:
        exec_id: our handle, unguessable.
        vps_id: HostUp's id of the VPS.
        command: the judged text, without the prologue that stands before every command; empty
            if it was started by somebody else.
        policy: the label of the policy that let it through; empty likewise.
        created_at: seconds since the epoch.
        owner: the process that drives it, or drove it.
        state: what is known of it.
    """

    exec_id: str
    vps_id: str
    command: str
    policy: str
    created_at: float
    owner: str
    state: Intended | Sent | Running | Completed | Ended

    @property
    def pid(self) -> int | None:
        """The process id in the guest, where it is known."""
        match self.state:
            case Running(pid=pid) | Completed(pid=pid) | Ended(pid=pid):
                return pid
            case _:
                return None
