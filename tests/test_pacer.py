"""One budget for all requests, against a simulated server on a simulated clock."""

from __future__ import annotations

import asyncio
import selectors
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any, Literal

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hostup_mcp.hostup.pacer import Pacer
from hostup_mcp.hostup.pacing import RateLimit

START = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
NOTHING = RateLimit(limit=None, remaining=None, reset_at=None, retry_after=None)

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
    """`limit` requests in each window of `seconds`, for all processes of the account."""

    def __init__(
        self,
        limit: int,
        seconds: float,
        headers: Headers = "always",
        *,
        trip: Callable[[], float] = lambda: 0.03,
        retry_after: bool = True,
    ) -> None:
        self.limit = limit
        self.seconds = seconds
        self.headers = headers
        self.trip = trip
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
        reply = NOTHING
        if self.headers == "always" or (self.headers == "on 429" and not allowed):
            reset_at = START + timedelta(seconds=ends)
            reply = RateLimit(self.limit, self.limit - self.used[window], reset_at, ends - clock)
        elif not allowed and self.retry_after:
            reply = RateLimit(None, None, None, ends - clock)
        await anyio.sleep(self.trip())
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


# ------------------------------------------------------------------ never over the limit


@settings(max_examples=60)
@given(
    limit=st.integers(1, 200),
    seconds=st.sampled_from([1.0, 7.3, 60.0, 600.0]),
    commands=st.integers(1, 60),
    turns=st.integers(1, 6),
    slowest=st.sampled_from([0.0, 0.03, 0.45]),
    skew=st.sampled_from([-40.0, -0.02, 0.0, 0.02]),
    pause=st.sampled_from([0.0, 0.2, 5.0]),
    seed=st.integers(0, 2**32),
)
@example(  # a timer that goes off a moment early
    limit=3, seconds=1.0, commands=24, turns=2, slowest=0.45, skew=-40.0, pause=0.0, seed=308
)
def test_alone_and_told_by_headers_we_never_exceed_the_limit(
    limit: int,
    seconds: float,
    commands: int,
    turns: int,
    slowest: float,
    skew: float,
    pause: float,
    seed: int,
) -> None:
    dice = seeded(seed)
    server = Server(limit, seconds, trip=lambda: dice.uniform(0, slowest))

    async def main() -> None:
        waits = await run(paced(skew), server, commands, turns, pause)
        assert all(len(mine) == turns for mine in waits)
        assert not server.refused
        assert len(server.arrivals) == commands * turns

    simulate(main)


def test_our_clock_is_40_s_ahead() -> None:
    server = Server(100, 60)

    async def main() -> None:
        await run(paced(skew=40), server, 50, 8)
        assert len(server.refused) <= 8
        assert anyio.current_time() <= 1200

    simulate(main)


@settings(max_examples=30)
@given(
    headers=st.sampled_from(["always", "on 429", "never"]),
    share=st.floats(0, 0.9),
    limit=st.integers(10, 200),
    seed=st.integers(0, 2**32),
)
def test_with_another_process_refusals_are_few(
    headers: Headers, share: float, limit: int, seed: int
) -> None:
    dice = seeded(seed)
    server = Server(limit, 10, headers, trip=lambda: dice.uniform(0, 0.1))
    pacer = paced()

    async def another() -> None:
        while True:
            await anyio.sleep(dice.expovariate(share * limit / 10 + 1e-6))
            server.count()

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(another)
            with anyio.fail_after(100_000):
                await run(pacer, server, 40, 5)
            tasks.cancel_scope.cancel()
        windows = anyio.current_time() / 10 + 1
        # Without headers each window ends with the requests that were under way together.
        most = 2 if headers == "always" else 12
        assert len(server.refused) <= most * windows

    simulate(main)


# ------------------------------------------------------------------ after a refusal


def test_nobody_sends_before_retry_after() -> None:
    pacer = paced()

    async def main() -> None:
        async with pacer.turn() as turn:
            pacer.learn(turn, RateLimit(None, None, None, 30.0), 429)
        assert 30 <= pacer.waiting_until() <= 33
        with anyio.move_on_after(29.9) as scope:
            async with pacer.turn():
                pass
        assert scope.cancelled_caught
        async with pacer.turn():
            assert 30 <= anyio.current_time() <= 33

    simulate(main)


