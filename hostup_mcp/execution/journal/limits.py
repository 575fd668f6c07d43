"""The limits that a journal keeps to: how long it keeps what, and what counts as a duplicate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

START_LEASE_SECONDS: Final = 180.0
"""How long the process that starts an execution holds its lease, should that process hang."""


@dataclass(frozen=True, slots=True)
class DuplicateWindow:
    """When an order without an idempotency key is a duplicate of an earlier one.

    An earlier order whose outcome is unknown is in the way whatever this says.

    Attributes:
        seconds: how long ago the earlier one may have ended; 0 for no duplicates.
        reap_seconds: how long ago a running one may have been ordered. An older one counts only
            while a process holds its lease: without one its pid may be another command's.
    """

    seconds: float = 900.0
    reap_seconds: float = 86_400.0


@dataclass(frozen=True, slots=True)
class Retention:
    """How long the journal keeps what it holds.

    Attributes:
        days: how old a result's output may be. A record is kept ten times as long. Deletion comes
            up to an hour later, and after twice the term for what `Journal.purge` names.
        mebibytes: how much output there may be in all; the oldest goes first, and at once.
    """

    days: float = 30.0
    mebibytes: float = 256.0
