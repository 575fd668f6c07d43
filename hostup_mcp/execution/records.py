"""What is known of an execution: one record, and a state that carries only what it can have.

    intended ──> sent ──> running ──> completed
       │  ^       │ │        │  ^
       │  └───────┘ │        v  │
       v            v       lost ──> completed
    not_started   unknown, not_started

`sent` goes back to `intended` only where it is certain that no byte of the request arrived, and
`lost` is left only if the guest has the result after all. Nothing leaves `completed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

StateName = Literal["intended", "sent", "running", "completed", "not_started", "unknown", "lost"]

COMES_FROM: Final[Mapping[StateName, tuple[StateName, ...]]] = {
    "intended": ("sent",),
    "sent": ("intended",),
    "running": ("sent", "lost", "running", "unknown"),
    "completed": ("running", "lost"),
    "not_started": ("intended", "sent"),
    "unknown": ("sent",),
    "lost": ("running",),
}
"""The states that each state may follow; the journal refuses every other step."""


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
    """Started in the guest.

    Attributes:
        sent_at: seconds since the epoch.
        pid: its process id.
        received_at: when its result came to disk, seconds since the epoch, while a start is under
            way that may turn out to have this pid; None before.
    """

    sent_at: float
    pid: int
    received_at: float | None = None


LOCAL: Final = "local"
"""The principal of this machine's own user: on stdio, and on a Unix socket."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream of a result.

    Attributes:
        text: as it came, until it is prepared; then as it may be shown. May hold lone surrogates
            before that.
        truncated: whether the guest agent kept only the first part of it.
        changes: what preparing it changed, by kind, with how often; None while it is as it came.
    """

    text: str
    truncated: bool = False
    changes: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """What a command wrote. It may be large, so it is read for as long as it is needed only."""

    stdout: Stream
    stderr: Stream


@dataclass(frozen=True, slots=True)
class Completed:
    """Ended, and its result is on disk.

    Attributes:
        sent_at: when it was sent, seconds since the epoch.
        finished_at: when its end was seen, seconds since the epoch.
        pid: the process id in the guest.
        exit_code: None after an abnormal end (a signal, mostly).
        signal: the signal's number where HostUp gave one.
        output_bytes: of both streams, as they are kept.
        is_prepared: whether the output is as it may be shown.
        dropped_at: when its output was removed to keep to the limits of the journal, seconds since
            the epoch; None while it is there.
    """

    sent_at: float
    finished_at: float
    pid: int
    exit_code: int | None
    signal: int | None
    output_bytes: int
    is_prepared: bool
    dropped_at: float | None = None


EndKind = Literal["not_started", "unknown", "lost"]


@dataclass(frozen=True, slots=True)
class Ended:
    """Over without a result.

    Attributes:
        kind: `not_started` (certainly did not run), `unknown` (may have run),
            `lost` (ran, and its result is gone).
        sent_at: when it was sent, seconds since the epoch; None if it never was.
        ended_at: when that was found, seconds since the epoch.
        pid: the process id, if it was started.
        code: stable code of the error that ended it.
        message: that error's sentence.
        advice: what to do next.
    """

    kind: EndKind
    sent_at: float | None
    ended_at: float
    pid: int | None
    code: str
    message: str
    advice: str


State = Intended | Sent | Running | Completed | Ended


@dataclass(frozen=True, slots=True)
class Execution:
    """One command on one VPS.

    Attributes:
        exec_id: our handle, unguessable.
        vps_id: HostUp's id of the VPS.
        command: the judged text, without the prologue that stands before every command; empty
            if it was started by somebody else.
        policy: the label of the policy that let it through; empty likewise.
        principal: who ordered it; nobody else is told of it.
        created_at: seconds since the epoch.
        owner: the process that drives it, or drove it last.
        lease_until: until when no other process may poll for it, seconds since the epoch.
        read_at: when its end was first told to a caller, seconds since the epoch; None before.
        state: what is known of it.
    """

    exec_id: str
    vps_id: str
    command: str
    policy: str
    principal: str
    created_at: float
    owner: str
    lease_until: float
    read_at: float | None
    state: State

    @property
    def pid(self) -> int | None:
        """The process id in the guest, where it is known."""
        match self.state:
            case Running(pid=pid) | Completed(pid=pid) | Ended(pid=pid):
                return pid
            case _:
                return None


Claim = Literal["new", "same_key", "repeat", "unclear"]


@dataclass(frozen=True, slots=True)
class Intent:
    """What an order to run a command came to.

    Attributes:
        execution: the new record, or the one that stands in its place.
        claim: `new`; `same_key`, for a key that was used for this command before; `repeat`, for the
            same command that still runs, or whose end nobody was told; `unclear`, for the same
            command, of which it is not known whether it ran.
    """

    execution: Execution
    claim: Claim
