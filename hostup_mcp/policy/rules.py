"""The operator's own rules: whole argv shapes with a verdict, checked when they are read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field

from hostup_mcp.policy.mismatch import Mismatch
from hostup_mcp.policy.models import NEVER_BY_RULE
from hostup_mcp.policy.preset import Preset, preset_data
from hostup_mcp.policy.programs.shapes import REST, Shape
from hostup_mcp.policy.shell.emit import SEARCHED
from hostup_mcp.policy.shell.grammar import RESERVED_WORDS, parse
from hostup_mcp.policy.shell.tree import Stage, SyntaxRefusal
from hostup_mcp.policy.toml_fields import Model
from hostup_mcp.policy.values.definitions import Definition
from hostup_mcp.policy.values.types import DefinitionError, ValueTypes

Verdict = Literal["allow", "ask", "deny"]

_PROGRAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*|(?:/[A-Za-z0-9_][A-Za-z0-9+._-]*)+")
_LITERAL = re.compile(r"[ -~]{0,1024}")
# What a name may have behind it and still be the same program: a version, a build.
_SUFFIX = re.compile(r"(?<=.)[.0-9].*$|-[-.0-9]*$")
_VERSIONED = re.compile(r"(python|pypy|perl|php|ruby|lua|tclsh|wish|node|ksh)[.0-9].*")
_LOADER = re.compile(r"ld-(linux|musl).*|ld(64)?[-.].*[.]so.*")
_TYPE_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_PROGRAM_FOLDERS: Final = frozenset(
    {*SEARCHED, "/usr/local/bin", "/usr/local/sbin", "/lib", "/lib64", "/usr/lib", "/snap/bin"}
)
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
        shape: of the words after the program.
        data: as it was written.
    """

    place: str
    shape: Shape
    data: RuleData

    @property
    def program(self) -> str:
        """Its program as it was written: a plain name, or an absolute path."""
        return self.data.argv[0]

    def matches(self, stage: Stage, types: ValueTypes) -> bool:
        """Whether a stage is of this rule's shape."""
        return self.names(stage.words[0].text) and self.mismatch(stage, types) is None

    def names(self, word: str) -> bool:
        """Whether a word names this rule's program.

        A rule that denies or asks is about every program of that name, wherever it stands. One
        that allows is about the very path, or, for a plain name, about where that is looked up.
        """
        if self.data.verdict != "allow":
            return _base(word) == _base(self.program)
        return word == self.program or (
            "/" not in self.program and word in {f"{folder}/{self.program}" for folder in SEARCHED}
        )

    def mismatch(self, stage: Stage, types: ValueTypes) -> Mismatch | None:
        """What keeps a stage from this rule's shape; the index counts from the program."""
        fault = self.shape.check(stage.words[1:], types)
        return fault and fault.at(fault.index + 1 if fault.index >= 0 else -1)


class RuleSet:
    """Rules in the order of the file; of those that match, the strictest verdict counts."""

    def __init__(self, rules: Sequence[Rule], types: ValueTypes) -> None:
        self.rules = tuple(rules)
        self.types = types
        self._by_name: dict[str, list[Rule]] = {}
        for rule in rules:
            self._by_name.setdefault(_base(rule.program), []).append(rule)

    def named(self, word: str) -> Sequence[Rule]:
        """The rules about programs of this name, in whatever folder."""
        return self._by_name.get(_base(word), ())

    def find(self, stage: Stage) -> Rule | None:
        """The rule that decides about a stage, if any matches."""
        named = self.named(stage.words[0].text)
        matching = [rule for rule in named if rule.matches(stage, self.types)]
        return max(matching, key=lambda rule: _STRICTNESS[rule.data.verdict], default=None)

    def near(self, stage: Stage) -> tuple[Rule, Mismatch] | None:
        """The rule that would allow a stage but for one word, and that word; the closest."""
        found = [
            (rule, fault)
            for rule in self.named(stage.words[0].text)
            if rule.data.verdict == "allow"
            and rule.names(stage.words[0].text)
            and (fault := rule.mismatch(stage, self.types))
        ]
        return max(found, key=lambda pair: _reach(pair[1], stage), default=None)


def _base(word: str) -> str:
    return word.rpartition("/")[2]


def _reach(fault: Mismatch, stage: Stage) -> int:
    """How many words of a stage a rule takes before its mismatch."""
    return fault.index if fault.index >= 0 else len(stage.words)


def check_types(types: Mapping[str, Definition], preset: Preset, where: str) -> ValueTypes:
    """The preset's value types and the operator's own.

    Raises:
        PolicyError: one of them is not well formed, or has a name that is taken.
    """
    taken = preset.types.names()
    for name in types:
        if name in taken or f"@{name}" == REST:
            problem = "a built-in type has this name."
        elif not _TYPE_NAME.fullmatch(name):
            problem = "a name is made of a-z, 0-9 and _, and begins with a letter."
        else:
            continue
        raise PolicyError(f"{where}.{name}", problem, "Give the type another name.")
    extended = preset.types.extended(types)
    for name in types:
        try:
            extended.require(name)
        except DefinitionError as error:
            raise PolicyError(
                f"{where}.{name}", f"{error}.", "docs/policy.md has the forms of a type."
            ) from None
    return extended


