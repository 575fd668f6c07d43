"""Rewrites a line: one of its commands replaced, left out, or moved to its folder.

A command beside `&&` or `||` decides what else runs, so none is left out of such a line.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from hostup_mcp.policy.preset import program_name
from hostup_mcp.policy.shell.tree import Stage, Word
from hostup_mcp.suggestions.stage_rewrites import Rewrite

Stages = tuple[Stage, ...]

_CHANGE_FOLDER: Final = frozenset({"cd", "chdir", "pushd"})
_SHOW_FOLDER: Final = frozenset({"ls", "du", "tree"})
_CONDITIONS: Final = frozenset({"&&", "||"})


@dataclass(frozen=True, slots=True)
class Moved:
    """A line without its `cd`, and the folder of the `cd`; `/` if there was none."""

    stages: Stages
    folder: str


def entered(stages: Stages) -> Moved | None:
    """For `cd /x && ls -l`: `ls -l /x`, with /x as the folder of other relative paths.

    None if it is not certain in which folder a command runs.
    """
    places = [i for i, stage in enumerate(stages) if program_name(stage.argv[0]) in _CHANGE_FOLDER]
    if not places or len(stages) == 1:
        return Moved(stages, "/")
    at = places[0]
    argv, after = stages[at].argv, stages[at + 1 :]
    plain = len(argv) == 2 and argv[1].startswith("/") and not stages[at].globs
    # A command that a pipe or `||` joins to the `cd` does not run in its folder.
    joined = after and after[0].operator in {"&&", ";"} and stages[at].operator in {None, ";"}
    if len(places) > 1 or not plain or not joined:
        return None
    first = replace(after[0], operator=stages[at].operator)
    rest = tuple(_inside(stage, argv[1]) for stage in (first, *after[1:]))
    return Moved((*stages[:at], *rest), argv[1])


def _inside(stage: Stage, folder: str) -> Stage:
    """The stage with the folder written out where the program would use the current folder."""
    words = tuple(
        replace(word, text=folder) if word.text in {".", "./"} else word for word in stage.words
    )
    name = program_name(stage.argv[0])
    if name == "find" and (len(words) == 1 or words[1].text.startswith(("-", "(", "!"))):
        words = (words[0], Word(folder), *words[1:])
    elif name in _SHOW_FOLDER and all(word.text.startswith("-") for word in words[1:]):
        words = (*words, Word(folder))
    return replace(stage, words=words)


def segments(stages: Stages) -> list[Stages]:
    """The parts of a line between `;`."""
    parts: list[list[Stage]] = []
    for stage in stages:
        if not parts or stage.operator == ";":
            parts.append([])
        parts[-1].append(stage)
    return [tuple(part) for part in parts]


def by_itself(part: Stages) -> Stages:
    """A part as a line of its own."""
    return (replace(part[0], operator=None), *part[1:])


def with_stage(stages: Stages, index: int, words: tuple[Word, ...]) -> Stages:
    """The line with other words in one stage."""
    return (*stages[:index], replace(stages[index], words=words), *stages[index + 1 :])


def rewritten(stages: Stages, rewrites: Mapping[int, Rewrite]) -> Stages | None:
    """The line with these rewrites of its stages; None if part of a condition would be lost.

    A rewrite that is `alone` replaces its whole pipeline.
    """
    put: list[Stage] = []
    for start, end in _pipelines(stages):
        alone = next((r for i in range(start, end) if (r := rewrites.get(i)) and r.alone), None)
        if alone is None:
            put += [
                replace(stages[i], words=rewrites[i].words) if i in rewrites else stages[i]
                for i in range(start, end)
            ]
        elif end - start > 1 and _has_conditions(stages):
            return None
        else:
            put.append(Stage(stages[start].operator, alone.words))
    return tuple(put)


def without_stages(stages: Stages, places: Collection[int]) -> Stages | None:
    """The line without some stages; None if nothing is left, or a condition would be lost."""
    if _has_conditions(stages):
        return None
    # A pipeline without its first command has no input, so all of it goes.
    lost = {
        index
        for start, end in _pipelines(stages)
        for index in range(start, end)
        if index in places or start in places
    }
    left = [stage for index, stage in enumerate(stages) if index not in lost]
    if not left:
        return None
    return (replace(left[0], operator=None), *left[1:])


def spliced(stages: Stages, index: int, inner: Sequence[Stage]) -> Stages | None:
    """The line with a pipeline in place of one stage; None if that changes what operators mean."""
    alone = len(stages) == 1
    if not alone and any(stage.operator != "|" for stage in inner[1:]):
        return None
    outer = stages[index]
    if outer.redirections and len(inner) > 1:
        return None
    first, rest = inner[0], inner[1:]
    redirections = (*first.redirections, *outer.redirections)
    first = replace(first, operator=outer.operator, redirections=redirections)
    return (*stages[:index], first, *rest, *stages[index + 1 :])


def _pipelines(stages: Sequence[Stage]) -> list[tuple[int, int]]:
    """The start and the end of each pipeline."""
    starts = [index for index, stage in enumerate(stages) if stage.operator != "|"]
    return list(pairwise([*starts, len(stages)]))


def _has_conditions(stages: Sequence[Stage]) -> bool:
    return any(stage.operator in _CONDITIONS for stage in stages)
