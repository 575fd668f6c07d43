"""The comparison: commands are made, judged, sent to shells, and what ran is held against the tree.

Many commands share a shell process, each on a line of its own after one that sets its number.
What does not come out as predicted, and every fiftieth command anyway, is run once more by itself,
as `SHELL -c COMMAND`, and only that decides.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from hostup_mcp.policy.shell.emit import emit_checked
from hostup_mcp.policy.shell.grammar import parse
from hostup_mcp.policy.shell.tree import CommandLine, SyntaxRefusal
from tests.differential.commands import Commands
from tests.differential.oracle import Prediction, predict
from tests.differential.shells import Ran, Runner
from tests.differential.world import NUMBER, World

CHUNK = 100
"""Accepted commands that are made from one seed, and share a shell process."""
ALONE = 50
"""One of so many is run by itself as well."""
MAX_SCRIPT = 100_000
"""Linux takes 128 KiB in one argument."""

Emitter = Callable[[str, CommandLine], str | SyntaxRefusal]
"""From the text and its tree to what is sent."""


def canonical(_text: str, line: CommandLine) -> str | SyntaxRefusal:
    """What the product sends."""
    return emit_checked(line)


def original(text: str, _line: CommandLine) -> str:
    """The text as it came, which the product never sends: what rewriting it spares."""
    return text.strip(" \t\n")


@dataclass(frozen=True)
class Case:
    """A command that was accepted, and what it should run."""

    text: str
    body: str
    prediction: Prediction


@dataclass(frozen=True)
class Divergence:
    """A command that ran something else than was judged, or that could not be emitted."""

    seed: str
    shell: str
    text: str
    body: str
    problem: str

    def __str__(self) -> str:
        return (
            f"seed {self.seed}, {self.shell}: {self.problem}\n"
            f"  text {self.text!r}\n  sent {self.body!r}"
        )


_COUNTS = ("generated", "accepted", "set_aside", "shell_runs", "programs", "alone", "reruns")


@dataclass
class Figures:
    """What a campaign did."""

    generated: int = 0
    accepted: int = 0
    set_aside: int = 0
    shell_runs: int = 0
    programs: int = 0
    alone: int = 0
    reruns: int = 0
    seconds: float = 0
    divergences: list[Divergence] = field(default_factory=list[Divergence])

    def add(self, other: Figures) -> None:
        """Count another part of the campaign."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.divergences += other.divergences

    def __str__(self) -> str:
        return (
            f"{self.generated} generated, {self.accepted} accepted and run, {self.set_aside} set "
            f"aside, {self.shell_runs} shell runs of {self.programs} programs ({self.alone} also "
            f"alone, {self.reruns} again), {len(self.divergences)} divergences, "
            f"{self.seconds:.1f} s"
        )


def campaign(
    commands: int,
    shells: Sequence[str],
    seed: str,
    *,
    jobs: int = 1,
    emitter: Emitter = canonical,
    progress: Callable[[Figures], None] = lambda _: None,
) -> Figures:
    """Run this many accepted commands through each of the shells."""
    began = time.monotonic()
    total = Figures()
    with tempfile.TemporaryDirectory(prefix="hostup_mcp_") as folder:
        root = World.build(Path(folder)).root
        parts = (
            (root, f"{seed}:{chunk}", min(CHUNK, commands - start), shells, emitter)
            for chunk, start in enumerate(range(0, commands, CHUNK))
        )
        for figures in _map(parts, jobs):
            total.add(figures)
            total.seconds = time.monotonic() - began
            progress(total)
    return total


_Part = tuple[Path, str, int, Sequence[str], Emitter]


def _map(parts: Iterable[_Part], jobs: int) -> Iterator[Figures]:
    if jobs == 1:
        yield from itertools.starmap(check, parts)
        return
    with ProcessPoolExecutor(jobs) as pool:
        waiting: list[Future[Figures]] = []
        for part in parts:
            waiting.append(pool.submit(check, *part))
            if len(waiting) > 2 * jobs:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def check(root: Path, seed: str, commands: int, shells: Sequence[str], emitter: Emitter) -> Figures:
    """Make this many accepted commands from a seed, and run each in all shells."""
    world, figures = World(root), Figures()
    cases: list[Case] = []
    source = Commands(seed, world)
    while len(cases) < commands:
        figures.generated += 1
        text = source.text()
        line = parse(text)
        if isinstance(line, SyntaxRefusal):
            continue
        body = emitter(text, line)
        if isinstance(body, SyntaxRefusal):
            if body.code != "command_too_long":
                figures.divergences.append(Divergence(seed, "emit", text, "", body.message))
            continue
        prediction = predict(line, world)
        if prediction is None:
            figures.set_aside += 1
        else:
            cases.append(Case(text, body, prediction))
    figures.accepted = len(cases)
    runner = Runner(world, str(os.getpid()))
    for shell in shells:
        _compare(cases, shell, seed, runner, figures)
    return figures


def _compare(
    cases: Sequence[Case], shell: str, seed: str, runner: Runner, figures: Figures
) -> None:
    for batch in _batches(cases):
        ran = runner.run(
            shell, "\n".join(f"{NUMBER}={number}\n{case.body}" for number, case in batch)
        )
        for number, case in batch:
            figures.shell_runs += 1
            figures.programs += case.prediction.runs.total()
            right = not ran.said and Counter(ran.records.get(number, ())) == case.prediction.runs
            if right and number % ALONE:
                continue
            figures.alone += right
            figures.reruns += not right
            if wrong := run_alone(case, shell, runner):
                figures.divergences.append(Divergence(seed, shell, case.text, case.body, wrong))


def run_alone(case: Case, shell: str, runner: Runner) -> str:
    """Run a command by itself, and say what is wrong with what it did."""
    return problem(case.prediction, runner.run(shell, case.body, timeout=30))


def problem(prediction: Prediction, ran: Ran) -> str:
    """How what was run differs from what was predicted; empty if it does not."""
    runs = Counter(itertools.chain.from_iterable(ran.records.values()))
    found: list[str] = []
    if missed := prediction.runs - runs:
        found.append(f"did not run {list(missed.elements())}")
    if more := runs - prediction.runs:
        found.append(f"ran {list(more.elements())}")
    if ran.status != prediction.status:
        found.append(f"exit status {ran.status}, not {prediction.status}")
    if ran.said:
        found.append(f"said {ran.said!r}")
    return "; ".join(found)


def _batches(cases: Sequence[Case]) -> Iterator[list[tuple[int, Case]]]:
    batch: list[tuple[int, Case]] = []
    size = 0
    for number, case in enumerate(cases):
        if size + len(case.body) > MAX_SCRIPT:
            yield batch
            batch, size = [], 0
        batch.append((number, case))
        size += len(case.body) + 40
    if batch:
        yield batch