@pytest.mark.parametrize("retry_after", [None, 0.0])
def test_without_retry_after_the_pause_doubles_up_to_a_minute(retry_after: float | None) -> None:
    pacer = paced()
    starts: list[float] = []

    async def main() -> None:
        for _ in range(10):
            async with pacer.turn() as turn:
                starts.append(anyio.current_time())
                pacer.learn(turn, RateLimit(None, None, None, retry_after), 429)
        pauses = [after - before for before, after in pairwise(starts)]
        for pause, least in zip(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60], strict=True):
            assert least <= pause <= least * 1.1
        async with pacer.turn() as turn:
            pacer.learn(turn, NOTHING, 200)
        async with pacer.turn() as turn:
            pacer.learn(turn, NOTHING, 429)
        assert pacer.waiting_until() <= 1.1

    simulate(main)


def test_refusals_that_were_under_way_together_count_once() -> None:
    pacer = paced()
    server = Server(0, 1e9, "never", retry_after=False)

    async def one() -> None:
        async with pacer.turn() as turn:
            pacer.learn(turn, *await server.request())

    async def main() -> None:
        async with pacer.turn() as turn:
            pacer.learn(turn, NOTHING, 200)
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(one)
        assert len(server.refused) == 8
        assert 0 < pacer.waiting_until() <= 1.1

    simulate(main)


@pytest.mark.parametrize(
    ("rate_limit", "least", "most"),
    [
        (RateLimit(10, 0, START + timedelta(seconds=45), 45.0), 45, 50),
        (RateLimit(10, 0, START + timedelta(seconds=45), 7.0), 7, 7.7),
        (RateLimit(10, 0, START - timedelta(days=2), 0.0), 1, 1.1),
        (RateLimit(10, 0, START + timedelta(days=900), 900 * 86400.0), 1, 1.1),
        (RateLimit(None, None, None, 86400.0), 900, 905),
    ],
    ids=["reset", "both", "past", "absurd reset", "long"],
)
def test_how_long_a_refusal_is_obeyed(rate_limit: RateLimit, least: float, most: float) -> None:
    pacer = paced()

    async def main() -> None:
        async with pacer.turn() as turn:
            pacer.learn(turn, rate_limit, 429)
        assert least <= pacer.waiting_until() <= most

    simulate(main)


# ------------------------------------------------------------------ pace


def test_a_lone_command_is_not_slowed_down() -> None:
    pacer = paced()
    server = Server(60, 60)

    async def main() -> None:
        (waits,) = await run(pacer, server, 1, 45, pause=3.0)
        assert max(waits) == 0

    simulate(main)


@pytest.mark.parametrize("headers", ["always", "never"])
def test_a_burst_of_450_at_600_a_minute_takes_no_longer_than_it_must(headers: Headers) -> None:
    server = Server(600, 60, headers)

    async def main() -> None:
        await run(paced(), server, 450, 1)
        took = anyio.current_time()
        if headers == "always":  # half of the window at once, the rest evenly over it
            assert took <= 60 * (450 - 300) / (300 - 12) * 1.1
        else:  # 20 at once, then 10 a second
            assert took <= (450 - 20) / 10 * 1.1
        assert not server.refused

    simulate(main)


