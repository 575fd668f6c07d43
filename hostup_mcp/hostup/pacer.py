"""The request budget of an API key: says when each request may be sent, first come, first served.

HostUp documents the rate-limit headers on 429 only; whether other replies carry them, and what the
limits are, is not documented. So nothing is counted on: what replies say is used, and without it
the pace is modest. Other processes may spend of the same budget, so a little is always left.
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
"""The length of a window whose end is not told, or not to be believed."""
_JUST_PAST_SECONDS: Final = 2.0
"""A window that ended so long ago by our clock may be ending now by HostUp's."""
_MARGIN_SECONDS: Final = 0.1
"""For clocks that differ a little, and times that are cut to milliseconds."""
_SAME_WINDOW_SECONDS: Final = 1.0
_SCOUT_SECONDS: Final = 1.0
"""How long the others wait for the reply of the first, which may tell what is left."""
_HUNG_SECONDS: Final = 2.0
"""A request without a reply for so long tells nothing of how much HostUp can take."""
_RESERVE_SHARE: Final = 0.02
_BACKOFF_SECONDS: Final = (1.0, 60.0)
_JITTER_SHARE: Final = 0.1
_JITTER_SECONDS: Final = 5.0
_MOMENT: Final = 1e-6
"""Timers may go off so much too early."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One request's leave to go out.

    Attributes:
        number: turns are numbered from 1 in the order they are given.
        ended_before: how many turns had ended when this one began.
        began: when, by the pacer's clock.
        name: of which VPS the request is; empty if of none.
    """

    number: int
    ended_before: int
    began: float
    name: str = ""


@dataclass(slots=True)
class _Window:
    """What is known of HostUp's present window; `budget` is what is left after all we sent."""

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
    """When fewer than `most` of these, oldest first, will be recent; long ago if they are."""
    return float("-inf") if len(recent) < most else recent[-most].began + _HUNG_SECONDS


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Pacer:
    """Gives turns in the order they were asked for, no faster than the account may send.

    While nothing is known, one request goes first, as a scout; what its reply does not tell is
    replaced by `burst` and `rate`. With a known window requests go freely while more than half of
    its budget is left, then evenly up to its end, and never more than are left. After a 429
    nobody sends for the time that HostUp asks for.

    A command waits for one request at a time, so that first come, first served is fair among
    commands. A VPS whose requests hang holds up no other: of each only a few are under way, those
    behind may overtake it, and what is under way for long no longer counts. A request that is
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
        """Args are keyword-only, with defaults that suit an unknown account.

        Args:
            burst: requests sent at once while no limit is known.
            rate: requests a second after that.
            first_in_flight: requests without a reply while nothing is known. One that is out
                for 2 s does not count.
            most_in_flight: the same later.
            most_of_one: requests of one VPS without a reply, however long they are out.
            most_hung: requests of all without a reply, however long they are out.
            longest: for how long a `Retry-After` is obeyed at the most, in seconds.
            clock: seconds that only grow, of the event loop that waits.
            now: the wall clock, for `X-RateLimit-Reset`; it may be wrong, and may jump.
            dice: where the jitter comes from.
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
        """Seconds until the next turn may be given; 0 also if only replies are waited for.

        Those who wait already come first, so one's own turn may come later.
        """
        now = self._clock()
        return max(0.0, self._opens(now) - now)

    @asynccontextmanager
    async def turn(self, name: str = "") -> AsyncGenerator[Turn]:
        """Wait for a turn, and hold it while the block sends one request and reads the reply.

        Args:
            name: the VPS that the request is of; empty if of none.
        """
        turn = await self._take(name)
        try:
            yield turn
        finally:
            self.make_room(turn)
            self._ended += 1
            if self._scout is turn:
                self._scout = None  # it told nothing, so the next one goes first
            self._wake()

    def make_room(self, turn: Turn) -> None:
        """Let a request count as under way no more, whose reply has begun and is not read on now.

        It may be read on when another request has ended, which must not wait for this one.
        """
        if self._out.pop(turn.number, None) is not None:
            self._out_of[turn.name] -= 1
            if not self._out_of[turn.name]:
                del self._out_of[turn.name]
            self._wake()

    def learn(self, turn: Turn, rate_limit: RateLimit, status: int) -> None:
        """Take in what a reply says of the limit. Every reply counts, also one that says nothing.

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
        """The first in the queue whose VPS has few enough requests under way."""
        most = self._most_of_one
        return next((w for w in self._waiters if not w.name or self._out_of[w.name] < most), None)

    def _wake(self) -> None:
        """What the next one waits for may have changed, and who that is."""
        waiter = self._next()
        if waiter is not None:
            waiter.awake.set()

    def _has_room(self, now: float) -> float:
        """When one more may be under way: now, later, or never without a reply."""
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
        """When the next turn may be given, as far as time decides."""
        self._forget(now)
        window = self._window
        if window is not None:
            opens = self._opens_in(window)
        elif self._is_scouting:
            # Tokens are for those that follow the scout without its reply.
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
        """Drop what time has overtaken, also if our clock has gone back."""
        self._blocked_until = min(self._blocked_until, now + _HOUR)
        self._tokens_at = min(self._tokens_at, now + _HOUR)
        self._last_turn = min(self._last_turn, now)
        # A moment early is late enough: a turn given now must not count on the old window.
        if self._window is not None and not now + _MOMENT < self._window.ends < now + 2 * _HOUR:
            self._window = None
            self._scout_anew(now)

    def _scout_anew(self, now: float) -> None:
        self._is_scouting, self._scout, self._scouting_since = True, None, now

    def _fill(self, now: float) -> None:
        """Let tokens grow up to now; after a refusal `_tokens_at` lies ahead, and none grow."""
        if now > self._tokens_at:
            self._tokens = min(self._burst, self._tokens + (now - self._tokens_at) * self._rate)
            self._tokens_at = now

    def _next_token(self, now: float) -> float:
        self._fill(now)
        return self._tokens_at + max(0.0, 1 - self._tokens) / self._rate

    # ------------------------------------------------------------------ what replies say

    def _count(self, turn: Turn, rate_limit: RateLimit, remaining: int, now: float) -> None:
        """Set the budget from a reply's `remaining`, which may be older than what is known.

        Requests that were under way together with this one may or may not be counted in it. What
        is left after all of them lies between `least` and `remaining`; the budget that was kept
        here is right if it lies there too, unless the window is another one.
        """
        reset_in = self._reset_in(rate_limit)
        if reset_in is not None and reset_in <= 0 and turn.began < self._scouting_since:
            return  # a late reply from the window before
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
        if turn.began >= self._refused_at:  # else it was under way at the last refusal
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
        """For how long HostUp asks us to wait; None if it does not, or cannot mean it."""
        asked, reset_in = rate_limit.retry_after, self._reset_in(rate_limit)
        if asked is None or asked <= 0:
            return None
        if asked > _HOUR and reset_in is not None and abs(asked - reset_in) < _WINDOW_SECONDS:
            return None  # it is no Retry-After, but a reset time that is far off
        return min(asked, self._longest)

    def _reset_in(self, rate_limit: RateLimit) -> float | None:
        reset_at = rate_limit.reset_at
        return None if reset_at is None else (reset_at - self._now()).total_seconds()
