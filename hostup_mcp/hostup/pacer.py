"""The request budget of an API key: says when each request may be sent, first come, first served.

HostUp documents its rate-limit headers for 429 only, and documents no limits. So the pacer uses
what replies say, and keeps to a modest rate if they say nothing. Other processes may use the same
budget, so a small reserve always stays unused.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Final

import anyio

from hostup_mcp.hostup.pacing import RateLimit

_HOUR: Final = 3600.0
_WINDOW_SECONDS: Final = 60.0
"""The assumed length of a window whose end is missing or not plausible."""
_JUST_PAST_SECONDS: Final = 2.0
"""A window that ended so long ago by this machine's clock may be ending now by HostUp's."""
_MARGIN_SECONDS: Final = 0.1
"""Allows for clocks that differ a little, and for times that are cut to milliseconds."""
_SAME_WINDOW_SECONDS: Final = 1.0
_SCOUT_SECONDS: Final = 1.0
"""How long other requests wait for the first reply, which may say how many are left."""
_HUNG_SECONDS: Final = 2.0
"""A request without a reply for so long counts as hung, and no longer uses up a place."""
_RESERVE_SHARE: Final = 0.02
_BACKOFF_SECONDS: Final = (1.0, 60.0)
_JITTER_SHARE: Final = 0.1
_JITTER_SECONDS: Final = 5.0
_MOMENT: Final = 1e-6
"""Timers may fire early by so much."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The permission to send one request.

    Attributes:
        number: turns are numbered from 1 in the order in which they are given.
        ended_before: how many turns had ended when this one began.
        began: when it began, by the pacer's clock.
        name: the VPS of the request; empty for none.
    """

    number: int
    ended_before: int
    began: float
    name: str = ""


@dataclass(slots=True)
class _Window:
    """HostUp's current rate-limit window; `budget` is what is left after all requests sent."""

    limit: int
    budget: int
    began: float
    ends: float

    @property
    def spendable(self) -> int:
        return self.budget - max(1, int(self.limit * _RESERVE_SHARE))

    @property
    def is_ample(self) -> bool:
        return self.budget * 2 > self.limit


@dataclass(eq=False, slots=True)
class _Waiter:
    name: str
    awake: anyio.Event = field(default_factory=anyio.Event)