@pytest.mark.parametrize("limit", [100, 600])
def test_under_load_a_window_does_not_end_in_a_long_stop(limit: int) -> None:
    server = Server(limit, 60)

    async def main() -> None:
        await run(paced(), server, 50, limit * 4 // 50)
        arrivals = server.arrivals
        gaps = [after - before for before, after in pairwise(arrivals)]
        assert max(gaps) <= 60 / (limit * 0.45) + 0.3
        assert anyio.current_time() <= 4 * 60 * 1.1

    simulate(main)


def test_nothing_known_one_goes_first_and_then_a_few() -> None:
    pacer = paced()
    begun: list[float] = []

    async def unanswered() -> None:
        async with pacer.turn():
            begun.append(anyio.current_time())
            await anyio.sleep(1000)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(30):
                tasks.start_soon(unanswered)
            await anyio.sleep(60)
            tasks.cancel_scope.cancel()
        assert len(begun) == 8
        assert begun[1] >= 1

    simulate(main)


@pytest.mark.parametrize(
    "rate_limit",
    [
        RateLimit(100, 5, None, None),
        RateLimit(100, 5, START - timedelta(days=1), 0.0),
        RateLimit(100, 5, START + timedelta(days=1), 86400.0),
        RateLimit(None, 5, datetime.max.replace(tzinfo=UTC), 1e11),
    ],
    ids=["no reset", "past", "tomorrow", "year 9999"],
)
def test_a_reset_that_cannot_be_believed_stops_us_for_a_minute_at_most(
    rate_limit: RateLimit,
) -> None:
    pacer = paced()

    async def main() -> None:
        async with pacer.turn() as turn:
            pacer.learn(turn, rate_limit, 200)
        for _ in range(4):  # 5 less the reserve of one or two
            async with pacer.turn():
                pass
        began = anyio.current_time()
        async with pacer.turn():
            pass
        assert anyio.current_time() - began <= 60

    simulate(main)


def test_a_clock_that_goes_back_stops_nobody_for_long() -> None:
    times = iter([1e6] * 40)
    pacer = paced(clock=lambda: next(times, 0.0) + anyio.current_time())

    async def main() -> None:
        for status, rate_limit in [
            (200, NOTHING),
            (200, RateLimit(100, 0, now() + timedelta(seconds=59), 59.0)),
        ]:
            async with pacer.turn() as turn:
                pacer.learn(turn, rate_limit, status)
        list(times)
        with anyio.fail_after(3700):
            await run(pacer, Server(100, 60), 3, 5)

    simulate(main)


# ------------------------------------------------------------------ fairness


def test_fifty_commands_wait_alike() -> None:
    server = Server(300, 60)

    async def main() -> None:
        pacer = paced()
        begun = 0

        async def command() -> None:
            nonlocal begun
            for _ in range(12):
                asked = begun
                async with pacer.turn() as turn:
                    begun = turn.number
                    assert begun - asked <= 50  # every other command at most once before
                    pacer.learn(turn, *await server.request())

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(command)
        assert begun == 600

    simulate(main)


def test_turns_are_given_in_the_order_they_were_asked_for() -> None:
    pacer = paced(rate=1.0, burst=1)
    order: list[int] = []

    async def one(number: int) -> None:
        async with pacer.turn() as turn:
            order.append(number)
            pacer.learn(turn, NOTHING, 200)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(30):
                tasks.start_soon(one, number)
        assert order == list(range(30))

    simulate(main)


@settings(max_examples=30)
@given(st.sets(st.integers(0, 29)), st.floats(0, 20))
def test_a_cancelled_waiter_leaves_no_gap(cancelled: set[int], when: float) -> None:
    pacer = paced(rate=1.0, burst=1)
    scopes: list[anyio.CancelScope] = []
    given_at: dict[int, float] = {}

    async def one(number: int) -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            async with pacer.turn() as turn:
                given_at[number] = anyio.current_time()
                pacer.learn(turn, NOTHING, 200)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(30):
                tasks.start_soon(one, number)
            await anyio.sleep(when)
            for number in cancelled:
                scopes[number].cancel()
        assert list(given_at) == sorted(given_at)
        assert set(range(30)) - cancelled <= set(given_at)
        assert all(b - a <= 1 + 1e-6 for a, b in pairwise(given_at.values()))
        with anyio.fail_after(1.1):
            async with pacer.turn():
                pass

    simulate(main)


@pytest.mark.parametrize("learned", [True, False])
def test_a_request_that_is_cancelled_or_fails_gives_its_place_back(learned: bool) -> None:
    pacer = paced(most_in_flight=1)

    async def main() -> None:
        if learned:
            async with pacer.turn() as turn:
                pass
            pacer.learn(turn, NOTHING, 200)
        for _ in range(5):
            with anyio.move_on_after(1):
                async with pacer.turn():
                    await anyio.sleep(100)
            with pytest.raises(OSError, match="reset"):
                async with pacer.turn():
                    raise OSError("reset")
        assert anyio.current_time() <= 5.1

    simulate(main)
