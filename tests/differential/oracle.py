"""What a command runs, by the tree that was judged: no shell is asked."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hostup_mcp.policy.shell.tree import CommandLine, Stage
from tests.differential.world import World, exit_status

Runs = Counter[tuple[str, ...]]

MAX_RECORD = 4000
"""Characters. A shell's printf writes so many in one piece, which cannot mix with another."""


@dataclass(frozen=True)
class Prediction:
    """The programs that run, with their arguments, in any order; and the exit status."""

    runs: Runs
    status: int


def predict(line: CommandLine, world: World) -> Prediction | None:
    """What `line` runs, or None if it goes beyond the recorders and the folder with files.

    Also None for more arguments than a recorder writes at once.
    """
    runs: Runs = Counter()
    status = 0
    for pipeline in _pipelines(line):
        stages = [_argv(stage, world) for stage in pipeline]
        argvs = [argv for argv in stages if argv and len("\0".join(argv)) <= MAX_RECORD]
        if len(argvs) < len(stages):
            return None
        operator = pipeline[0].operator
        if (operator == "&&" and status) or (operator == "||" and not status):
            continue
        runs.update(argvs)
        status = exit_status(argvs[-1][0].rpartition("/")[2])
    return Prediction(runs, status)


def expand(pattern: str) -> list[str]:
    """The paths that an absolute pattern matches, by their bytes; itself if it matches none."""
    paths = [""]
    for part in pattern.split("/")[1:]:
        if "*" in part or "?" in part:
            paths = [f"{path}/{name}" for path in paths for name in _names(path, part)]
        else:
            paths = [f"{path}/{part}" for path in paths]
    return sorted((path for path in paths if os.path.lexists(path)), key=os.fsencode) or [pattern]


def _pipelines(line: CommandLine) -> list[list[Stage]]:
    pipelines: list[list[Stage]] = []
    for stage in line.stages:
        if stage.operator == "|":
            pipelines[-1].append(stage)
        else:
            pipelines.append([stage])
    return pipelines


def _argv(stage: Stage, world: World) -> tuple[str, ...]:
    """What a stage runs; empty if its program or one of its patterns is not of this world."""
    first, *rest = stage.words
    program = world.program(first.text)
    if program is None:
        return ()
    argv = [program]
    for word in rest:
        if word.is_glob and not word.text.startswith(f"{world.files}/"):
            return ()
        argv += expand(word.text) if word.is_glob else [word.text]
    return tuple(argv)


def _names(folder: str, pattern: str) -> list[str]:
    """The names in a folder that a part of a pattern matches; no hidden ones.

    In the grammar, no wildcard follows a leading dot.
    """
    signs = {"*": ".*", "?": "."}
    fits = re.compile("".join(signs.get(c) or re.escape(c) for c in pattern), re.DOTALL)
    try:
        names = [path.name for path in Path(folder).iterdir()]
    except (NotADirectoryError, FileNotFoundError):
        return []
    return [name for name in names if not name.startswith(".") and fits.fullmatch(name)]
