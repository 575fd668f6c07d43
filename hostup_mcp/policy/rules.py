"""The operator's own rules: whole argv shapes with a verdict, checked when they are read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field

from hostup_mcp.policy.grammar import RESERVED_WORDS, parse
from hostup_mcp.policy.models import NEVER_BY_RULE, Model
from hostup_mcp.policy.preset import Preset, preset_data, program_name
from hostup_mcp.policy.shapes import REST, Shape
from hostup_mcp.policy.tree import Stage, SyntaxRefusal, Word
from hostup_mcp.policy.values import Definition, DefinitionError, ValueTypes

Verdict = Literal["allow", "ask", "deny"]

_PROGRAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*|(?:/[A-Za-z0-9_][A-Za-z0-9+._-]*)+")
_LITERAL = re.compile(r"[ -~]{0,1024}")
_VERSION = re.compile(r"[-.0-9]+$")
_TYPE_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_STRICTNESS: Final = {"allow": 0, "ask": 1, "deny": 2}


class PolicyError(Exception):
    """The policy cannot be used: where, what is wrong, and what to do."""

    def __init__(self, where: str, message: str, advice: str) -> None:
        super().__init__(f"{where}: {message} {advice}")
        self.where = where
        self.message = message
        self.advice = advice


class RuleData(Model):
    """A rule as the configuration has it (`policy.rules`).

    Attributes:
        argv: the program, then literal words and slots; `@type` takes one word of that type. In a
            rule that does not allow, `@rest` may come last and takes all further words.
        verdict: `allow`; `ask`, which refuses until asking a human is built; `deny`, which beats
            every rule and the preset.
        reason: why the rule is there; shown with a refusal.
        match: commands that the rule must match.
        not_match: commands that it must not match.
    """

    argv: Annotated[tuple[str, ...], Field(min_length=1, max_length=64)]
    verdict: Verdict = "allow"
    reason: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[ -~]+$")]
    match: tuple[str, ...] = ()
    not_match: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that was found good.

    Attributes:
        place: where it stands, such as `policy.rules[0]`.
        program: its program's name.
        shape: of the words after it.
        data: as it was written.
    """

    place: str
    program: str
    shape: Shape
    data: RuleData

    def matches(self, stage: Stage, types: ValueTypes) -> bool:
        """Whether a stage is of this rule's shape."""
        name = program_name(stage.words[0].text)
        return name == self.program and self.shape.check(stage.words[1:], types) is None


class RuleSet:
    """Rules in the order of the file; of those that match, the strictest verdict counts."""

    def __init__(self, rules: Sequence[Rule], types: ValueTypes) -> None:
        self.rules = tuple(rules)
        self.types = types
        self._by_program: dict[str, list[Rule]] = {}
        for rule in rules:
            self._by_program.setdefault(rule.program, []).append(rule)

    def find(self, stage: Stage) -> Rule | None:
        """The rule that decides about a stage, if any matches."""
        program = program_name(stage.words[0].text)
        matching = [
            rule for rule in self._by_program.get(program, ()) if rule.matches(stage, self.types)
        ]
        return max(matching, key=lambda rule: _STRICTNESS[rule.data.verdict], default=None)


def check_types(types: Mapping[str, Definition], preset: Preset, where: str) -> ValueTypes:
    """The preset's value types and the operator's own.

    Raises:
        PolicyError: one of them is not well formed, or has a name that is taken.
    """
    taken = preset.types.names()
    for name in types:
        if name in taken or not _TYPE_NAME.fullmatch(name) or f"@{name}" == REST:
            raise PolicyError(
                f"{where}.{name}",
                "this name is taken by a built-in type, or is not made of a-z, 0-9 and _.",
                "Give the type another name.",
            )
    extended = preset.types.extended(types)
    for name in types:
        try:
            extended.require(name)
        except DefinitionError as error:
            raise PolicyError(
                f"{where}.{name}", f"{error}.", "docs/policy.md has the forms of a type."
            ) from None
    return extended


def check_rules(data: Sequence[tuple[str, RuleData]], types: ValueTypes) -> RuleSet:
    """The rules, once each is seen to be good.

    Args:
        data: each rule, with its place.
        types: every value type that may be named.

    Raises:
        PolicyError: a rule names what no rule may name, has a wrong example, or can never match.
    """
    rules = [_check_rule(place, rule, types) for place, rule in data]
    found = RuleSet(rules, types)
    for number, rule in enumerate(rules):
        _check_reachable(rule, rules[:number], rules, types)
    for rule in rules:
        _check_examples(rule, found)
    return found


