"""Finds the earlier order that answers an order without an idempotency key, or blocks it."""

from __future__ import annotations

from typing import Final

from hostup_mcp.execution.journal.limits import DuplicateWindow
from hostup_mcp.execution.journal.losses import GIVEN_UP
from hostup_mcp.execution.journal.records import Intent
from hostup_mcp.execution.journal.sqlite.table import Table

OWN: Final = "principal = ? AND vps_id = ?"
"""The condition for a principal's rows of one VPS."""

# With a new key a caller says that it knows of the doubt and wants the command run. It does not end
# the doubt if that command did not run, or was ordered before the outcome was recorded as unknown.
_IN_DOUBT: Final = (
    "NOT EXISTS (SELECT 1 FROM executions AS later WHERE later.principal = executions.principal"
    " AND later.vps_id = executions.vps_id AND later.command = executions.command"
    " AND later.idempotency_key IS NOT NULL AND later.state != 'not_started'"
    " AND later.created_at >= executions.finished_at AND later.rowid > executions.rowid)"
)


def earlier_order(
    table: Table,
    principal: str,
    vps_id: str,
    command: str,
    duplicates: DuplicateWindow | None,
    now: float,
) -> Intent | None:
    """The earlier order that a new one duplicates, or whose outcome is unknown; None if none is.

    Args:
        table: the journal's, inside a transaction.
        principal: who orders.
        vps_id: where.
        command: the judged text.
        duplicates: when the same command is a duplicate; None for never.
        now: seconds since the epoch.
    """
    same = f"{OWN} AND command = ? AND command != ''"
    newest = "ORDER BY created_at DESC, rowid DESC"
    if duplicates is not None and duplicates.seconds > 0:
        # An old `intended` or `sent` one counts: to look at it finds out what became of it.
        untold = table.select(
            f"{same} AND (state IN ('intended', 'sent') OR"
            " (state = 'running' AND (created_at > ? OR lease_until > ?)) OR"
            " (finished_at > ? AND read_at IS NULL AND (state = 'completed' OR"
            f" (state = 'lost' AND error_code != '{GIVEN_UP.code}')))) {newest}",
            principal, vps_id, command, now - duplicates.reap_seconds, now,
            now - duplicates.seconds,
        )  # fmt: skip
        if untold is not None:
            return Intent(untold, "repeat")
    # Whatever its age: only an order by somebody who knows of the doubt ends it.
    doubtful = table.select(
        f"{same} AND state = 'unknown' AND {_IN_DOUBT} {newest}", principal, vps_id, command
    )
    return None if doubtful is None else Intent(doubtful, "unclear")