def check_rules(
    data: Sequence[tuple[str, RuleData]], types: ValueTypes, inherited: RuleSet | None = None
) -> RuleSet:
    """The rules, once each is seen to be good.

    Args:
        data: each rule, with its place.
        types: every value type that may be named.
        inherited: rules that hold beside them, and were found good by themselves: a rule of a
            single VPS may well refuse what a general one allows.

    Raises:
        PolicyError: a rule names what no rule may name, has a wrong example, or can never match.
    """
    rules = [_check_rule(place, rule, types) for place, rule in data]
    found = RuleSet([*(inherited.rules if inherited else ()), *rules], types)
    for rule in rules:
        _check_reachable(rule, found)
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
                    "Use it only as the last word of a rule that denies or asks; a rule that "
                    "allows must name each argument.",
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
    return Rule(place, Shape(data.argv[1:]), data)


def barred(word: str) -> str | None:
    """Why no rule may let this program through: the code of its group; None if one may."""
    for code in NEVER_BY_RULE:
        if _names_one_of(word, preset_data().refuse[code].names, code):
            return code
    return None


def _check_program(place: str, word: str, verdict: Verdict) -> None:
    code = None if verdict == "deny" else barred(word)
    if code is None:
        return
    if word in RESERVED_WORDS:
        advice = "Name a program."
    elif code == "shell_builtin":
        advice = f"Name the program by its path, such as /usr/bin/{word}, if there is one."
    else:
        advice = "Allow the program that it would start, or a script of your own by its path."
    why = preset_data().refuse[code].why
    raise PolicyError(
        f"{place}.argv", f"{word} {why}, so what it would do cannot be judged.", advice
    )


def _names_one_of(word: str, names: Sequence[str], code: str) -> bool:
    """Whether a word names one of these programs, in any spelling that a system may have it under.

    A path in a folder of its own is not cut: `/opt/app/watch-logs` is no `watch`.
    """
    name = _base(word)
    if code == "shell_builtin":
        # The shell runs its own only for a plain name.
        return "/" not in word and (name in names or name in RESERVED_WORDS)
    lower = name.lower()
    spellings = {name, lower, _VERSIONED.sub(r"\1", lower)}
    if word == name or word.rpartition("/")[0] in _PROGRAM_FOLDERS:
        spellings.add(_SUFFIX.sub("", lower))
    is_loader = code == "wrapper" and _LOADER.fullmatch(lower) is not None
    return is_loader or not spellings.isdisjoint(names)


def _check_reachable(rule: Rule, rules: RuleSet) -> None:
    earlier = True
    for other in rules.named(rule.program):
        if other is rule:
            earlier = False
            continue
        ahead = _STRICTNESS[other.data.verdict] - _STRICTNESS[rule.data.verdict]
        hides = ahead > 0 or (ahead == 0 and earlier)
        if hides and _names_all(other, rule) and _covers(other.shape, rule.shape, rules.types):
            raise PolicyError(
                rule.place,
                f"the rule can never decide: {other.place} ({other.data.verdict}) matches "
                "everything that it matches.",
                "Remove one of the two.",
            )


def _names_all(wide: Rule, narrow: Rule) -> bool:
    """Whether whatever names the one rule's program names the other's."""
    return wide.data.verdict != "allow" or (
        narrow.data.verdict == "allow" and wide.names(narrow.program)
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
            fault = rule.mismatch(line.stages[0], rules.types)
            why = f"the rule does not match it: {fault.message}" if fault else (
                f"its program is {line.stages[0].argv[0]}, not {rule.program}."
            )  # fmt: skip
        elif (found := rules.find(line.stages[0])) and found.data.verdict != rule.data.verdict:
            why = f"{found.place} ({found.data.verdict}) decides about it."
        else:
            continue
        raise PolicyError(
            f"{rule.place}.match",
            f"the example {example!a} is wrong: {why}",
            "Correct the example or the rule.",
        )
    for example in rule.data.not_match:
        line = parse(example)
        if isinstance(line, SyntaxRefusal):
            raise PolicyError(
                f"{rule.place}.not_match",
                f"the example {example!a} is not in the grammar, so it proves nothing: "
                f"{line.message}",
                "Correct the example.",
            )
        if any(rule.matches(stage, rules.types) for stage in line.stages):
            raise PolicyError(
                f"{rule.place}.not_match",
                f"the rule matches the example {example!a}, which it should not.",
                "Make the rule narrower, or correct the example.",
            )
