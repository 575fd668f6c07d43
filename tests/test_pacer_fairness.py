"""Whose turn it is: first come, first served, and nobody held up by a VPS that hangs."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostup_mcp.hostup.pacer import Pacer
from hostup_mcp.hostup.pacing import UNTOLD
from tests.pacer_simulation import Headers, Server, paced, seeded, simulate


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
            pacer.learn(turn, UNTOLD, 200)

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
                pacer.learn(turn, UNTOLD, 200)

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
            pacer.learn(turn, UNTOLD, 200)
        for _ in range(5):
            with anyio.move_on_after(1):
                async with pacer.turn():
                    await anyio.sleep(100)
            with pytest.raises(OSError, match="reset"):
                async with pacer.turn():
                    raise OSError("reset")
        assert anyio.current_time() <= 5.1

    simulate(main)


# ------------------------------------------------------------------ requests that hang


async def hang(pacer: Pacer, name: str, begun: list[float] | None = None) -> None:
    async with pacer.turn(name):
        if begun is not None:
            begun.append(anyio.current_time())
        await anyio.sleep(30)


async def answered(pacer: Pacer, name: str = "") -> float:
    """Make a request, and say how long it waited."""
    asked = anyio.current_time()
    async with pacer.turn(name) as turn:
        pacer.learn(turn, UNTOLD, 200)
    return anyio.current_time() - asked


def test_nine_vpss_that_hang_before_anything_is_known_hold_up_nobody_for_long() -> None:
    async def main() -> None:
        pacer = paced()
        async with anyio.create_task_group() as tasks:
            for number in range(9):
                tasks.start_soon(hang, pacer, f"vps_{number}")
            await anyio.sleep(0.5)
            assert await answered(pacer, "vps_good") <= 3
            assert await answered(pacer, "vps_good") == 0
            tasks.cancel_scope.cancel()

    simulate(main)


def test_a_vps_that_hangs_has_few_requests_under_way_and_is_overtaken() -> None:
    async def main() -> None:
        pacer = paced()
        await answered(pacer)
        begun: list[float] = []
        async with anyio.create_task_group() as tasks:
            for _ in range(55):
                tasks.start_soon(hang, pacer, "vps_bad", begun)
            await anyio.sleep(0.5)
            assert begun == [0, 0, 0, 0]
            assert await answered(pacer, "vps_good") == 0
            await anyio.sleep(31)
            assert begun[4:] == [30, 30, 30, 30]
            tasks.cancel_scope.cancel()

    simulate(main)


def test_room_goes_at_once_to_who_may_use_it() -> None:
    async def main() -> None:
        pacer = paced(most_in_flight=5)
        await answered(pacer)

        async def brief() -> None:
            async with pacer.turn():
                await anyio.sleep(1)

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(hang, pacer, "vps_bad")
            tasks.start_soon(brief)
            await anyio.sleep(0.5)
            tasks.start_soon(hang, pacer, "vps_bad")
            await anyio.lowlevel.checkpoint()
            assert await answered(pacer, "vps_good") == 0.5, "the brief one's, before any is hung"
            tasks.cancel_scope.cancel()

    simulate(main)


def test_many_vpss_that_hang_leave_room_up_to_a_bound() -> None:
    async def main() -> None:
        pacer = paced(rate=1000, burst=1000, most_hung=70)
        await answered(pacer)
        begun: list[float] = []
        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(hang, pacer, f"vps_{number}", begun)
            await anyio.sleep(1.9)
            assert len(begun) == 50, "none of them counts as hung yet"
            await anyio.sleep(20)
            assert len(begun) == 70
            assert await answered(pacer, "vps_good") <= 20
            tasks.cancel_scope.cancel()

    simulate(main)


def test_replies_that_wait_to_be_read_hold_up_nobody() -> None:
    async def main() -> None:
        pacer = paced(most_in_flight=4)
        await answered(pacer)

        async def pause() -> None:
            async with pacer.turn("vps_1") as turn:
                pacer.make_room(turn)
                pacer.make_room(turn)
                await anyio.sleep(1000)

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(pause)
            await anyio.lowlevel.checkpoint()
            assert await answered(pacer, "vps_1") == 0
            tasks.cancel_scope.cancel()
        begun: list[float] = []
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(hang, pacer, "vps_1", begun)
            await anyio.sleep(29)
            assert len(begun) == 4, "what made room counts once"
            tasks.cancel_scope.cancel()

    simulate(main)


@settings(max_examples=60)
@given(
    limit=st.integers(5, 200),
    seconds=st.sampled_from([7.3, 60.0]),
    headers=st.sampled_from(["always", "on 429", "never"]),
    machines=st.integers(1, 12),
    commands=st.integers(1, 60),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    bounds=st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(1, 5), st.integers(12, 30)),
    seed=st.integers(0, 2**32),
)
def test_whoever_has_room_comes_in_turn_and_no_bound_is_exceeded(
    limit: int,
    seconds: float,
    headers: Headers,
    machines: int,
    commands: int,
    share: float,
    bounds: tuple[int, int, int, int],
    seed: int,
) -> None:
    dice = seeded(seed)
    first, most, of_one, hung = bounds
    server = Server(
        limit,
        seconds,
        headers,
        trip=lambda: dice.uniform(0, 0.1),
        # The first of a window tells what is left; without that nobody could keep to it.
        think=lambda used: 30.0 if used > 1 and dice.random() < share else 0.0,
    )
    waiting: list[tuple[int, str]] = []
    out: list[tuple[float, str]] = []

    async def command(pacer: Pacer, number: int) -> None:
        name = f"vps_{dice.randrange(machines)}" if dice.random() < 0.95 else ""
        for _ in range(3):
            me = (number, name)
            waiting.append(me)
            async with pacer.turn(name) as turn:
                names = Counter(other for _, other in out)
                before = waiting[: waiting.index(me)]
                assert all(other and names[other] >= of_one for _, other in before)
                waiting.remove(me)
                assert not name or names[name] < of_one
                assert len(out) < hung
                began = anyio.current_time()
                assert sum(began - other < 2 - 1e-5 for other, _ in out) < most
                out.append((began, name))
                try:
                    pacer.learn(turn, *await server.request())
                finally:
                    out.remove((began, name))

    async def main() -> None:
        pacer = paced(
            first_in_flight=first, most_in_flight=most, most_of_one=of_one, most_hung=hung
        )
        async with anyio.create_task_group() as tasks:
            for number in range(commands):
                tasks.start_soon(command, pacer, number)
        assert not waiting
        if headers == "always":
            assert not server.refused

    simulate(main)