def _check_rule(place: str, data: RuleData, types: ValueTypes) -> Rule:
    word = data.argv[0]
    if not _PROGRAM.fullmatch(word):
        raise PolicyError(
            f"{place}.argv",
            f"{word!a} cannot name a program.",
            "Start with a plain name, such as systemctl, or an absolute path.",
        )
    _check_program(place, word, data.verdict)
    for part in data.argv[1:]:
        if part == REST:
            if data.verdict == "allow" or part is not data.argv[-1]:
                raise PolicyError(
                    f"{place}.argv",
                    "@rest would take any arguments at all.",
                    "It may stand last in a rule that denies or asks; a rule that allows names "
                    "each argument.",
                )
        elif part.startswith("@"):
            try:
                types.require(part[1:])
            except DefinitionError as error:
                raise PolicyError(
                    f"{place}.argv",
                    f"{error}.",
                    f"Types are: {', '.join(types.names())}; own ones go under policy.types.",
                ) from None
        elif not _LITERAL.fullmatch(part):
            raise PolicyError(
                f"{place}.argv",
                f"{part!a} is not printable ASCII, so no command can have it.",
                "Write another word.",
            )
    return Rule(place, program_name(word), Shape(data.argv[1:]), data)


def _check_program(place: str, word: str, verdict: Verdict) -> None:
    if verdict == "deny":
        return
    name = word.rpartition("/")[2]
    plain = _VERSION.sub("", name) or name
    for code in NEVER_BY_RULE:
        names = preset_data().refuse[code]
        if name in names.names or plain in names.names or name in RESERVED_WORDS:
            raise PolicyError(
                f"{place}.argv",
                f"{name} {names.why}, so what it would do cannot be judged.",
                "Allow the program that it would start, or a script of your own by its path.",
            )


def _check_reachable(
    rule: Rule, earlier: Sequence[Rule], every: Sequence[Rule], types: ValueTypes
) -> None:
    hiding = list(earlier) if rule.data.verdict == "deny" else [
        *earlier,
        *(r for r in every if _STRICTNESS[r.data.verdict] > _STRICTNESS[rule.data.verdict]),
    ]  # fmt: skip
    for other in hiding:
        stricter = _STRICTNESS[other.data.verdict] >= _STRICTNESS[rule.data.verdict]
        if stricter and other.program == rule.program and _covers(other.shape, rule.shape, types):
            raise PolicyError(
                rule.place,
                f"the rule can never decide: {other.place} ({other.data.verdict}) matches all that "
                "it matches.",
                "Remove one of the two.",
            )


def _covers(wide: Shape, narrow: Shape, types: ValueTypes) -> bool:
    """Whether every argv of the narrow shape is one of the wide; no where that is not certain."""
    mine, theirs = list(wide.parts), list(narrow.parts)
    if mine[-1:] == [REST]:
        mine = mine[:-1]
        theirs = theirs[: len(mine)]
    elif theirs[-1:] == [REST]:
        return False
    return len(mine) == len(theirs) and all(
        _part_covers(a, b, types) for a, b in zip(mine, theirs, strict=True)
    )


def _part_covers(wide: str, narrow: str, types: ValueTypes) -> bool:
    if wide == narrow:
        return True
    # Whether one type holds all of another is left open; only a literal is looked at.
    return (
        wide.startswith("@")
        and not narrow.startswith(("@", "-"))
        and types.check(wide[1:], narrow) is None
    )


def _check_examples(rule: Rule, rules: RuleSet) -> None:
    for example in rule.data.match:
        line = parse(example)
        if isinstance(line, SyntaxRefusal):
            why = f"it is not in the grammar: {line.message}"
        elif len(line.stages) != 1:
            why = "it has more than one stage."
        elif not rule.matches(line.stages[0], rules.types):
            words: tuple[Word, ...] = line.stages[0].words
            fault = rule.shape.check(words[1:], rules.types)
            why = f"the rule does not match it: {fault.message}" if fault else (
                f"its program is {words[0].text}, not {rule.program}."
            )  # fmt: skip
        elif (found := rules.find(line.stages[0])) and found.data.verdict != rule.data.verdict:
            why = f"{found.place} ({found.data.verdict}) decides about it."
        else:
            continue
        raise PolicyError(
            f"{rule.place}.match",
            f"the example {example!a} is wrong: {why}",
            "Mend the example, or the rule.",
        )
    for example in rule.data.not_match:
        line = parse(example)
        if isinstance(line, SyntaxRefusal):
            continue
        if any(rule.matches(stage, rules.types) for stage in line.stages):
            raise PolicyError(
                f"{rule.place}.not_match",
                f"the rule matches the example {example!a}, which it should not.",
                "Make the rule narrower, or mend the example.",
            )
