"""`sed` scripts that only choose and rewrite lines on their way to stdout.

    script  = command { ";" command }
    command = [ address [ "," address ] [ "!" ] ] ( "p" | "d" | "q" | "=" | substitute )
    address = number | "$" | "/" expression "/"
    substitute = "s" delimiter expression delimiter replacement delimiter { flag }
    flag    = "g" | "p" | "i" | "I" | digit

The commands that write files (w), read them (r) or run programs (e), and the flags of `s` that do
the same, have no place in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from hostup_mcp.policy.mismatch import Mismatch, shown
from hostup_mcp.policy.models import OptionSet, Sed
from hostup_mcp.policy.programs.delimited import end_of_expression
from hostup_mcp.policy.programs.getopt import check_options
from hostup_mcp.policy.shell.tree import Word
from hostup_mcp.policy.values.backtracking import has_back_reference
from hostup_mcp.policy.values.types import ValueTypes, back_reference

_NUMBER = re.compile(r"\d{1,9}")
_FLAGS = re.compile(r"[gpiI0-9]{0,6}")
_REPLACEMENT_ESCAPES = frozenset("0123456789nt&\\/|#,:@ .")
_MOST_COMMANDS: Final = 64
_DELIMITERS = frozenset("/|#,:@")


def check_sed(spec: Sed, words: Sequence[Word], types: ValueTypes) -> Mismatch | None:
    """Whether the words after `sed` are flags, one script and files to read."""
    script = script_index(words)
    fault = check_options(OptionSet(flags=spec.flags), words[:script], types)
    if fault:
        return fault
    if script is None:
        return Mismatch("usage_refused", "A script is missing.", -1)
    text = words[script].text
    commands = None if words[script].is_glob else read_script(text)
    if commands is None:
        return Mismatch(
            "program_refused",
            f"{shown(text)} is not an accepted script: write p, d, q, = or s/// (flags g, p, I and "
            "a number), each with an address if wanted, and ; between commands.",
            script,
            "For example: sed -n '10,20p' or sed 's/a/b/g', with / inside written as [.] or \\/.",
        )
    for command in commands:
        for expression in command.expressions:
            if has_back_reference(expression):
                return back_reference(expression).at(script)
    files = OptionSet(operands=spec.operands, max=spec.max)
    fault = check_options(files, words[script + 1 :], types)
    return fault.at(fault.index + script + 1) if fault and fault.index >= 0 else fault


def script_index(words: Sequence[Word]) -> int | None:
    """Which of the words after `sed` is the script: the first that is no option."""
    return next((i for i, word in enumerate(words) if not word.text.startswith("-")), None)


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a script.

    Attributes:
        name: its letter.
        addresses: those before it, as written.
        expressions: every regular expression in it, as written; that of `s` comes last.
        replacement: of `s`, as written.
        flags: of `s`.
    """

    name: str
    addresses: tuple[str, ...]
    expressions: tuple[str, ...]
    replacement: str = ""
    flags: str = ""


@lru_cache(maxsize=64)
def read_script(text: str) -> tuple[Command, ...] | None:
    """The commands of a script; None if it is not of the language above."""
    commands: list[Command] = []
    position: int | None = 0
    while position is not None:
        found = _command(text, position)
        if found is None:
            return None
        command, position = found
        commands.append(command)
        if len(commands) > _MOST_COMMANDS:
            return None
        if position == len(text):
            return tuple(commands)
        position = position + 1 if text[position] == ";" else None
    return None


def _command(text: str, start: int) -> tuple[Command, int] | None:
    addresses: list[str] = []
    position = _addresses(text, _blanks(text, start), addresses)
    if position is None:
        return None
    name = text[position : position + 1]
    expressions = tuple(one[1:-1] for one in addresses if one.startswith("/"))
    command = Command(name, tuple(addresses), expressions)
    if name == "s":
        found = _substitute(text, position + 1, command)
        if found is None:
            return None
        command, position = found
    elif name and name in "pdq=":
        position += 1
    else:
        return None
    return command, _blanks(text, position)


def _addresses(text: str, start: int, found: list[str]) -> int | None:
    position = _address(text, start)
    if position is None or position == start:
        return position
    found.append(text[start:position])
    if text[position : position + 1] == ",":
        first = position + 1
        position = _address(text, first)
        if position is None or position == first:
            return None
        found.append(text[first:position])
    position = _blanks(text, position)
    if text[position : position + 1] == "!":
        found.append("!")
        position += 1
    return position


def _address(text: str, start: int) -> int | None:
    """Where an address ends; `start` if there is none; None if it is unclear."""
    if number := _NUMBER.match(text, start):
        return number.end()
    first = text[start : start + 1]
    if first == "$":
        return start + 1
    if first != "/":
        return start
    end = _expression(text, start + 1, "/")
    return None if end is None else end + 1


def _substitute(text: str, start: int, command: Command) -> tuple[Command, int] | None:
    delimiter = text[start : start + 1]
    if delimiter not in _DELIMITERS or not delimiter:
        return None
    end = _expression(text, start + 1, delimiter)
    if end is None:
        return None
    position = end + 1
    while (character := text[position : position + 1]) != delimiter:
        escaped = text[position + 1 : position + 2]
        if not character or (character == "\\" and escaped not in _REPLACEMENT_ESCAPES):
            return None
        position += 2 if character == "\\" else 1
    flags = _FLAGS.match(text, position + 1)
    if flags is None:
        return None
    expressions = (*command.expressions, text[start + 1 : end])
    replacement = text[end + 1 : position]
    return replace(
        command, expressions=expressions, replacement=replacement, flags=flags.group()
    ), flags.end()


def _expression(text: str, start: int, delimiter: str) -> int | None:
    """As `end_of_expression`, and an escaped delimiter stands for itself."""
    position = start
    while True:
        cut = text.find(f"\\{delimiter}", position)
        end = end_of_expression(text, position, delimiter)
        if end is not None or cut < 0 or delimiter != "/":
            return end
        # Up to the escaped / the expression must be whole by itself: no bracket left open.
        if end_of_expression(text[:cut] + delimiter, position, delimiter) != cut:
            return None
        position = cut + 2


def _blanks(text: str, start: int) -> int:
    while text[start : start + 1] == " ":
        start += 1
    return start
