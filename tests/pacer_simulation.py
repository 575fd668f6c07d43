"""A rate-limited server and commands that ask it, on a clock that leaps, for tests of the pacer."""

from __future__ import annotations

import asyncio
import selectors
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Literal

import anyio

from hostup_mcp.hostup.pacer import Pacer
from hostup_mcp.hostup.pacing import UNTOLD, RateLimit

START = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)

Headers = Literal["always", "on 429", "never"]


class Leap(selectors.SelectSelector):
    """Waits by moving the clock."""

    clock = 0.0

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        if not events:
            assert timeout is not None, "everybody waits for ever"
            self.clock += timeout
        return events


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while everybody sleeps, and then at once."""

    def __init__(self) -> None:
        self.leap = Leap()
        super().__init__(self.leap)

    def time(self) -> float:
        return self.leap.clock


def simulate(main: Callable[[], Awaitable[None]]) -> None:
    anyio.run(main, backend="asyncio", backend_options={"loop_factory": SimulatedLoop})


def now(skew: float = 0.0) -> datetime:
    return START + timedelta(seconds=anyio.current_time() + skew)


class Server:
    """`limit` requests in each window of `seconds`, for all processes of the account.

    A request is `trip` seconds on its way in each direction; between, it takes `think` seconds,
    which is told how many came in this window.
    """

    def __init__(
        self,
        limit: int,
        seconds: float,
        headers: Headers = "always",
        *,
        trip: Callable[[], float] = lambda: 0.03,
        think: Callable[[int], float] = lambda _: 0.0,
        retry_after: bool = True,
    ) -> None:
        self.limit = limit
        self.seconds = seconds
        self.headers = headers
        self.trip = trip
        self.think = think
        self.retry_after = retry_after
        self.used: Counter[int] = Counter()
        self.arrivals: list[float] = []
        self.refused: list[float] = []

    def count(self) -> bool:
        window = int(anyio.current_time() / self.seconds)
        if self.used[window] >= self.limit:
            return False
        self.used[window] += 1
        return True

    async def request(self) -> tuple[RateLimit, int]:
        await anyio.sleep(self.trip())
        clock = anyio.current_time()
        self.arrivals.append(clock)
        allowed = self.count()
        if not allowed:
            self.refused.append(clock)
        window = int(clock / self.seconds)
        ends = (window + 1) * self.seconds
        reply = UNTOLD
        if self.headers == "always" or (self.headers == "on 429" and not allowed):
            reset_at = START + timedelta(seconds=ends)
            reply = RateLimit(self.limit, self.limit - self.used[window], reset_at, ends - clock)
        elif not allowed and self.retry_after:
            reply = RateLimit(None, None, None, ends - clock)
        await anyio.sleep(self.think(self.used[window]) + self.trip())
        return reply, 200 if allowed else 429


async def run(
    pacer: Pacer, server: Server, commands: int, turns: int, pause: float = 0.0
) -> list[list[float]]:
    """Let commands make their requests one after the other; how long each waited for each turn."""
    waits: list[list[float]] = [[] for _ in range(commands)]

    async def command(mine: list[float]) -> None:
        while len(mine) < turns:
            asked = anyio.current_time()
            async with pacer.turn() as turn:
                waited = anyio.current_time() - asked
                rate_limit, status = await server.request()
                pacer.learn(turn, rate_limit, status)
            if status == 200:
                mine.append(waited)
            await anyio.sleep(pause)

    async with anyio.create_task_group() as tasks:
        for mine in waits:
            tasks.start_soon(command, mine)
    return waits


def seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311


def paced(skew: float = 0.0, **settings: Any) -> Pacer:
    return Pacer(now=lambda: now(skew), dice=seeded(1), **settings)
