"""The fault matrix: every request of a command's life, and every fault, once and repeatedly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from tests.faults.plans import NOT_FORWARDED, FaultName, Plan, Rule
from tests.faults.wire import Kind

Target = Literal[
    "describe",
    "probe",
    "status_of_refusal",
    "start",
    "poll_running",
    "poll_end",
    "second_poll_end",
    "status_of_doubt",
]
"""The request that is hit: what the VPS is, whether it takes commands, why it does not, the start,
a poll while the command runs, the first poll and the second that find its end, and the question
for the uptime after a poll that failed."""

Status = Literal["completed", "lost", "unknown", "not_started", "none"]
"""What a command ends as; `none`: it never became an execution."""

_REQUEST: Final[dict[Target, tuple[Kind, int]]] = {
    "describe": ("describe", 1),
    "probe": ("probe", 1),
    "status_of_refusal": ("status", 1),
    "start": ("start", 1),
    "poll_running": ("poll", 1),
    "poll_end": ("poll", 1),
    "second_poll_end": ("poll", 2),
    "status_of_doubt": ("status", 1),
}
# The request after which the door is shut, so that the target's connection is refused; the first
# requests of a command are refused from before it.
_SHUT_AFTER: Final[dict[Target, tuple[Kind, int]]] = {
    "status_of_refusal": ("probe", 1),
    "start": ("probe", 1),
    "poll_running": ("start", 1),
    "poll_end": ("start", 1),
    "second_poll_end": ("poll", 1),
    "status_of_doubt": ("poll", 1),
}
_LIMITS: Final = ("limit_with_retry_after", "limit_plain")
_DUPLICATES: Final = ("duplicate_joined", "duplicate_apart")
_LATE: Final = ("late_request", "late_reply")
UNSENT: Final = frozenset(
    {"refuse", "reset_before", "hang_up_before", "late_request", *NOT_FORWARDED}
)
"""The faults by which the sandbox does not get a request, or not while the client waits."""


@dataclass(frozen=True, slots=True)
class Case:
    """One cell of the matrix."""

    target: Target
    fault: FaultName
    times: int

    @property
    def name(self) -> str:
        """The id that its command appends; one word."""
        return f"{self.target}-{self.fault}-{self.times}".replace("_", "-")

    @property
    def vps_id(self) -> str:
        """Its own VPS."""
        return f"vps_{self.name}"

    @property
    def is_absent(self) -> bool:
        """Whether its VPS takes no commands."""
        return self.target == "status_of_refusal"

    @property
    def lane(self) -> str:
        """With which cases it shares a server: a refused rate limit holds up all of them."""
        if self.fault == "refuse":
            return "refused"
        if self.fault in _LIMITS:
            return "limited" if self.fault == "limit_plain" else "limited for a second"
        if self.fault in _DUPLICATES:
            return "duplicated"
        return "late" if self.fault in _LATE else "broken"

    @property
    def plan(self) -> Plan:
        """What the proxy does, all but letting the command end."""
        kind, first = _REQUEST[self.target]
        rules: list[Rule] = []
        if self.target == "status_of_doubt":
            rules.append(Rule("poll", "reset_before"))
        shut_after = _SHUT_AFTER.get(self.target) if self.fault == "refuse" else None
        if self.fault != "refuse":
            rules.append(Rule(kind, self.fault, first, self.times))
        ends_at = {"poll_running": first + self.times, "second_poll_end": 2}.get(self.target, 1)
        return Plan(rules, ends_at, shut_after=shut_after, refusals=self.times)

    @property
    def allowed(self) -> Sequence[Status]:
        """How it may end; more than one only where it hangs on which request comes first."""
        match self.target:
            case "describe":
                return ["completed"] if self.fault in _DUPLICATES else ["none"]
            case "probe":
                return self._probe()
            case "status_of_refusal":
                return ["not_started"]
            case "start":
                return self._start()
            case "poll_end" | "second_poll_end":
                return self._end()
            case _:
                return ["completed"]

    def _probe(self) -> Sequence[Status]:
        """The first probe only looks ahead; a second that fails is final, if nothing says when."""
        again = self.fault in (*_LIMITS, *_DUPLICATES, "refuse")
        return ["completed"] if again or self.times == 1 else ["not_started"]

    def _start(self) -> Sequence[Status]:
        if self.fault == "refuse":
            return ["completed"] if self.times < 3 else ["not_started"]
        return ["completed"] if self.fault in (*_LIMITS, *_DUPLICATES) else ["unknown"]

    def _end(self) -> Sequence[Status]:
        if self.fault == "late_request":
            return ["completed", "lost"]
        return ["completed"] if self.fault in (*UNSENT, *_DUPLICATES) else ["lost"]


def _repeated(target: Target, fault: FaultName) -> int:
    """How often a fault is done in the second case of it; once where no such request follows."""
    if target in ("describe", "status_of_refusal"):
        return 1
    if target == "start" and fault not in ("limit_with_retry_after", "refuse"):
        return 1
    # Where nothing says when to come back, everybody waits, and longer each time.
    return 1 if fault == "limit_plain" else 3


def matrix() -> list[Case]:
    """All cases."""
    return [
        Case(target, fault, times)
        for target in get_args(Target)
        for fault in get_args(FaultName)
        for times in sorted({1, _repeated(target, fault)})
    ]


LANES: Final = tuple(sorted({case.lane for case in matrix()}))
