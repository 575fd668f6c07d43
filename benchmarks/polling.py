"""Polls and added latency by command length, on a simulated clock.

    python benchmarks/polling.py

A request takes no time here, so that every figure is the schedule's own doing. Each run has its
own jitter, and its command ends earlier than said by up to a quarter, so that no figure depends
on how the polls happen to fall.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from statistics import fmean

from hostup_mcp.execution.schedule import Schedule

DURATIONS = (0.02, 0.1, 0.5, 1, 5, 30, 60, 240, 600)
BUDGETS = (3.75, 4, 8, 25, 45)
JOB_SECONDS = 240.0
RUNS = 2000
SPREAD = 0.25

Pause = Callable[[int, float], float]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command of one length costs with one schedule: polls, and seconds too late."""

    polls: float
    most_polls: int
    late: float
    latest: float


def ask(pause: Pause, duration: float) -> tuple[int, float]:
    """The number of polls, and how late the answer is."""
    elapsed, polls = 0.0, 0
    while True:
        elapsed += pause(polls, elapsed)
        polls += 1
        if elapsed >= duration:
            return polls, elapsed - duration


def measure(pauses: Callable[[Random], Pause], duration: float) -> Cost:
    """Many runs with other jitter and another end each."""
    polls: list[int] = []
    late: list[float] = []
    for seed in range(RUNS):
        dice = Random(seed)
        ends = duration * (1 - SPREAD * dice.random())
        asked, lateness = ask(pauses(dice), ends)
        polls.append(asked)
        late.append(lateness)
    return Cost(fmean(polls), max(polls), fmean(late), max(late))


def every(seconds: float) -> Callable[[Random], Pause]:
    """Polling at a fixed interval, the first poll after one interval."""
    return lambda _dice: lambda _polls, _elapsed: seconds


def ours(dice: Random) -> Pause:
    """The project's schedule with its defaults."""
    return Schedule(dice=dice).pause


def calls(budget: float, thinking: float) -> tuple[int, float]:
    """Tool calls for one long job by an agent that obeys, and how late it has the answer."""
    schedule, clock, made = Schedule(), 0.0, 0
    while True:
        made += 1
        clock = max(clock, min(JOB_SECONDS, clock + budget))
        if clock >= JOB_SECONDS:
            return made, clock - JOB_SECONDS
        clock += schedule.suggest(clock, budget)[0] + thinking


def main() -> None:
    """Print both tables as Markdown."""
    lines = [
        f"Polls (mean, most) and added latency (mean, worst; seconds and % of the command), "
        f"{RUNS} runs a cell.",
        "",
        "| command | ours: polls | ours: late | every 1 s: polls | every 1 s: late "
        "| every 2 s: polls | every 2 s: late |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for duration in DURATIONS:
        cells = [f"{duration:g} s"]
        for pauses in (ours, every(1), every(2)):
            cost = measure(pauses, duration)
            mean, worst = cost.late / duration, cost.latest / duration
            cells += [
                f"{cost.polls:.1f}, {cost.most_polls}",
                f"{cost.late:.3g}, {cost.latest:.3g} s ({mean:.1%}, {worst:.1%})",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"Tool calls for a job of {JOB_SECONDS:.0f} s, and how late the agent has the answer, if "
        "it asks again when it is told to, at once or after thinking for 5 s.",
        "",
        "| a call waits | calls | late | calls, thinking | late, thinking |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for budget in BUDGETS:
        cells = [f"{budget:g} s"]
        for thinking in (0, 5):
            made, late = calls(budget, thinking)
            cells += [f"{made}", f"{late:.0f} s ({late / JOB_SECONDS:.0%})"]
        lines.append(f"| {' | '.join(cells)} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
