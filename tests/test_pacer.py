"""One budget for all requests, against a simulated server on a simulated clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hostup_mcp.hostup.pacing import UNTOLD, RateLimit
from tests.pacer_simulation import START, Headers, Server, now, paced, run, seeded, simulate

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
            pacer.learn(turn, UNTOLD, 200)
        async with pacer.turn() as turn:
            pacer.learn(turn, UNTOLD, 429)
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
            pacer.learn(turn, UNTOLD, 200)
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
        assert begun[1] >= 1
        for first, ninth in zip(begun, begun[8:], strict=False):
            assert ninth - first >= 2 - 1e-6, "eight of them in any two seconds"

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
            (200, UNTOLD),
            (200, RateLimit(100, 0, now() + timedelta(seconds=59), 59.0)),
        ]:
            async with pacer.turn() as turn:
                pacer.learn(turn, rate_limit, status)
        list(times)
        with anyio.fail_after(3700):
            await run(pacer, Server(100, 60), 3, 5)

    simulate(main)
