"""Says whether an accepted argv may ask the network, which `policy.network` can refuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hostup_mcp.policy.mismatch import Mismatch, shown
from hostup_mcp.policy.models import Command, Getopt
from hostup_mcp.policy.programs.getopt import Reading, read_options
from hostup_mcp.policy.shell.tree import Word
from hostup_mcp.policy.traits import Lookups
from hostup_mcp.policy.values.types import ValueTypes

NETWORK_REFUSED: Final = "network_refused"


def check_lookups(
    name: str, command: Command, words: Sequence[Word], types: ValueTypes
) -> Mismatch | None:
    """Whether what a program is told keeps it from the network.

    Args:
        name: of the program.
        command: its entry.
        words: what follows it; the entry accepts them.
        types: every value type.
    """
    rule = command.lookups
    if rule is None:
        return None
    reading = read_options(command, words, types) if isinstance(command, Getopt) else None
    if reading is None:
        texts = tuple(word.text for word in words)
        reading = Reading(texts, len(texts))
    return _check_values(rule, reading, types) or _check_use(name, rule, reading)


def _check_values(rule: Lookups, reading: Reading, types: ValueTypes) -> Mismatch | None:
    asked = [(value, kind) for option, value in reading.values if (kind := rule.values.get(option))]
    if rule.operand:
        asked += [(operand, rule.operand) for operand in reading.operands]
    for value, kind in asked:
        if types.check(kind, value) is not None:
            return _refused(f"{shown(value)} may be a name that has to be looked up")
    # Bounds of words matter: of one word, "state" is a host, and of two the beginning of a filter.
    together = "~~" + "".join(f"{operand}~" for operand in reading.operands)
    if rule.filter and reading.operands and types.check(rule.filter, together) is not None:
        return _refused(f"{shown(' '.join(reading.operands))} may hold a name to look up")
    return None


def _check_use(name: str, rule: Lookups, reading: Reading) -> Mismatch | None:
    used = {*reading.options}
    if found := used.intersection(rule.always):
        return _refused(f"{name} looks names up with {min(found)}", f"Leave out {min(found)}.")
    named = used.union(reading.operands[:1])
    if rule.when:
        found = named.intersection(rule.when)
        return _refused(f"{name} may ask the network with {min(found)}") if found else None
    quiet = reading.options[: reading.leading] if rule.leading else reading.options
    is_alone = not reading.operands and used and used <= {*rule.alone}
    if is_alone or not {*quiet}.isdisjoint(rule.unless):
        return None
    where = " before its operands" if rule.leading and reading.operands else ""
    return _refused(
        f"{name} may look names up", f"Add {rule.unless[0]}{where}." if rule.unless else ""
    )


def _refused(what: str, hint: str = "Give an address, or leave it out.") -> Mismatch:
    return Mismatch(NETWORK_REFUSED, f'{what}, and policy.network is "none".', -1, hint)
