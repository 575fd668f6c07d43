"""Knows when HostUp last replied."""

from __future__ import annotations

import time

from hostup_mcp.hostup.pacer import Pacer, Turn
from hostup_mcp.hostup.pacing import RateLimit


class ReplyTimePacer(Pacer):
    """The budget of requests; every reply passes it, so it also notes when the last one came.

    Attributes:
        last_reply_at: when the last reply came, of whatever status, in seconds of the monotonic
            clock; None before the first.
    """

    last_reply_at: float | None = None

    def learn(self, turn: Turn, rate_limit: RateLimit, status: int) -> None:
        """Learn from a reply, and note the time."""
        self.last_reply_at = time.monotonic()
        super().learn(turn, rate_limit, status)
