"""Finds the allowed commands that come closest to a refused one.

The search looks for commands that the preset allows. Of what the operator's rules allow, it offers
only the examples of those rules, never the outcome of a rewrite. Under `unrestricted` it offers
only the same command with other quoting. Each command is judged before it is offered.
"""

from __future__ import annotations

import difflib
import logging
import re
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain
from pathlib import Path
from typing import Final

from hostup_mcp.policy.judge import GENERAL_HINT, ApprovedCommand, Policy, Refusal
from hostup_mcp.policy.preset import Preset, program_name
from hostup_mcp.policy.programs.lookups import NETWORK_REFUSED
from hostup_mcp.policy.shell.emit import emit
from hostup_mcp.policy.shell.grammar import parse
from hostup_mcp.policy.shell.tree import CommandLine, Stage, SyntaxRefusal
from hostup_mcp.suggestions.line_rewrites import with_stage
from hostup_mcp.suggestions.search import MOST, Search
from hostup_mcp.suggestions.stage_rewrites import says_what
from hostup_mcp.suggestions.text_rewrites import is_one_command
from hostup_mcp.suggestions.wrappers import unwrapped

_logger = logging.getLogger(__name__)

_USE_NEAREST: Final = "Leave it out, or use one of the nearest allowed forms."
_MAX_CHARACTERS: Final = 1000
_MAX_EXAMPLES: Final = 2
_MANY_PATTERNS: Final = 6
_ASKS_FOR_LESS: Final = re.compile(
    r"-h|-n|-i|-[a-zA-Z]*[ni]|--help|--version|--dry-run|--simulate|--just-print|--check.*|--test"
    r"|--interactive.*|--no-act"
)
_FINAL: Final = frozenset({"rule_denied", "approval_needed", "vps_closed"})
# No other file is near a refused one, and no other question is near a look-up.
_NO_EXAMPLE: Final = ("path_", "name_", NETWORK_REFUSED)
# After one of these refusals, the first command is only a part of what was asked for.
_PARTIAL: Final = frozenset({"negation", "reserved_word", "substitution", "here_document"})


@dataclass(frozen=True, slots=True)
class Advice:
    """What a refused caller may write instead.

    Attributes:
        hint: one sentence.
        nearest: up to three allowed commands that come closest, best first.
    """

    hint: str
    nearest: tuple[str, ...]


def advise(policy: Policy, text: str, refusal: Refusal) -> Advice:
    """What to write instead of a refused command. If the search fails, it has no commands."""
    found = nearest(policy, text, refusal)
    hint = _USE_NEAREST if found and refusal.hint == GENERAL_HINT else refusal.hint
    return Advice(hint, found)


def nearest(policy: Policy, text: str, refusal: Refusal) -> tuple[str, ...]:
    """Up to three commands, all of them allowed, closest first; none if the search fails."""
    try:
        return search(policy, text, refusal)
    except Exception as error:  # noqa: BLE001 - a suggestion that fails is no suggestion
        place = traceback.extract_tb(error.__traceback__)[-1]
        # Without the error's text, which may contain the command.
        module = Path(place.filename).stem
        _log_once(f"{type(error).__name__} in {module}.{place.name}, line {place.lineno}")
        return ()


def search(policy: Policy, text: str, refusal: Refusal) -> tuple[str, ...]:
    """Like `nearest`, but an error of the search is raised."""
    return _Suggester(policy).suggest(text, refusal)


@lru_cache(maxsize=64)
def _log_once(failure: str) -> None:
    _logger.warning("no command could be suggested: %s", failure)


