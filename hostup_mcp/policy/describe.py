"""The active policies in words: for a model in few, for the operator in all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from hostup_mcp.policy.emit import PROLOGUE
from hostup_mcp.policy.grammar import MAX_STAGES
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
    Sed,
    Shapes,
    Subcommands,
)
from hostup_mcp.policy.policies import Policies

SUMMARY_MAX_CHARACTERS: Final = 1500
_UNRESTRICTED: Final = (
    "UNRESTRICTED: any command that parses is sent, as root, unless a rule refuses it."
)


def summary(policies: Policies) -> str:
    """What may be run, for a model that has seen nothing else; under 1,500 characters."""
    lines = [_line(policies.default, "")]
    lines += [_line(policy, entry.vps) for entry, policy in policies.special]
    lines.append(
        f"Up to {MAX_STAGES} commands joined by | && || ; with 2>&1 or redirections to /dev/null. "
        "No variables, substitutions, loops or files written. * and ? only in absolute paths. "
        "Arguments are judged too; a refusal names what is allowed; resource hostup://policy has "
        "all."
    )
    text = "\n".join(lines)
    if len(text) >= SUMMARY_MAX_CHARACTERS:
        names = len(policies.special)
        lines[1:-1] = [f"{names} more policies hold for some VPSs."] if names else []
        text = "\n".join(_cut(line, 1000) for line in lines)
    return text


def _line(policy: Policy, vps: str) -> str:
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
        names = "as by default" if vps else " ".join(sorted(policy.preset.commands))
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
        lines += ["Default policy, for every VPS that no other names:", ""]
    lines += _policy_lines(policies.default)
    for entry, policy in policies.special:
        lines += ["", f"# On {entry.vps}", "", *_policy_lines(policy, brief=True)]
    lines += [
        "",
        "# Grammar",
        "",
        *_GRAMMAR,
        f"- Before every command stands: `{PROLOGUE.strip()}`",
    ]
    return "\n".join(lines) + "\n"


_GRAMMAR: Final = (
    f"- Up to {MAX_STAGES} commands, joined by `|`, `&&`, `||` or `;`: a line of printable ASCII.",
    "- Redirections: `2>&1`, `>&2`, and `>`, `2>`, `&>`, `<` with `/dev/null`.",
    "- Quotes `'...'` and `\"...\"`, and backslashes before punctuation, are undone; nothing is "
    "expanded: no `$`, backticks, braces, `~` or `[...]`.",
    "- `*` and `?` stand unquoted only in plain absolute paths, such as `/var/log/*.log`.",
    "- Options are written in full, never abbreviated.",
)


def _policy_lines(policy: Policy, *, brief: bool = False) -> list[str]:
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
    if policy.preset.commands and not brief:
        lines += ["", f"## Programs of the preset {policy.preset.name}", ""]
        lines += [
            f"- `{name}{_arguments(command)}`"
            + (f" ({command.effects})" if command.effects else "")
            for name, command in sorted(policy.preset.commands.items())
        ]
        lines += ["", "## Files that may be read", ""]
        lines += [f"- `{pattern}`" for pattern in policy.preset.types.paths.readable]
        lines += ["", "Names, sizes and owners may be asked of every path."]
    return lines


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
        case Sed():
            yield from _named(command.flags, {})
            yield f"SCRIPT [{command.operands}]..."


def _options(spec: OptionSet) -> Iterator[str]:
    flags = dict.fromkeys((*spec.flags, *spec.mode, *spec.recursive, *spec.words))
    yield from _named(tuple(flags), {**spec.options, **spec.attached, **spec.following})
    if spec.first:
        yield spec.first
    if spec.operands:
        yield f"[{spec.operands}]" + ("..." if spec.max > 1 else "")


def _named(flags: Sequence[str], options: dict[str, str]) -> Iterator[str]:
    if flags:
        yield f"[{' '.join(flags)}]"
    for name, kind in options.items():
        yield f"[{name} {kind}]"
