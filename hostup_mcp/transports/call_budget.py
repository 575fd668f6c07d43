"""Counts the tool calls of each principal: in flight at once, and per minute."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import anyio
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_REQUEST


class TooManyCalls(NamedTuple):
    """Why a call may not begin: one sentence, and after how many whole seconds to try again."""

    reason: str
    wait: int

    @property
    def advice(self) -> str:
        """What to do."""
        return f"Try again in {self.wait} s; nothing was sent to HostUp."


@dataclass(slots=True)
class _Account:
    """A principal's calls: in flight, and how many more may begin now."""

    in_flight: int
    left: float
    counted_at: float


class CallBudget:
    """Counts tool calls by principal; a token bucket, which starts full with a minute's calls."""

    def __init__(
        self, at_once: int, per_minute: int, clock: Callable[[], float] = anyio.current_time
    ) -> None:
        """The budget of each principal.

        Args:
            at_once: how many calls may be in flight.
            per_minute: how many calls may begin per minute.
            clock: gives seconds.
        """
        self._at_once = at_once
        self._per_minute = per_minute
        self._clock = clock
        self._accounts: dict[str, _Account] = {}

    def admit(self, principal: str) -> TooManyCalls | None:
        """Count a call that is about to begin; or say why it may not."""
        account = self._account(principal)
        if full := self._full(account):
            return full
        if account.left < 1:
            wait = math.ceil((1 - account.left) * 60 / self._per_minute)
            return TooManyCalls(f"This token has made {self._per_minute} calls in a minute.", wait)
        account.left -= 1
        return None

    @contextmanager
    def in_flight(self, principal: str, *, admitted: bool) -> Generator[None]:
        """Count a call as in flight while the block runs.

        Args:
            principal: who makes it.
            admitted: whether `admit` has counted it; others may have begun since.

        Raises:
            MCPError: there are too many.
        """
        account = self._account(principal)
        refused = self._full(account) if admitted else self.admit(principal)
        if refused is not None:
            message = f"{refused.reason} {refused.advice}"
            raise MCPError(INVALID_REQUEST, message, {"error": "too_many_calls"})
        account.in_flight += 1
        try:
            yield
        finally:
            account.in_flight -= 1

    def _full(self, account: _Account) -> TooManyCalls | None:
        if account.in_flight < self._at_once:
            return None
        return TooManyCalls(f"This token has {self._at_once} calls in flight.", 1)

    def _account(self, principal: str) -> _Account:
        now = self._clock()
        # There are never more accounts than tokens.
        account = self._accounts.setdefault(principal, _Account(0, self._per_minute, now))
        gained = (now - account.counted_at) * self._per_minute / 60
        account.left = min(self._per_minute, account.left + gained)
        account.counted_at = now
        return account
