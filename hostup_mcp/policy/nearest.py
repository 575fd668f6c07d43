"""The allowed commands that come closest to a refused one.

Small changes are tried on the refused command, one after the other, and what the policy lets
through is offered. The programs' own examples follow.
"""

from __future__ import annotations

import difflib
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, Protocol

from hostup_mcp.policy.emit import emit
from hostup_mcp.policy.grammar import parse
from hostup_mcp.policy.preset import Preset, program_name
from hostup_mcp.policy.rules import RuleSet
from hostup_mcp.policy.stage_rewrites import Argv, Target, nested_command, rewrite_stage
from hostup_mcp.policy.text_rewrites import rewrite_text
from hostup_mcp.policy.tree import CommandLine, Stage, SyntaxRefusal, Word

MOST: Final = 3
_MAX_TRIALS: Final = 48
_MAX_DEPTH: Final = 4
_MAX_CHARACTERS: Final = 1000
_MAX_EXAMPLES: Final = 2
# What a rewrite puts in: a folder of the refused command, and one pattern.
_NEW_GLOB = re.compile(r"/[A-Za-z0-9_./-]*\*\.[a-z]+")
_FINAL: Final = frozenset({"rule_denied", "approval_needed", "vps_closed"})


class Refused(Protocol):
    """What is read of a refusal."""

    @property
    def code(self) -> str:
        """Stable code."""
        ...

    @property
    def offset(self) -> int:
        """Where the token stands."""
        ...

    @property
    def length(self) -> int:
        """How long it is."""
        ...

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What was judged."""
        ...


class Suggester:
    """Finds allowed commands near a refused one."""

    def __init__(
        self, preset: Preset, rules: RuleSet, judge: Callable[[str], Refused | None]
    ) -> None:
        """The suggester.

        Args:
            preset: whose programs, examples and equivalents are used.
            rules: the operator's own, whose examples are used.
            judge: the policy: None for a command that it lets through.
        """
        self._preset = preset
        self._rules = rules
        self._judge = judge
        allowed = [rule for rule in rules.rules if rule.data.verdict == "allow"]
        self._known = sorted({*preset.commands, *(rule.program for rule in allowed)})

    def suggest(self, text: str, refusal: Refused) -> tuple[str, ...]:
        """Up to three commands, each allowed as it stands, closest first."""
        if refusal.code in _FINAL:
            return ()
        found: list[str] = []
        if len(text) <= _MAX_CHARACTERS:
            for candidate in self._search(text, refusal):
                if candidate not in found and self._is_useful(candidate, text, refusal):
                    found.append(candidate)
                if len(found) == MOST:
                    break
        if not found:
            found += self._examples(text, refusal)
        return tuple(found[:MOST])

    def _is_useful(self, candidate: str, text: str, refusal: Refused) -> bool:
        """Whether a candidate keeps something of what was asked: its bare program seldom does."""
        if candidate == text.strip():
            return False
        command = self._preset.commands.get(candidate)
        if command is None or candidate in command.examples or not refusal.stages:
            return True
        place = _stage_at(refusal.stages, refusal.offset)
        return program_name(refusal.stages[place].argv[0]) != candidate

    def _search(self, text: str, refusal: Refused) -> Iterator[str]:
        """Breadth first: few changes before many."""
        todo = deque([(text, refusal, 0)])
        seen = {text}
        trials = 0
        while todo:
            current, refused, depth = todo.popleft()
            for candidate in self._rewrites(current, refused):
                if candidate in seen or not candidate:
                    continue
                seen.add(candidate)
                trials += 1
                if trials > _MAX_TRIALS:
                    return
                verdict = self._judge(candidate)
                if verdict is None:
                    yield _canonical(candidate)
                elif depth + 1 < _MAX_DEPTH:
                    todo.append((candidate, verdict, depth + 1))

    def _rewrites(self, text: str, refusal: Refused) -> Iterator[str]:
        if not refusal.stages:
            yield from rewrite_text(text, refusal.code, refusal.offset, refusal.length)
            return
        place = _stage_at(refusal.stages, refusal.offset)
        target = _target(refusal.stages[place], refusal)
        if moved := _moved(refusal.stages, place):
            yield moved
        if inner := nested_command(target.argv):
            yield inner
        for argv in rewrite_stage(target, self._preset, self._known):
            # What lists files reads nothing from a pipe.
            piped = refusal.stages[place].operator == "|"
            if argv and not (piped and argv[0] == "ls"):
                yield _with_stage(refusal.stages, place, argv)
        if len(refusal.stages) > 1:
            yield _without_stage(refusal.stages, place)

    def _examples(self, text: str, refusal: Refused) -> list[str]:
        words = text.split()
        programs = [program_name(word) for word in words[:3]]
        if refusal.stages:
            at = _stage_at(refusal.stages, refusal.offset)
            programs.insert(0, program_name(refusal.stages[at].argv[0]))
        for program in programs:
            command = self._preset.commands.get(program)
            examples = list(command.examples) if command else []
            for rule in self._rules.rules:
                if rule.program == program and rule.data.verdict == "allow":
                    examples += rule.data.match
            allowed = [example for example in examples if self._judge(example) is None]
            if allowed:
                return difflib.get_close_matches(text[:200], allowed, n=_MAX_EXAMPLES, cutoff=0.0)
        return []


def _stage_at(stages: Sequence[Stage], offset: int) -> int:
    starts = [stage.words[0].offset for stage in stages]
    return max(index for index, start in enumerate(starts) if start <= offset or index == 0)


def _target(stage: Stage, refusal: Refused) -> Target:
    """The word at fault; the program where the refusal is about all of the stage."""
    for index, word in enumerate(stage.words):
        if word.offset == refusal.offset and word.length == refusal.length:
            return Target(stage.argv, refusal.code, index)
    return Target(stage.argv, refusal.code, 0)


def _moved(stages: Sequence[Stage], place: int) -> str | None:
    """For `cd /x && tail y`: the commands after it, with their files in that folder."""
    argv = stages[place].argv
    if argv[0] != "cd" or len(argv) != 2 or not argv[1].startswith("/") or place + 1 >= len(stages):
        return None
    folder = argv[1].rstrip("/")
    rest = [_in_folder(stage, folder) for stage in stages[place + 1 :]]
    return emit(CommandLine((*stages[:place], replace(rest[0], operator=None), *rest[1:])))


def _in_folder(stage: Stage, folder: str) -> Stage:
    words = tuple(
        Word(f"{folder}/{word.text}") if _may_be_file(word.text) and index == len(stage.words) - 1
        else word
        for index, word in enumerate(stage.words)
    )  # fmt: skip
    if len(stage.words) == 1 and stage.argv[0] == "ls":
        words = (*stage.words, Word(folder))
    return replace(stage, words=words)


def _may_be_file(text: str) -> bool:
    return bool(text) and text[0].isalnum() and ("." in text or text.isalpha()) and len(text) > 1


def _with_stage(stages: Sequence[Stage], place: int, argv: Argv) -> str:
    changed = replace(stages[place], words=_as_words(argv, stages[place]))
    return emit(CommandLine((*stages[:place], changed, *stages[place + 1 :])))


def _as_words(argv: Argv, stage: Stage) -> tuple[Word, ...]:
    globs = {word.text for word in stage.words if word.is_glob}
    return tuple(
        Word(
            text,
            is_glob=text in globs or (text.startswith("/") and "*" in text and " " not in text),
        )
        for text in argv
    )


def _without_stage(stages: Sequence[Stage], place: int) -> str:
    left = [*stages[:place], *stages[place + 1 :]]
    left[0] = replace(left[0], operator=None)
    return emit(CommandLine(tuple(left)))


def _canonical(text: str) -> str:
    line = parse(text)
    return text if isinstance(line, SyntaxRefusal) else emit(line)
