"""What is done to which request, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from tests.faults import wire
from tests.faults.wire import Kind

FaultName = Literal[
    "refuse",
    "reset_before",
    "reset_after",
    "hang_up_before",
    "hang_up_after",
    "cut_in_head",
    "cut_in_body",
    "late_request",
    "late_reply",
    "limit_with_retry_after",
    "limit_plain",
    "error_before",
    "error_after",
    "bad_gateway_before",
    "bad_gateway_after",
    "unavailable_before",
    "unavailable_after",
    "duplicate_joined",
    "duplicate_apart",
]
"""What is done to a request. `before`: the sandbox never gets it; `after`: it does, and its reply
is lost. `late_request` reaches the sandbox when the client has given up. `refuse` is done to the
connection, so it is not asked for by a rule but by `Plan.shut_after`, or by `Proxy.shut`."""

NOT_FORWARDED: Final[Mapping[str, bytes]] = {
    "error_before": wire.ERROR,
    "bad_gateway_before": wire.BAD_GATEWAY,
    "unavailable_before": wire.UNAVAILABLE,
    "limit_with_retry_after": wire.LIMITED_FOR_A_SECOND,
    "limit_plain": wire.LIMITED,
}
REPLACED: Final[Mapping[str, bytes]] = {
    "error_after": wire.ERROR,
    "bad_gateway_after": wire.BAD_GATEWAY,
    "unavailable_after": wire.UNAVAILABLE,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """The fault for some requests: the `first` of this kind (from 1), and so many in a row."""

    kind: Kind
    fault: FaultName
    first: int = 1
    times: int = 1

    def holds_for(self, kind: Kind, number: int) -> bool:
        """Whether it is for this request."""
        return kind == self.kind and self.first <= number < self.first + self.times


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to the requests for one VPS.

    Attributes:
        rules: the faults.
        ends_at: the poll by which the command has ended: before it, the guest is let end the
            command, and the proxy waits for that. None to leave both alone.
        let_end: lets the command in the guest end.
        shut_after: the request, by kind and number, after which no connection is taken.
        refusals: how many connections are refused then.
    """

    rules: Sequence[Rule] = ()
    ends_at: int | None = None
    let_end: Callable[[], None] = lambda: None
    shut_after: tuple[Kind, int] | None = None
    refusals: int = 1


@dataclass(slots=True)
class Record:
    """What became of the requests for one VPS.

    Attributes:
        seen: requests by kind.
        done: the faults that were done, by name.
        started: how many starts the sandbox got.
        denied: polls for which the sandbox had no result.
        handed_out: results that the guest gave away, by pid.
        received: of these, how many went to the server whole, by pid.
    """

    seen: Counter[Kind] = field(default_factory=Counter[Kind])
    done: Counter[str] = field(default_factory=Counter[str])
    started: int = 0
    denied: int = 0
    handed_out: Counter[int] = field(default_factory=Counter[int])
    received: Counter[int] = field(default_factory=Counter[int])
