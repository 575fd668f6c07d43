"""Describes the active policies: briefly for a model, in full for the operator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from hostup_mcp.policy.judge import Policy
from hostup_mcp.policy.models import (
    Awk,
    Command,
    Find,
    Getopt,
    Ip,
    OptionSet,
    PlainWords,
    Ps,
    Shapes,
    Subcommands,
)
from hostup_mcp.policy.policies import Policies
from hostup_mcp.policy.preset import Network
from hostup_mcp.policy.shell.emit import PROLOGUE
from hostup_mcp.policy.shell.grammar import MAX_STAGES
from hostup_mcp.policy.traits import Lookups

SUMMARY_MAX_CHARACTERS: Final = 1500
_NETWORK: Final[dict[Network, str]] = {
    "lookups": "Names may be looked up in the network; nothing else may be sent.",
    "none": "Nothing may be sent and no name looked up: give -n to ss, lsof, arp and the like.",
}
_UNRESTRICTED: Final = (
    "UNRESTRICTED: any command that parses is sent, as root, unless a rule refuses it."
)


def summary(policies: Policies) -> str:
    """What may be run, for a model that has seen nothing else; under 1,500 characters.

    However short it must be, it says where anything runs and where nothing does.
    """
    tail = (
        f"Up to {MAX_STAGES} commands joined by | && || ; with 2>&1 or redirections to /dev/null. "
        "No variables, substitutions, loops or files written. * and ? only in absolute paths. "
        "Arguments are judged too; a refusal names what is allowed; resource hostup://policy lists "
        "all."
    )
    lines = [_line(policies.default, "")]
    lines += [_line(policy, entry.vps, like=policies.default) for entry, policy in policies.special]
    text = "\n".join([*lines, tail])
    if len(text) < SUMMARY_MAX_CHARACTERS:
        return text
    special = _special_in_short(policies)
    room = SUMMARY_MAX_CHARACTERS - 1 - len(tail) - sum(len(line) + 1 for line in special) - 1
    return "\n".join([_cut(lines[0], room), *special, tail])


def _special_in_short(policies: Policies) -> list[str]:
    lines: list[str] = []
    kinds = (
        ("UNRESTRICTED, any command that parses is sent, on", [
            entry.vps for entry, policy in policies.special if policy.unrestricted
        ]),
        ("Closed, no command runs, on", [
            entry.vps for entry, policy in policies.special if policy.closed_by
        ]),
    )  # fmt: skip
    lines += [_cut(f"{what} {', '.join(names)}", 200) for what, names in kinds if names]
    if policies.special:
        lines.append(f"{len(policies.special)} VPSs or patterns have their own policies.")
    return lines


def _line(policy: Policy, vps: str, like: Policy | None = None) -> str:
    where = f" on {vps}" if vps else ""
    start = f"Policy {policy.label}{where}:"
    if policy.closed_by:
        return f"{start} closed, no command runs."
    own = [_rule(rule.data.argv) for rule in policy.rules.rules if rule.data.verdict == "allow"]
    refused = [_rule(rule.data.argv) for rule in policy.rules.rules if rule.data.verdict != "allow"]
    parts: list[str] = []
    if policy.unrestricted:
        parts.append(_UNRESTRICTED)
    elif policy.preset.commands:
        same = like is not None and like.preset.name == policy.preset.name
        if not (same and like and like.preset.network == policy.preset.network):
            parts.append(_NETWORK[policy.preset.network])
        names = "the same programs" if same else " ".join(sorted(policy.preset.commands))
        parts.append(f"read-only use of {names}.")
    elif not own:
        parts.append("no command is allowed.")
    if own:
        parts.append(f"Also: {'; '.join(own)}.")
    if refused:
        parts.append(f"Refused: {'; '.join(refused)}.")
    return " ".join([start, *parts])


def _rule(argv: Sequence[str]) -> str:
    return " ".join(argv)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


# ------------------------------------------------------------------ in full


def full(policies: Policies) -> str:
    """Everything that may be run, in Markdown."""
    lines = ["# What may be run", ""]
    if policies.special:
        lines += ["Default policy, for every VPS that no other policy names:", ""]
    lines += _policy_lines(policies.default, None)
    for entry, policy in policies.special:
        lines += ["", f"# On {entry.vps}", "", *_policy_lines(policy, policies.default)]
    lines += [
        "",
        "# Grammar",
        "",
        *_GRAMMAR,
        f"- Sent before every command: `{PROLOGUE.strip()}`",
    ]
    return "\n".join(lines) + "\n"


_GRAMMAR: Final = (
    f"- Up to {MAX_STAGES} commands, joined by `|`, `&&`, `||` or `;`: a line of printable ASCII.",
    "- Redirections: `2>&1`, `>&2`, and `>`, `2>`, `&>`, `<` with `/dev/null`.",
    "- Quotes `'...'` and `\"...\"`, and backslashes before punctuation, are undone; nothing is "
    "expanded: no `$`, backticks, braces, `~` or `[...]`.",
    "- `*` and `?` may be unquoted only in plain absolute paths, such as `/var/log/*.log`.",
    "- Options are written in full, never abbreviated.",
)


def _policy_lines(policy: Policy, like: Policy | None) -> list[str]:
    """A policy; what it has in common with the one it is `like` is not repeated."""
    lines = [f"Policy `{policy.label}`."]
    if policy.closed_by:
        return [*lines, "Closed: no command runs."]
    if policy.unrestricted:
        lines.append(_UNRESTRICTED)
    if policy.rules.rules:
        lines += ["", "## Own rules", ""]
        lines += [
            f"- {rule.data.verdict}: `{_rule(rule.data.argv)}` ({rule.data.reason})"
            for rule in policy.rules.rules
        ]
        slots = (slot for rule in policy.rules.rules for slot in rule.shape.slots)
        lines += [f"- `@{slot}`: {policy.rules.types.describe(slot)}" for slot in sorted({*slots})]
    if policy.preset.commands:
        lines += ["", f"## Programs of the preset {policy.preset.name}", ""]
        lines += [f'Network "{policy.preset.network}": {_NETWORK[policy.preset.network]}', ""]
        presets = [p.preset for p in (policy, like) if p]
        if len(presets) > 1 and len({(preset.name, preset.network) for preset in presets}) == 1:
            lines.append("The same as in the default policy.")
        else:
            lines += _programs(policy)
        readable = policy.preset.readable
        known = like.preset.readable if like else ()
        if new := [pattern for pattern in readable if pattern not in known]:
            lines += ["", "## Files that may be read", ""]
            lines += [f"- `{pattern}`" for pattern in new]
            lines += ["", "Names, sizes and owners of nearly every path may be read."]
    return lines


def _programs(policy: Policy) -> Iterator[str]:
    for name, command in sorted(policy.preset.commands.items()):
        effects = f" ({command.effects})" if command.effects else ""
        bounds = _bounds(command.lookups) if policy.preset.network == "none" else ""
        yield f"- `{name}{_arguments(command)}`{effects}{bounds}"
    yield ""
    yield "Types of the values above:"
    yield ""
    for name in policy.preset.types.names():
        yield f"- `{name}`: {policy.preset.types.describe(name)}"


def _bounds(rule: Lookups | None) -> str:
    """What keeps a program from the network."""
    if rule is None:
        return ""
    parts = [f"needs {' or '.join(rule.unless)}"] if rule.unless else []
    parts += [f"not {word}" for word in (*rule.when, *rule.always)]
    return f" ({', '.join(parts)}; addresses, no names)"


def _arguments(command: Command) -> str:
    return "".join(f" {part}" for part in _parts(command))


def _parts(command: Command) -> Iterator[str]:
    match command:
        case Getopt():
            yield from _options(command)
        case Subcommands():
            yield from _named(command.flags, command.options)
            yield (
                "{"
                + " | ".join(
                    " ".join([name, *_options(found)]) for name, found in command.subcommand.items()
                )
                + "}"
            )
        case Shapes():
            yield "{" + " | ".join(" ".join(shape) for shape in command.shapes) + "}"
        case PlainWords():
            yield "[TEXT]..."
        case Find():
            yield "[PATH]..."
            yield from _named(command.tests, command.values)
        case Ip():
            yield from _named(command.globals, {})
            yield (
                "{"
                + " | ".join(command.objects)
                + "} ["
                + " | ".join(command.verbs)
                + " [FILTER]...]"
            )
        case Ps():
            yield "{aux-like letters | " + " | ".join(command.clusters) + "}"
            yield from _named((), {**dict.fromkeys(command.out, "ps_columns"), **command.select})
            yield from _named(command.plain, command.modifiers)
        case Awk():
            yield from _named((), command.options)
            yield f"PROGRAM [{command.operands}]..."
        case _:
            yield from _named(command.flags, {})
            yield f"SCRIPT [{command.operands}]..."


def _options(spec: OptionSet) -> Iterator[str]:
    flags = dict.fromkeys((*spec.flags, *spec.mode, *spec.recursive, *spec.words))
    yield from _named(tuple(flags), {**spec.options, **spec.attached, **spec.following})
    for name, need in spec.needs.items():
        yield f"({name} {need.values} only with {need.option})"
    if spec.first:
        yield spec.first
    if spec.operands:
        yield f"[{spec.operands}]" + ("..." if spec.max > 1 else "")


def _named(flags: Sequence[str], options: dict[str, str]) -> Iterator[str]:
    if flags:
        yield f"[{' '.join(flags)}]"
    for name, kind in options.items():
        yield f"[{name} {kind}]"
