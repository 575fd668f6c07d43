"""Finds what is wider than it looks, or of no use, in the operator's configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hostup_mcp.policy.judge import Policy
from hostup_mcp.policy.models import Subcommands
from hostup_mcp.policy.policies import Policies
from hostup_mcp.policy.preset import Preset, preset_data
from hostup_mcp.policy.programs.shapes import REST
from hostup_mcp.policy.rules import Rule
from hostup_mcp.policy.shell.grammar import parse
from hostup_mcp.policy.shell.tree import CommandLine
from hostup_mcp.policy.values.types import NAME_TYPES, PATH_TYPES, ValueTypes, parts_of

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
# Programs that run, load or write what their operands name; the preset's data know more options.
_RUNS_OPERANDS: Final = frozenset(
    """
    ansible ansible-playbook at cargo composer crontab curl dd docker docker-compose find gem git go
    install kubectl ln lxc lxc-attach machinectl make mv cp mysql npm pip pip3 podman psql rsync scp
    sqlite3 ssh systemd-nspawn tar tcpdump tee unzip virsh wget zip
    """.split()
)
_LITERALS_ONLY = re.compile(r"[A-Za-z0-9_@./:|-]+")
# How deep a folder must be before everything below it is no longer most of a system.
_SHALLOW: Final = {"": 2, "home": 3, "var": 3, "etc": 3, "usr": 3}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to look at.

    Attributes:
        code: `slot_reads_private`, `slot_is_wide`, `slot_is_vital`, `pattern_is_loose`,
            `program_executes`, `reads_protected`, `never_matches`, `adds_nothing`,
            `examples_missing`, `deny_is_narrow`, `readable_is_wide` or `unrestricted`.
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
            # What a VPS's policy inherits was told where it stands.
            told = any(
                (f.code, f.message) == (finding.code, finding.message) for f in found.values()
            )
            if not (told and finding.place.endswith(".readable")):
                found.setdefault((finding.code, finding.place, finding.message), finding)
    for finding in (*_network(policies), *_entries(policies), *_unused_types(policies)):
        found[finding.code, finding.place, finding.message] = finding
    for n, (entry, _) in enumerate(policies.special):
        if entry.closed and (entry.rules or entry.readable or entry.preset or entry.network):
            finding = Finding(
                "never_matches",
                f"policy.vps[{n}]",
                "It is closed, so its preset, network, rules and readable paths have no effect.",
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
        yield from _vital(rule, types)
        yield from _loose(rule, types)
        yield from _executing(rule)
        yield from _protected(rule, types)
    yield from _useless(rule, policy)


def _slots(rule: Rule, types: ValueTypes) -> Iterator[Finding]:
    for kind in dict.fromkeys(rule.shape.slots):
        if kind in PATH_TYPES and (kind not in NAME_TYPES or _only_names(rule)):
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


def _vital(rule: Rule, types: ValueTypes) -> Iterator[Finding]:
    """Slots that take what ends the machine, or the way into it."""
    data = preset_data()
    name = rule.program.rpartition("/")[2]
    command = data.command.get(name)
    literals = [part for part in rule.shape.parts if not part.startswith("@")]
    if isinstance(command, Subcommands) and literals and literals[0] in command.subcommand:
        return  # It only looks.
    words = [*data.vital.get(name, ())]
    words += [word for part in literals for word in data.vital.get(f"{name} {part}", ())]
    for kind in dict.fromkeys(rule.shape.slots):
        found = [word for word in words if types.check(kind, word) is None]
        if found:
            yield Finding(
                "slot_is_vital",
                f"{rule.place}.argv",
                f"@{kind} takes {found[0]}, with which {name} can stop the machine or cut off "
                "access to it.",
                "Write out the words that you mean, or define a type that names them; @unit takes "
                "services that may be stopped.",
            )


def _only_names(rule: Rule) -> bool:
    """Whether the program only shows names of what a slot of names takes."""
    command = preset_data().command.get(rule.program)
    return command is not None and bool(NAME_TYPES & {*getattr(command, "types", ())})


def _loose(rule: Rule, types: ValueTypes) -> Iterator[Finding]:
    definitions = types.definitions()
    for kind in dict.fromkeys(rule.shape.slots):
        definition = definitions.get(kind)
        if not isinstance(definition, str) or not _LITERALS_ONLY.fullmatch(definition):
            continue
        if "." in definition:
            yield Finding(
                "pattern_is_loose",
                f"{rule.place}.argv",
                f"The . in @{kind} matches any character.",
                "Write [.] where a dot is meant.",
            )


def _executing(rule: Rule) -> Iterator[Finding]:
    name = rule.program.rpartition("/")[2]
    data = preset_data()
    command = data.command.get(name)
    literal = [part for part in rule.shape.parts if not part.startswith("@")]
    runners = {*data.refuse["wrapper"].names, *data.refuse["interpreter"].names}
    inner = next((part for part in literal if part.rpartition("/")[2] in runners), None)
    risky = {
        word
        for effect in ("exec", "load", "write")
        for word in (command.refused.get(effect, ()) if command else ())
    }
    option = next((part for part in literal if part.partition("=")[0] in risky), None)
    what = ""
    if inner is not None:
        what = f"{name} starts {inner}, which runs what it is given"
    elif option is not None and rule.shape.slots:
        what = f"{option} lets {name} execute or write, and the agent chooses its value"
    elif name in _RUNS_OPERANDS and rule.shape.slots:
        what = f"{name} can execute or write what its operands name, and the agent chooses one"
    if what:
        yield Finding(
            "program_executes",
            rule.place,
            f"{what}.",
            "Write the whole command out, or a script of your own that does just this.",
        )


def _protected(rule: Rule, types: ValueTypes) -> Iterator[Finding]:
    for part in rule.shape.parts:
        if part.startswith("/"):
            fault = types.paths.check_read(part, is_glob=False)
            if fault is not None and fault.code in {"path_protected", "name_protected"}:
                yield Finding(
                    "reads_protected",
                    f"{rule.place}.argv",
                    f"{fault.message} The rule lets {rule.program} read it.",
                    "Make sure that the program does not print it.",
                )


def _narrow_deny(rule: Rule, preset: Preset) -> Iterator[Finding]:
    program = rule.program
    allowed = preset.name == "unrestricted" or program.rpartition("/")[2] in preset.commands
    if allowed and rule.shape.parts != (REST,):
        yield Finding(
            "deny_is_narrow",
            rule.place,
            f"It refuses one form, but {program} stays allowed in others, such as with an option "
            "before its words.",
            f'To refuse the program, write ["{program}", "@rest"].',
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
    lines = (parse(example) for example in rule.data.match)
    stages = [line.stages[0] for line in lines if isinstance(line, CommandLine)]
    if not stages or policy.closed_by or policy.unrestricted:
        return
    allowed = [policy.preset.check(stage.words) is None for stage in stages]
    if rule.data.verdict == "allow" and all(allowed):
        yield Finding(
            "adds_nothing",
            rule.place,
            "The preset already allows its examples.",
            "Remove it, or give an example of what it adds.",
        )
    allowing = [other for other in policy.rules.rules if other.data.verdict != "deny"]
    by_rule = any(r.matches(stage, policy.rules.types) for r in allowing for stage in stages)
    if rule.data.verdict == "deny" and not (any(allowed) or by_rule):
        yield Finding(
            "adds_nothing",
            rule.place,
            "Nothing else allows its examples.",
            "Keep it if a later rule may allow them.",
        )


def _readable(place: str, policy: Policy) -> Iterator[Finding]:
    plain = set(Preset(policy.preset.name).types.paths.readable)
    rules = policy.preset.types.paths
    for text in (text for text in rules.readable if text not in plain):
        parts = text.split("/")[1:]
        fixed = next((n for n, part in enumerate(parts) if "*" in part or "?" in part), len(parts))
        needed = _SHALLOW.get(parts[0], _SHALLOW[""])
        if "**" in text and fixed < needed:
            yield Finding(
                "readable_is_wide",
                f"{place}.readable",
                f"{text} opens much of the system.",
                "Name the folder of the files that are wanted, such as /srv/app/log/**.",
            )
        if rules.is_protected(text):
            yield Finding(
                "never_matches",
                f"{place}.readable",
                f"Everything that {text} names stays protected.",
                "Remove it.",
            )


def _network(policies: Policies) -> Iterator[Finding]:
    """A key `network` that decides nothing, since the preset has no programs."""
    given = [("policy", policies.data.network, policies.default)]
    given += [(f"policy.vps[{n}]", e.network, p) for n, (e, p) in enumerate(policies.special)]
    for place, network, policy in given:
        if network and not policy.preset.commands and not policy.closed_by:
            yield Finding(
                "adds_nothing",
                f"{place}.network",
                f"It affects only a preset's programs, and {policy.preset.name} has none.",
                "Remove it.",
            )


def _entries(policies: Policies) -> Iterator[Finding]:
    for n, (entry, _) in enumerate(policies.special):
        place = f"policy.vps[{n}]"
        changes = (entry.closed, entry.rules, entry.readable, entry.preset, entry.network)
        if not any(changes):
            yield Finding(
                "adds_nothing", place, "It changes nothing.", "Remove it, or complete it."
            )
        for m, (other, _) in enumerate(policies.special[:n]):
            if entry.is_pattern and other.is_pattern and entry.ties_with(other):
                yield Finding(
                    "never_matches",
                    place,
                    f"policy.vps[{m}] names some VPSs equally closely, so they take no commands.",
                    "Make one of the two patterns longer.",
                )


def _unused_types(policies: Policies) -> Iterator[Finding]:
    used: set[str] = set()
    todo = [
        slot
        for policy in (policies.default, *(policy for _, policy in policies.special))
        for rule in policy.rules.rules
        for slot in rule.shape.slots
    ]
    while todo:
        name = todo.pop()
        if name not in used:
            used.add(name)
            todo += parts_of(policies.data.types.get(name, ""))
    for name in policies.data.types:
        if name not in used:
            yield Finding(
                "adds_nothing", f"policy.types.{name}", "No rule uses this type.", "Remove it."
            )
