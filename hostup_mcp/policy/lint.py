"""The configuration read as a careful operator would: what is wider than it looks, or of no use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hostup_mcp.policy.grammar import parse
from hostup_mcp.policy.judge import Policy
from hostup_mcp.policy.policies import Policies
from hostup_mcp.policy.preset import Preset, preset_data
from hostup_mcp.policy.rules import Rule
from hostup_mcp.policy.shapes import REST
from hostup_mcp.policy.tree import SyntaxRefusal
from hostup_mcp.policy.values import PATH_TYPES, ValueTypes

_PRIVATE_PATHS: Final = (
    "/etc/shadow",
    "/root/.ssh/id_rsa",
    "/home/user/.env",
    "/var/lib/mysql/ibdata1",
    "/etc/ssl/private/site.key",
    "/proc/1/environ",
    "/dev/sda",
    "etc/shadow",
    "../etc/shadow",
)
_OPTION_LIKE: Final = ("--config=/tmp/x", "key=value", "@/etc/shadow", "file:///etc/shadow")
_WIDE_READABLE: Final = ("/root/.ssh/id_rsa", "/home/user/.ssh/id_rsa", "/srv/app/.env")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to look at.

    Attributes:
        code: `slot_reads_private`, `slot_is_wide`, `program_executes`, `never_matches`,
            `adds_nothing`, `examples_missing`, `deny_is_narrow`, `readable_is_wide` or
            `unrestricted`.
        place: the key of the configuration, such as `policy.rules[0]`.
        message: one sentence.
        advice: one sentence.
    """

    code: str
    place: str
    message: str
    advice: str


def lint(policies: Policies) -> list[Finding]:
    """Every finding, in the order of the configuration, without repetition."""
    found: dict[tuple[str, str, str], Finding] = {}
    named = [("policy", policies.default)]
    named += [(f"policy.vps[{n}]", policy) for n, (_, policy) in enumerate(policies.special)]
    for place, policy in named:
        for finding in _policy(place, policy):
            found.setdefault((finding.code, finding.place, finding.message), finding)
    for n, (entry, _) in enumerate(policies.special):
        if entry.closed and (entry.rules or entry.readable or entry.preset):
            finding = Finding(
                "never_matches",
                f"policy.vps[{n}]",
                "It is closed, so its preset, rules and readable paths are of no use.",
                "Remove closed, or the rest.",
            )
            found[finding.code, finding.place, finding.message] = finding
    return list(found.values())


def _policy(place: str, policy: Policy) -> Iterator[Finding]:
    if policy.unrestricted:
        yield Finding(
            "unrestricted",
            f"{place}.preset",
            "Any command that parses is sent to the VPS, as root.",
            "Allow single commands by rules, and keep a preset that only reads.",
        )
    for rule in policy.rules.rules:
        yield from _rule(rule, policy)
    yield from _readable(place, policy)


def _rule(rule: Rule, policy: Policy) -> Iterator[Finding]:
    types = policy.rules.types
    if not rule.data.match or not rule.data.not_match:
        missing = " and ".join(
            name for name in ("match", "not_match") if not getattr(rule.data, name)
        )
        yield Finding(
            "examples_missing",
            rule.place,
            f"It has no examples in {missing}.",
            "Give a command for each: they are checked at every start.",
        )
    if rule.data.verdict == "deny":
        yield from _narrow_deny(rule, policy.preset)
    else:
        yield from _slots(rule, types)
        yield from _executing(rule)
    yield from _useless(rule, policy)


def _slots(rule: Rule, types: ValueTypes) -> Iterator[Finding]:
    for kind in dict.fromkeys(rule.shape.slots):
        if kind in PATH_TYPES and (kind != "meta" or _only_names(rule)):
            continue
        private = [path for path in _PRIVATE_PATHS if types.check(kind, path) is None]
        if private:
            yield Finding(
                "slot_reads_private",
                f"{rule.place}.argv",
                f"@{kind} takes {private[0]}, which is outside the files that may be read.",
                "Use @read, or a type that begins with one folder and has no dots.",
            )
            continue
        wide = [text for text in _OPTION_LIKE if types.check(kind, text, attached=True) is None]
        if wide:
            yield Finding(
                "slot_is_wide",
                f"{rule.place}.argv",
                f"@{kind} takes {wide[0]}, which some programs read as more than a plain value.",
                "Use a narrower type.",
            )


