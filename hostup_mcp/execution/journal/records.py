"""The record of an execution: its states, and the steps between them."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

StateName = Literal["intended", "sent", "running", "completed", "not_started", "unknown", "lost"]

GOES_TO: Final[Mapping[StateName, tuple[StateName, ...]]] = {
    "intended": ("sent", "not_started"),
    # Back to `intended` only if the request certainly had no effect.
    "sent": ("running", "intended", "not_started", "unknown"),
    # To itself when a result came that is contested: it is on disk, and not yet this execution's.
    "running": ("running", "completed", "lost"),
    "completed": (),
    "not_started": (),
    # A process took the starter for dead, and the starter got a pid after all.
    "unknown": ("running",),
    # A guest that denied the result, frozen for a backup, has the command after all.
    "lost": ("running", "completed"),
}
"""The states that may follow each state. The journal refuses every other step.

docs/architecture.md has the diagram, which a test makes from this table.
"""

COMES_FROM: Final[Mapping[StateName, tuple[StateName, ...]]] = {
    state: tuple(before for before, after in GOES_TO.items() if state in after) for state in GOES_TO
}
"""The states that each state may follow."""


@dataclass(frozen=True, slots=True)
class Intended:
    """On disk and not sent: nothing has run."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The request to start it went out, and no reply came yet: it may have run.

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
        received_at: when its result was put on disk, seconds since the epoch, while that result
            is contested: a pending start may be given the same pid. None if no result is here.
    """

    sent_at: float
    pid: int
    received_at: float | None = None


LOCAL: Final = "local"
"""The principal of this machine's own user, on stdio and on a Unix socket."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream of a result.

    Attributes:
        text: as it came, perhaps with lone surrogates; once prepared, as it may be shown.
        truncated: whether the guest agent kept only the first part of it.
        changes: how often preparing it changed what, by kind; None before it is prepared.
    """

    text: str
    truncated: bool = False
    changes: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """What a command wrote. It may be large, so it is in memory only while it is needed."""

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
        output_bytes: size of both streams, as they are kept.
        is_prepared: whether the output is as it may be shown.
        dropped_at: when retention removed the output, seconds since the epoch; None while it is
            there.
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
        ended_at: when that was found out, seconds since the epoch.
        pid: the process id, if it was started.
        code: stable code of the error that ended it.
        message: one sentence on what happened.
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
        command: the judged text, without the prologue that is sent before every command; empty
            for a foreign command, which somebody else started.
        policy: the label of the policy that allowed it; empty for a foreign command.
        principal: who ordered it; nobody else learns of it.
        created_at: seconds since the epoch.
        owner: the process that drives it, or drove it last.
        lease_until: until when no other process may poll for it, seconds since the epoch.
        read_at: when a caller was first told its end, seconds since the epoch; None before.
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
    """What became of an order to run a command.

    Attributes:
        execution: the new record, or the earlier one that answers the order.
        claim: `new`; `same_key`: the key was used for this command before; `repeat`: the same
            command still runs, or nobody was told its end; `unclear`: it is not known whether the
            same command ran.
    """

    execution: Execution
    claim: Claim


def new_exec_id() -> str:
    """A new handle, which nobody can guess."""
    return "exec_" + base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()
