"""Searches for lines near a refused one, with a bound on how much is looked at.

A line is good if each part between `;` is unchanged, or has only commands that the preset allows.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

from hostup_mcp.policy.judge import Refusal
from hostup_mcp.policy.mismatch import Mismatch
from hostup_mcp.policy.preset import Preset
from hostup_mcp.policy.rules import RuleSet
from hostup_mcp.policy.shell.emit import emit
from hostup_mcp.policy.shell.grammar import parse
from hostup_mcp.policy.shell.tree import CommandLine, Stage, SyntaxRefusal, Word
from hostup_mcp.suggestions.line_rewrites import (
    Stages,
    by_itself,
    entered,
    rewritten,
    segments,
    spliced,
    without_stages,
)
from hostup_mcp.suggestions.stage_rewrites import Rewrite, StageRewriter
from hostup_mcp.suggestions.text_rewrites import Kind, rewrite_text
from hostup_mcp.suggestions.usefulness import lacks_input, only_prints
from hostup_mcp.suggestions.wrappers import inner_line

MOST: Final = 3
"""How many commands are offered."""

_MAX_DEPTH: Final = 4
_MAX_TEXTS: Final = 10
_MAX_STEPS: Final = 20
_GLOB_STEPS: Final = 3  # Comparing a pattern with all those of the preset takes longer.
_MAX_REFUSED: Final = 4
_KINDS: Final[tuple[Kind, ...]] = ("same", "quoted", "changed", "literal")


class Search:
    """One search, with a limit on how many commands it examines."""

    def __init__(self, text: str, preset: Preset, rules: RuleSet, reader: Preset) -> None:
        self._text = text
        self._preset = preset
        self._rules = rules
        self._reader = reader
        self._rewriter = StageRewriter(preset)
        self._faults: dict[tuple[Word, ...], Mismatch | None] = {}
        self._seen = {text}
        self._steps = 0

    def near(self, refusal: Refusal) -> Iterator[str]:
        """Commands to offer, closest first, not yet judged."""
        if refusal.stages:
            if self._preset.name != "unrestricted":
                yield from self._lines(refusal.stages, refusal.stages)
        else:
            yield from self._texts(self._text, refusal)

    def _texts(self, text: str, refusal: Refusal | SyntaxRefusal) -> Iterator[str]:
        """Commands to offer for a text outside the grammar: few changes before many."""
        todo: deque[tuple[str, Refusal | SyntaxRefusal, Kind]] = deque([(text, refusal, "same")])
        while todo:
            current, fault, kind = todo.popleft()
            for mended in rewrite_text(current, fault.code, fault.offset, fault.length):
                if mended.text in self._seen or len(self._seen) > _MAX_TEXTS:
                    continue
                self._seen.add(mended.text)
                both = _KINDS[max(map(_KINDS.index, (kind, mended.kind)))]
                line = parse(mended.text)
                if isinstance(line, SyntaxRefusal):
                    todo.append((mended.text, line, both))
                else:
                    yield from self._mended(line.stages, both)

    def _mended(self, stages: Stages, kind: Kind) -> Iterator[str]:
        restricted = self._preset.name != "unrestricted"
        if restricted and kind != "literal":
            yield from self._lines(stages, stages if kind == "same" else ())
        elif kind == "literal" or (kind == "quoted" and not restricted):
            if all(map(self._reads, stages)) and not lacks_input(stages, self._preset.data):
                yield emit(CommandLine(stages))
        elif kind == "same":
            yield emit(CommandLine(stages))

    # -------------------------------------------------------------- lines

    def _lines(self, stages: Stages, asked: Stages, depth: int = 0) -> Iterator[str]:
        """Commands to offer for a line in the grammar."""
        moved = entered(stages)
        if moved is None or depth > _MAX_DEPTH:
            return
        if moved.stages != stages:
            asked = ()
        stages, folder = moved.stages, moved.folder
        refused = self._refused(stages)
        if refused is None:
            return
        if not refused:
            if self.is_good(stages, asked):
                yield emit(CommandLine(stages))
            return
        for index in refused:
            inner = inner_line(stages[index].argv)
            if inner is not None:
                yield from self._inner(stages, index, inner, depth)
                return
        yield from self._combined(stages, refused, asked, folder)

    def _refused(self, stages: Stages) -> list[int] | None:
        """The indices of the refused stages; None if too many different ones are refused."""
        refused: list[int] = []
        for index, stage in enumerate(stages):
            if self._fault(stage):
                refused.append(index)
            if len({stages[place].words for place in refused}) > _MAX_REFUSED:
                return None
        return refused

    def _inner(self, stages: Stages, index: int, text: str, depth: int) -> Iterator[str]:
        """Commands to offer for the line in which a shell's text replaces that shell."""
        line = parse(text)
        if isinstance(line, SyntaxRefusal):
            if len(stages) == 1:
                yield from self._texts(text, line)
        elif whole := spliced(stages, index, line.stages):
            yield from self._lines(whole, (), depth + 1)

    def _combined(
        self, stages: Stages, refused: Sequence[int], asked: Stages, folder: str
    ) -> Iterator[str]:
        """The line with the best rewrite of each refused stage; then with the next rewrites."""
        choices = self._choices(stages, refused, folder)
        mended = [index for index in refused if choices[index]]
        lost = [index for index in refused if not choices[index]]
        if lost:
            if self._steps >= _MAX_STEPS:
                return
            kept = without_stages(stages, lost)
            if kept and mended:
                yield from self._lines(kept, (), _MAX_DEPTH)
            elif kept and self.is_good(kept, ()) and not only_prints(kept, self._preset.data):
                yield emit(CommandLine(kept))
            return
        for number in range(MOST):
            if number >= max(len(choices[index]) for index in mended):
                return
            chosen = {
                index: choices[index][min(number, len(choices[index]) - 1)] for index in mended
            }
            whole = rewritten(stages, chosen)
            if whole and self.is_good(whole, asked):
                yield emit(CommandLine(whole))

    def _choices(
        self, stages: Stages, refused: Sequence[int], folder: str
    ) -> dict[int, list[Rewrite]]:
        found: dict[tuple[Word, ...], list[Rewrite]] = {}
        for index in refused:
            words = stages[index].words
            if words not in found:
                found[words] = list(islice(self._rewrites(stages[index], folder), MOST))
        return {index: found[stages[index].words] for index in refused}

    def is_good(self, stages: Stages, asked: Stages) -> bool:
        """Whether a line may be offered: its changed parts only read.

        Args:
            stages: the stages of the line.
            asked: the stages of the refused line; empty if it is not in the grammar.
        """
        parts, as_asked = segments(stages), {by_itself(part) for part in segments(asked)}
        only_reads = all(
            by_itself(part) in as_asked or all(map(self._reads, part)) for part in parts
        )
        return (
            only_reads and not lacks_input(stages, self._preset.data) and not self._is_bare(stages)
        )

    def _is_bare(self, stages: Stages) -> bool:
        """Whether only the program's name is left of a command that had more words."""
        if sum(len(stage.words) for stage in stages) > 1:
            return False
        name = re.escape("".join(word for stage in stages for word in stage.argv))
        was_bare = re.search(rf"(?<![^\s'\"])['\"]?{name}['\"]?\s*(?![^|&;)<>#'\"])", self._text)
        return not was_bare and re.search(rf"(?<![^\s/'\"]){name}\s", self._text) is not None

    # -------------------------------------------------------------- stages

    def _rewrites(self, stage: Stage, folder: str) -> Iterator[Rewrite]:
        """Rewrites of a refused stage that the preset allows: few changes before many."""
        fault = self._fault(stage)
        todo = deque([(stage, fault, 0)] if fault and fault.code != "rule_denied" else ())
        seen = {stage.words}
        while todo:
            current, fault, depth = todo.popleft()
            for rewrite in self._rewriter.rewrites(current, fault, folder):
                if self._steps >= _MAX_STEPS:
                    return
                if rewrite.words in seen:
                    continue
                seen.add(rewrite.words)
                changed = replace(current, words=rewrite.words)
                self._steps += 1 + _GLOB_STEPS * len(changed.globs)
                left = self._checked(changed, self._preset)
                if left is None:
                    yield rewrite
                elif depth + 1 < _MAX_DEPTH and not rewrite.final:
                    todo.append((changed, left, depth + 1))

    def _fault(self, stage: Stage) -> Mismatch | None:
        """Why a stage is refused."""
        rule = self._rules.find(stage)
        if rule is None:
            return self._checked(stage, self._preset)
        allows = rule.data.verdict == "allow"
        return None if allows else Mismatch("rule_denied", "A rule of the operator's refuses this.")

    def _reads(self, stage: Stage) -> bool:
        """Whether the preset allows a stage by itself."""
        return self._checked(stage, self._reader) is None

    def _checked(self, stage: Stage, preset: Preset) -> Mismatch | None:
        """The preset's verdict; each argv is checked only once."""
        if stage.words not in self._faults:
            self._faults[stage.words] = preset.check(stage.words)
        return self._faults[stage.words]
