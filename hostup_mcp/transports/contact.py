"""When HostUp answered last."""

from __future__ import annotations

import time

from hostup_mcp.hostup.pacer import Pacer, Turn
from hostup_mcp.hostup.pacing import RateLimit


class ContactPacer(Pacer):
    """The budget of requests; every reply passes it, so it notes when one came.

    Attributes:
        last_reply_at: when the last reply was here, in seconds of the monotonic clock; None before
            the first. Any status counts.
    """

    last_reply_at: float | None = None

    def learn(self, turn: Turn, rate_limit: RateLimit, status: int) -> None:
        """Learn from a reply, with the time noted."""
        self.last_reply_at = time.monotonic()
        super().learn(turn, rate_limit, status)