def _room(recent: Sequence[Turn], most: int) -> float:
    """When fewer than `most` of these (oldest first) are recent; -inf if that is so now."""
    return float("-inf") if len(recent) < most else recent[-most].began + _HUNG_SECONDS


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Pacer:
    """Gives turns first come, first served, no faster than the account may send.

    At first nothing is known of the limit, so one request goes ahead as a scout. If its reply does
    not say the limit, `burst` and `rate` apply. In a known window, requests go freely while more
    than half of the budget is left; then they are spread evenly until the window ends, and never
    exceed the budget. After a 429 no request is sent for as long as HostUp demands.

    A command waits for one request at a time, so first come, first served is fair to commands. A
    VPS whose requests hang does not block others: each VPS may have only a few requests in flight,
    later requests for other VPSs may overtake, and a hung request stops counting. A request that is
    cancelled while it waits leaves no gap.
    """

    def __init__(
        self,
        *,
        burst: int = 20,
        rate: float = 9.5,
        first_in_flight: int = 8,
        most_in_flight: int = 50,
        most_of_one: int = 4,
        most_hung: int = 200,
        longest: float = 900.0,
        clock: Callable[[], float] = anyio.current_time,
        now: Callable[[], datetime] = _utc_now,
        dice: Random | None = None,
    ) -> None:
        """A pacer whose defaults suit an unknown account.

        Args:
            burst: requests that may be sent at once while no limit is known.
            rate: requests a second after that.
            first_in_flight: most requests in flight before the first reply, without those that
                have hung for 2 s.
            most_in_flight: most requests in flight later, without hung ones.
            most_of_one: most requests in flight for one VPS, with hung ones.
            most_hung: most requests in flight in all, with hung ones.
            longest: the longest `Retry-After` that is obeyed, in seconds.
            clock: monotonic time in seconds, of the event loop that waits.
            now: the wall clock, for `X-RateLimit-Reset`; it may be wrong, and may jump.
            dice: the source of the jitter.
        """
        self._burst = burst
        self._rate = rate
        self._first_in_flight = first_in_flight
        self._most_in_flight = most_in_flight
        self._most_of_one = most_of_one
        self._most_hung = most_hung
        self._longest = longest
        self._clock = clock
        self._now = now
        self._dice = dice or Random()  # noqa: S311 - jitter is no secret
        self._waiters: deque[_Waiter] = deque()
        self._out: dict[int, Turn] = {}
        self._out_of: Counter[str] = Counter()
        self._begun = 0
        self._ended = 0
        self._tokens = float(burst)
        self._tokens_at = float("-inf")
        self._last_turn = float("-inf")
        self._blocked_until = float("-inf")
        self._refused_at = float("-inf")
        self._refusals = 0
        self._window: _Window | None = None
        self._is_scouting = True
        self._scouting_since = float("-inf")
        self._scout: Turn | None = None

    def waiting_until(self) -> float:
        """Seconds until time allows the next turn; 0 if only replies are missing.

        Requests that wait already go first, so a new request may have to wait longer.
        """
        now = self._clock()
        return max(0.0, self._opens(now) - now)

    @asynccontextmanager
    async def turn(self, name: str = "") -> AsyncGenerator[Turn]:
        """Wait for a turn, and hold it while the block sends one request and reads the reply.

        Args:
            name: the VPS of the request; empty for none.
        """
        turn = await self._take(name)
        try:
            yield turn
        finally:
            self.make_room(turn)
            self._ended += 1
            if self._scout is turn:
                self._scout = None  # it got no reply, so the next request is the scout
            self._wake()

    def make_room(self, turn: Turn) -> None:
        """Stop counting a request as in flight: its reply has begun, and reading it is paused.

        Reading goes on after another request has ended, so that one must not wait for this one.
        """
        if self._out.pop(turn.number, None) is not None:
            self._out_of[turn.name] -= 1
            if not self._out_of[turn.name]:
                del self._out_of[turn.name]
            self._wake()

    def learn(self, turn: Turn, rate_limit: RateLimit, status: int) -> None:
        """Learn from a reply about the limit. Call this for every reply, even one without headers.

        Args:
            turn: the turn of its request, inside or after the block.
            rate_limit: the reply's headers.
            status: the reply's status.
        """
        now = self._clock()
        if turn.began >= self._scouting_since:
            self._is_scouting, self._scout = False, None
        if status == 429:
            self._refuse(turn, rate_limit, now)
        else:
            if turn.began >= self._refused_at:
                self._refusals = 0
            if rate_limit.remaining is not None:
                self._count(turn, rate_limit, rate_limit.remaining, now)
        self._wake()

    # ------------------------------------------------------------------ the queue

    async def _take(self, name: str) -> Turn:
        waiter = _Waiter(name)
        self._waiters.append(waiter)
        try:
            while True:
                waiter.awake = anyio.Event()
                delay = float("inf")
                if self._next() is waiter:
                    now = self._clock()
                    delay = max(self._opens(now), self._has_room(now)) - now
                    if delay < _MOMENT:
                        return self._give(now, name)
                with anyio.move_on_after(min(delay, _HOUR)):
                    await waiter.awake.wait()
        finally:
            self._waiters.remove(waiter)
            self._wake()

    def _next(self) -> _Waiter | None:
        """The first in the queue whose VPS has few enough requests in flight."""
        most = self._most_of_one
        return next((w for w in self._waiters if not w.name or self._out_of[w.name] < most), None)

    def _wake(self) -> None:
        """Let the next waiter look again whether it may go."""
        waiter = self._next()
        if waiter is not None:
            waiter.awake.set()

    def _has_room(self, now: float) -> float:
        """When one more request may be in flight: now, later, or only after a reply (inf)."""
        if len(self._out) >= self._most_hung:
            return float("inf")
        recent = [turn for turn in self._out.values() if 0 <= now - turn.began < _HUNG_SECONDS]
        room = _room(recent, self._most_in_flight)
        if self._window is None and self._scout is not None:
            first = self._scout.number
            unanswered = [turn for turn in recent if turn.number >= first]
            room = max(room, _room(unanswered, self._first_in_flight))
        return room

    def _give(self, now: float, name: str) -> Turn:
        self._begun += 1
        turn = Turn(self._begun, self._ended, now, name)
        self._out[turn.number] = turn
        self._out_of[name] += 1
        self._last_turn = now
        self._fill(now)
        self._tokens = max(0.0, self._tokens - 1)
        if self._window is not None:
            self._window.budget -= 1
        elif self._is_scouting and self._scout is None:
            self._scout = turn
        return turn

    # ------------------------------------------------------------------ the clockwork

    def _opens(self, now: float) -> float:
        """When the next turn may be given, apart from requests in flight."""
        self._forget(now)
        window = self._window
        if window is not None:
            opens = self._opens_in(window)
        elif self._is_scouting:
            # Requests that follow the scout before its reply need tokens.
            opens = now
            if self._scout is not None:
                opens = max(self._scout.began + _SCOUT_SECONDS, self._next_token(now))
        else:
            opens = self._next_token(now)
        return max(opens, self._blocked_until)

    def _opens_in(self, window: _Window) -> float:
        if window.spendable <= 0:
            return window.ends
        if window.is_ample:
            return self._last_turn
        return self._last_turn + (window.ends - self._last_turn) / (window.spendable + 1)

    def _forget(self, now: float) -> None:
        """Drop what is out of date, even if this machine's clock has gone back."""
        self._blocked_until = min(self._blocked_until, now + _HOUR)
        self._tokens_at = min(self._tokens_at, now + _HOUR)
        self._last_turn = min(self._last_turn, now)
        # The window counts as over a moment early, so that a turn given now does not rely on it.
        if self._window is not None and not now + _MOMENT < self._window.ends < now + 2 * _HOUR:
            self._window = None
            self._scout_anew(now)

    def _scout_anew(self, now: float) -> None:
        self._is_scouting, self._scout, self._scouting_since = True, None, now

    def _fill(self, now: float) -> None:
        """Add the tokens due until now; after a 429 `_tokens_at` is in the future, so none are."""
        if now > self._tokens_at:
            self._tokens = min(self._burst, self._tokens + (now - self._tokens_at) * self._rate)
            self._tokens_at = now

    def _next_token(self, now: float) -> float:
        self._fill(now)
        return self._tokens_at + max(0.0, 1 - self._tokens) / self._rate

    # ------------------------------------------------------------------ what replies say

    def _count(self, turn: Turn, rate_limit: RateLimit, remaining: int, now: float) -> None:
        """Set the budget from a reply's `remaining`, which may be older than what is known.

        `remaining` may or may not count other requests that were in flight with this one. The true
        budget after all of them is between `least` and `remaining`. In the same window, the budget
        that was computed here is kept if it is in that range.
        """
        reset_in = self._reset_in(rate_limit)
        if reset_in is not None and reset_in <= 0 and turn.began < self._scouting_since:
            return  # a late reply from the previous window
        if reset_in is None or not -_JUST_PAST_SECONDS < reset_in <= _HOUR:
            ends = now + _WINDOW_SECONDS
        else:
            ends = now + max(reset_in, 0.0) + _MARGIN_SECONDS
        window = self._window
        least = remaining - (self._begun - 1 - turn.ended_before)
        limit = rate_limit.limit or max(remaining, window.limit if window else 0)
        if window is None:
            self._window = _Window(limit, least, now, ends)
        elif abs(ends - window.ends) <= _SAME_WINDOW_SECONDS:
            budget = min(max(window.budget, least), remaining)
            self._window = _Window(limit, budget, window.began, ends)
        elif ends > window.ends or turn.began >= window.began:
            self._window = _Window(limit, least, now, ends)

    def _refuse(self, turn: Turn, rate_limit: RateLimit, now: float) -> None:
        if turn.began >= self._refused_at:  # else it was in flight at the last refusal
            self._refusals += 1
            self._refused_at = now
        least, most = _BACKOFF_SECONDS
        seconds = self._asked_for(rate_limit) or min(most, least * 2 ** min(self._refusals - 1, 10))
        jitter = min(_JITTER_SECONDS, seconds * _JITTER_SHARE) * self._dice.random()
        self._blocked_until = max(self._blocked_until, now + seconds + jitter)
        self._window = None
        self._scout_anew(now)
        self._tokens, self._tokens_at = 0.0, self._blocked_until

    def _asked_for(self, rate_limit: RateLimit) -> float | None:
        """How long HostUp asks us to wait, in seconds; None if it does not, or is not plausible."""
        asked, reset_in = rate_limit.retry_after, self._reset_in(rate_limit)
        if asked is None or asked <= 0:
            return None
        if asked > _HOUR and reset_in is not None and abs(asked - reset_in) < _WINDOW_SECONDS:
            return None  # not a Retry-After, but a reset time that is far off
        return min(asked, self._longest)

    def _reset_in(self, rate_limit: RateLimit) -> float | None:
        reset_at = rate_limit.reset_at
        return None if reset_at is None else (reset_at - self._now()).total_seconds()
