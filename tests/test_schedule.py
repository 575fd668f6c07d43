"""The pauses between polls and between calls, on a simulated clock."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostup_mcp.execution.schedule import Schedule


class Fixed(Random):
    """Dice that always fall the same way: 0 makes every pause short, just under 1 long."""

    def __init__(self, value: float) -> None:
        super().__init__(0)
        self.value = value

    def random(self) -> float:
        return self.value


def ask(schedule: Schedule, duration: float) -> tuple[int, float]:
    """How often is asked, and how late the answer is, if a request takes no time."""
    elapsed, polls = 0.0, 0
    while True:
        elapsed += schedule.pause(polls, elapsed)
        polls += 1
        if elapsed >= duration:
            return polls, elapsed - duration


dice = st.builds(Random, st.integers(0, 2**32)) | st.builds(
    Fixed, st.sampled_from([0.0, 0.5, 1 - 2**-53])
)


@given(dice)
def test_a_command_of_20_ms_costs_one_poll(dice: Random) -> None:
    polls, late = ask(Schedule(dice=dice), 0.02)
    assert polls == 1
    assert late <= 0.012


@given(dice, st.floats(0, 0.05))
def test_a_command_of_ten_minutes_costs_at_most_45_requests(dice: Random, offset: float) -> None:
    polls, late = ask(Schedule(dice=dice), 600 - offset)
    assert polls + 2 <= 45  # the probe and the POST
    assert late <= 30


@given(dice, st.floats(0, 0.05))
@pytest.mark.parametrize(("duration", "worst"), [(1, 0.35), (10, 3.5), (60, 21)])
def test_the_answer_is_late_by_a_third_at_most(
    duration: float, worst: float, dice: Random, offset: float
) -> None:
    assert ask(Schedule(dice=dice), duration - offset)[1] <= worst


@given(dice, st.floats(0, 600))
def test_the_answer_is_never_later_than_a_third_or_one_short_pause(
    dice: Random, duration: float
) -> None:
    schedule = Schedule(dice=dice)
    late = ask(schedule, duration)[1]
    longest = max(schedule.shortest, schedule.growth * duration, schedule.first)
    assert late <= min(longest, schedule.longest) * (1 + schedule.jitter) + 1e-9


@given(st.integers(1, 100), st.floats(0, 1e6), dice)
def test_the_settings_bound_the_pauses(polls: int, elapsed: float, dice: Random) -> None:
    schedule = Schedule(first=0.5, shortest=1, longest=5, growth=0.1, dice=dice)
    assert 0.95 - 1e-9 <= schedule.pause(polls, elapsed) <= 5.25 + 1e-9
    assert 0.475 - 1e-9 <= schedule.pause(0, elapsed) <= 0.525 + 1e-9
    assert Schedule(longest=0.05, jitter=0).pause(polls, elapsed) == 0.05


def test_two_schedules_do_not_ask_in_step() -> None:
    one, other = Schedule(), Schedule()
    assert [one.pause(n, n) for n in range(9)] != [other.pause(n, n) for n in range(9)]
    assert one == other  # the dice are no setting


def calls(duration: float, budget: float, thinking: float) -> tuple[int, float]:
    """Tool calls of an agent that does as it is told, and how late it has the answer."""
    schedule, clock, made = Schedule(), 0.0, 0
    while True:
        made += 1
        began = clock
        clock = max(began, min(duration, began + budget))
        if clock >= duration:
            return made, clock - duration
        clock += schedule.suggest(clock, budget)[0] + thinking


@pytest.mark.parametrize("budget", [3.75, 4, 7.5, 8, 22.5, 25, 45])
@pytest.mark.parametrize("thinking", [0, 3, 8])
@pytest.mark.parametrize("duration", [200, 220, 240])
def test_a_job_of_four_minutes_costs_at_most_6_calls(
    duration: float, thinking: float, budget: float
) -> None:
    made, late = calls(duration, budget, thinking)
    assert made <= 6
    assert late <= 60 + thinking  # a quarter of four minutes, whenever in them it ends


@given(st.floats(0, 1e7), st.floats(0, 1e4))
def test_a_suggestion_is_bounded_and_has_a_reason(elapsed: float, waited: float) -> None:
    seconds, reason = Schedule().suggest(elapsed, waited)
    assert 1 <= seconds <= 900
    assert seconds <= max(60, elapsed / 4 + 1)
    assert " s " in reason
    assert len(reason) < 80


def test_the_reason_fits_the_pause() -> None:
    assert Schedule().suggest(45.2, 45) == (
        10,
        "most commands that ran for 45 s run for 10 s more",
    )
    assert Schedule().suggest(4.1, 4) == (
        10,
        "a call waits only 4 s here; a longer pause saves calls",
    )