class _Suggester:
    """Finds allowed commands near a refused one."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._preset = preset = policy.preset
        self._rules = policy.rules
        # Under `unrestricted`, the preset diagnostics says which programs expect text.
        self._reader = _diagnostics() if preset.name == "unrestricted" else preset

    def suggest(self, text: str, refusal: Refusal) -> tuple[str, ...]:
        """Up to three commands, all of them allowed, closest first."""
        if refusal.code in _FINAL or len(text) > _MAX_CHARACTERS:
            return ()
        search = Search(text, self._preset, self._rules, self._reader)
        if self._preset.name == "unrestricted":
            return self._offered(search.near(refusal), text)
        asked = _asked(text, refusal)
        own = self._own_examples(text, refusal, asked) if asked else []
        meant = [line for line in own if asked and line == _emitted(unwrapped(asked.argv))]
        found = self._offered(chain(meant, search.near(refusal), own), text)
        return found or self._offered(self._preset_examples(text, refusal, search), text)

    def _offered(self, candidates: Iterator[str], text: str) -> tuple[str, ...]:
        seen = {text.strip()}
        found: list[str] = []
        # Judging many patterns takes long, so one line with them is enough.
        most = MOST if sum(map(text.count, "*?")) < _MANY_PATTERNS else 1
        for candidate in candidates:
            if candidate in seen:
                continue
            seen.add(candidate)
            if isinstance(self._policy.judge(candidate), ApprovedCommand):
                found.append(candidate)
            if len(found) == most:
                break
        return tuple(found)

    def _own_examples(self, text: str, refusal: Refusal, asked: Stage) -> list[str]:
        """The examples of the operator's rules for the program, if only one was asked for."""
        # An unknown value could be anything, so no example is near it.
        known = refusal.stages or refusal.code not in {"variable", "substitution"}
        is_one = len(refusal.stages) == 1 or (not refusal.stages and is_one_command(text))
        is_one = is_one and bool(known)
        if not is_one or refusal.code in _PARTIAL:
            return []
        program = unwrapped(asked.argv)[0]
        words = unwrapped(asked.argv if refusal.stages else tuple(text.split()))
        examples = [
            example
            for rule in self._rules.named(program)
            if rule.data.verdict == "allow"
            and rule.names(program)
            and _asks_for(words, rule.data.argv)
            for example in rule.data.match
        ]
        return _closest(text, examples)

    def _preset_examples(self, text: str, refusal: Refusal, search: Search) -> Iterator[str]:
        """The line with an example of the refused program's entry in place of that program."""
        if not refusal.stages or refusal.code.startswith(_NO_EXAMPLE):
            return
        place = _stage_at(refusal.stages, refusal.offset)
        argv = unwrapped(refusal.stages[place].argv)
        command = self._preset.commands.get(program_name(argv[0]))
        if command is None or says_what(command, argv):
            return
        if command.builtin and refusal.code == "usage_refused":
            return  # No other text is near what it was to print.
        lines = map(parse, _closest(text, command.examples))
        yield from (
            emit(CommandLine(whole))
            for line in lines
            if isinstance(line, CommandLine)
            and search.is_good(
                whole := with_stage(refusal.stages, place, line.stages[0].words), refusal.stages
            )
        )


@cache
def _diagnostics() -> Preset:
    return Preset("diagnostics")


def _asks_for(asked: Sequence[str], shape: Sequence[str]) -> bool:
    """Whether a command asks for what a rule allows, as far as the rule's literal words say.

    False if it asks for less: a help text, a trial run, or a question first.
    """
    if any(_ASKS_FOR_LESS.fullmatch(word) for word in asked):
        return False
    words = iter(asked[1:])
    return all(part in words for part in shape[1:] if not part.startswith(("@", "-")))


def _closest(text: str, examples: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(text, examples, n=_MAX_EXAMPLES, cutoff=0.0)


def _asked(text: str, refusal: Refusal) -> Stage | None:
    """The refused stage; for a text outside the grammar, the program that it begins with."""
    if refusal.stages:
        return refusal.stages[_stage_at(refusal.stages, refusal.offset)]
    line = parse(text.split(maxsplit=1)[0]) if text.strip() else None
    return line.stages[0] if isinstance(line, CommandLine) else None


def _emitted(argv: tuple[str, ...]) -> str:
    line = parse(" ".join(argv))
    return "" if isinstance(line, SyntaxRefusal) else emit(line)


def _stage_at(stages: Sequence[Stage], offset: int) -> int:
    starts = [stage.words[0].offset for stage in stages]
    return max(index for index, start in enumerate(starts) if start <= offset or index == 0)