def _only_names(rule: Rule) -> bool:
    """Whether the program only shows names of what its `@meta` slot takes."""
    command = preset_data().command.get(rule.program)
    return command is not None and any(kind == "meta" for kind in getattr(command, "types", ()))


def _executing(rule: Rule) -> Iterator[Finding]:
    name = rule.program.rpartition("/")[2]
    data = preset_data()
    command = data.command.get(name)
    effects: set[str] = set(command.refused) if command else set()
    risky = name in data.refuse["changes"].names or name in data.refuse["secrets"].names
    if rule.shape.slots and (risky or effects & {"exec", "write", "load"}):
        what = "can execute or write through what it is given"
        yield Finding(
            "program_executes",
            rule.place,
            f"{name} {what}, and the rule leaves it {len(rule.shape.slots)} argument"
            f"{'s' * (len(rule.shape.slots) > 1)} to choose.",
            "Write the whole command out, or see that no value of these types can do that.",
        )


def _narrow_deny(rule: Rule, preset: Preset) -> Iterator[Finding]:
    ends_open = rule.shape.parts[-1:] == (REST,)
    if not ends_open and (preset.name == "unrestricted" or rule.program in preset.commands):
        yield Finding(
            "deny_is_narrow",
            rule.place,
            f"It refuses one exact form, and {rule.program} is allowed in others.",
            f'To refuse the program, write ["{rule.program}", "@rest"].',
        )


def _useless(rule: Rule, policy: Policy) -> Iterator[Finding]:
    for kind in rule.shape.slots:
        definition = policy.rules.types.definitions().get(kind)
        if isinstance(definition, str) and re.match(r"-|\\-", definition):
            yield Finding(
                "never_matches",
                rule.place,
                f"Every value of @{kind} begins with -, which no slot takes.",
                "Write the option as a literal word.",
            )
    examples = rule.data.match
    if not examples or policy.closed_by or policy.unrestricted:
        return
    lines = [parse(example) for example in examples]
    allowed = all(
        not isinstance(line, SyntaxRefusal) and policy.preset.check(line.stages[0].words) is None
        for line in lines
    )
    if rule.data.verdict == "allow" and allowed:
        yield Finding(
            "adds_nothing",
            rule.place,
            "The preset lets its examples through already.",
            "Remove it, or give an example of what it adds.",
        )
    if rule.data.verdict == "deny" and not any(_is_allowed(policy, line) for line in examples):
        yield Finding(
            "adds_nothing",
            rule.place,
            "Nothing else lets its examples through.",
            "It may stay, in case a later rule would.",
        )


def _is_allowed(policy: Policy, example: str) -> bool:
    """Whether a command would pass without any rule that denies it."""
    line = parse(example)
    if isinstance(line, SyntaxRefusal):
        return False
    stage = line.stages[0]
    allows = any(
        rule.data.verdict != "deny" and rule.matches(stage, policy.rules.types)
        for rule in policy.rules.rules
    )
    return allows or policy.preset.check(stage.words) is None


def _readable(place: str, policy: Policy) -> Iterator[Finding]:
    plain = set(Preset(policy.preset.name).types.paths.readable)
    own = [text for text in policy.preset.types.paths.readable if text not in plain]
    for text in own:
        parts = [part for part in text.split("/") if part]
        wide = len(parts) < 2 or parts[0].startswith("*") or "**" in parts[0]
        rules = Preset(policy.preset.name, (text,)).types.paths
        private = [p for p in _WIDE_READABLE if rules.check_read(p, is_glob=False) is None]
        if wide or private:
            yield Finding(
                "readable_is_wide",
                f"{place}.readable",
                f"{text} opens {private[0] if private else 'a folder at the top'} too.",
                "Name the folder of the files that are wanted, such as /srv/app/log/**.",
            )
