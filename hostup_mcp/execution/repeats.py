"""Which earlier order stands in the way of one that comes without an idempotency key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hostup_mcp.execution.records import Intent
from hostup_mcp.execution.table import GIVEN_UP, Table

OWN: Final = "principal = ? AND vps_id = ?"
"""The condition for a principal's rows of one VPS."""

# A key that was not used before is how a caller says that it knows, and means it. One whose command
# did not run settles nothing, nor one that was given before the outcome was known to be unknown.
_OPEN: Final = (
    "NOT EXISTS (SELECT 1 FROM executions AS later WHERE later.principal = executions.principal"
    " AND later.vps_id = executions.vps_id AND later.command = executions.command"
    " AND later.idempotency_key IS NOT NULL AND later.state != 'not_started'"
    " AND later.created_at >= executions.finished_at AND later.rowid > executions.rowid)"
)


@dataclass(frozen=True, slots=True)
class Repeats:
    """When a command that was ordered before stands in place of a new one.

    One of which it is not known whether it ran is in the way whatever this says.

    Attributes:
        seconds: how old the end of the earlier one may be; 0 for no repeats.
        reap_seconds: how old an earlier one that runs may be, unless somebody is asking for its
            result: after that its pid may be another command's.
    """

    seconds: float = 900.0
    reap_seconds: float = 86_400.0


def earlier_order(
    table: Table, principal: str, vps_id: str, command: str, repeats: Repeats | None, now: float
) -> Intent | None:
    """The order that a new one would repeat, or whose outcome nobody knows; None to run it.

    Args:
        table: the journal's, inside a transaction.
        principal: who orders.
        vps_id: where.
        command: the judged text.
        repeats: when the same command counts as a repeat; None for never.
        now: seconds since the epoch.
    """
    same = f"{OWN} AND command = ? AND command != ''"
    newest = "ORDER BY created_at DESC, rowid DESC"
    if repeats is not None and repeats.seconds > 0:
        # An old one that is only intended or sent counts: looking at it says what became of it.
        untold = table.select(
            f"{same} AND (state IN ('intended', 'sent') OR"
            " (state = 'running' AND (created_at > ? OR lease_until > ?)) OR"
            " (finished_at > ? AND read_at IS NULL AND (state = 'completed' OR"
            f" (state = 'lost' AND error_code != '{GIVEN_UP}')))) {newest}",
            principal, vps_id, command, now - repeats.reap_seconds, now, now - repeats.seconds,
        )  # fmt: skip
        if untold is not None:
            return Intent(untold, "repeat")
    # However old it is: nothing but an order that was made knowing of it settles the doubt.
    doubtful = table.select(
        f"{same} AND state = 'unknown' AND {_OPEN} {newest}", principal, vps_id, command
    )
    return None if doubtful is None else Intent(doubtful, "unclear")
