"""Counts how many characters a pipe makes of each that it reads.

A command that only reads can still fill memory, or with `sort` and `tac` the disk: `sed` whose `&`
doubles a line ten times over, `nl -w 9999`, awk's `printf "%999d"`. So every program's entry says
what it adds (`growth`, in commands.toml), what scripts and formats add is counted from their text,
and the stages of a pipe multiply. Left out is what a program makes by itself, such as the names
below a folder or what gzip had made small.

Bounds are for lines as logs and listings have them, 32 characters or more: `cat -n` of empty lines
makes eight characters of one. Checked against coreutils 9.1, grep 3.8, sed 4.9, findutils 4.9.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hostup_mcp.policy.mismatch import Mismatch
from hostup_mcp.policy.models import Awk, Command, Find, Getopt, Sed
from hostup_mcp.policy.programs.awk import program_growth
from hostup_mcp.policy.programs.getopt import Reading, read_options
from hostup_mcp.policy.programs.sed import Command as SedCommand
from hostup_mcp.policy.programs.sed import read_script, script_index
from hostup_mcp.policy.shell.tree import Stage, Word
from hostup_mcp.policy.values.path_forms import pattern_weight
from hostup_mcp.policy.values.regex_size import shortest
from hostup_mcp.policy.values.types import ValueTypes

MOST: Final = 16
"""Characters that a pipe may make of one."""
MOST_KEPT: Final = 12
"""The same where a program keeps all of it, in memory or below /tmp."""

MOST_PATTERNS: Final = 24
"""What patterns may weigh together: one with wildcards in one name is 1, in two 4, in three 16."""

_MOST_LAST: Final = 9999
"""Lines that a program may keep without its counting as all of what it reads."""

_LINE: Final = 32
_FILE_NAME: Final = 32
_RECORD: Final = 64
# Of find and stat, and of dpkg-query.
_FIELD = re.compile(
    r"%[-+ 0#]{0,3}(?P<width>\d{0,3})(?:[.]\d{1,3})?[HL]?(?P<sign>[TAC]?.)"
    r"|\$\{[A-Za-z:-]{1,32}(?:;-?(?P<pad>\d{1,3}))?\}"
)
_PATHS: Final = frozenset("pPhflnN")
_HINT: Final = (
    "Leave out what repeats or widens the text (&, \\1, widths, a file named twice), or sort first."
)
_PADDED: Final = (
    "column pads every line to the longest one, and this stage or its reader could hold all of "
    "that in memory: put column at the end."
)


@dataclass(frozen=True, slots=True)
class Flow:
    """What comes out of a stage, for each character that its pipe reads.

    Attributes:
        characters: how many.
        lines: in how many lines.
        padded: whether lines are as long as the longest.
    """

    characters: float = 1.0
    lines: float = 1 / _LINE
    padded: bool = False


@dataclass(slots=True)
class Added:
    """What one stage does to a flow.

    Attributes:
        times: characters made of each.
        repeats: how often each line comes out.
        line: characters added to each line.
        breaks: line ends added for each character.
        pads: whether it makes lines as long as the longest.
        keeps: whether it keeps all that it reads.
    """

    times: float = 1.0
    repeats: float = 1.0
    line: float = 0.0
    breaks: float = 0.0
    pads: bool = False
    keeps: bool = False

    def after(self, flow: Flow) -> Flow:
        """What comes out where this goes in."""
        breaks = flow.characters * self.times * self.breaks
        lines = flow.lines * self.repeats + breaks
        characters = flow.characters * self.times * self.repeats + lines * self.line + breaks
        return Flow(characters, min(lines, characters), flow.padded or self.pads)


def check_growth(
    stages: Sequence[Stage], commands: Mapping[str, Command], types: ValueTypes
) -> tuple[Stage, Mismatch] | None:
    """The first stage that makes too much of what its pipe reads.

    Args:
        stages: of a line, each accepted by itself.
        commands: the entries of programs, by name; what has none adds nothing.
        types: of values.
    """
    flow = Flow()
    for stage in stages:
        if stage.operator != "|":
            flow = Flow()
        command = commands.get(stage.words[0].text.rpartition("/")[2])
        if command is None:
            continue
        added = added_by(command, stage.words[1:], types)
        if added.keeps and flow.padded:
            return stage, Mismatch("output_growth", _PADDED, hint=_HINT)
        if added.keeps and flow.characters * added.times > MOST_KEPT:
            return stage, _too_much(flow.characters * added.times, MOST_KEPT)
        flow = added.after(flow)
        if flow.characters > MOST:
            return stage, _too_much(flow.characters, MOST)
    return None


def check_patterns(stages: Sequence[Stage]) -> tuple[Stage, Mismatch] | None:
    """The stage at which the patterns of a line become too many for their width."""
    weight = 0
    for stage in stages:
        for index in stage.globs:
            weight += pattern_weight(stage.words[index].text)
            if weight > MOST_PATTERNS:
                return stage, Mismatch(
                    "too_many_patterns",
                    "the patterns of the command could together match too much.",
                    index,
                    "Send fewer patterns in a call, or ones with fewer wildcards.",
                )
    return None


def _too_much(characters: float, most: int) -> Mismatch:
    # The exact number is of no use beyond some size.
    shown = f"{characters:.0f}" if characters < 1e6 else "millions of"
    return Mismatch(
        "output_growth",
        f"up to {shown} characters may come out here for each one read, and the limit is {most}.",
        hint=_HINT,
    )


def added_by(command: Command, words: Sequence[Word], types: ValueTypes) -> Added:
    """What an accepted argv adds to what it reads."""
    match command:
        case Getopt():
            use = read_options(command, words, types)
            return _by_entry(command, use) if use else Added()
        case Sed():
            added = _by_script(words)
        case Awk():
            added = _by_program(command, words)
        case Find():
            added = Added(times=_of_expression(words))
        case _:
            return Added()
    added.times *= _copies([word for word in words if word.text.startswith("/")])
    return added


def _copies(operands: Sequence[Word]) -> int:
    """How often the same file may be read: named again, in a folder that is, or by a pattern."""
    patterns = sum(word.is_glob for word in operands)
    paths = [f"{'/'.join(_parts(word.text))}/" for word in operands if not word.is_glob]
    same = Counter(paths)
    most = max((sum(n for p, n in same.items() if path.startswith(p)) for path in same), default=0)
    return max(1, most + patterns)


def _parts(path: str) -> Iterator[str]:
    yield ""
    yield from (part for part in path.split("/") if part not in {"", "."})


# ---------------------------------------------------------------- by an entry's data


def _by_entry(command: Getopt, use: Reading) -> Added:
    added = Added(times=_copies(use.others))
    for growth in command.growth:
        if growth.given and not {*use.options}.intersection(growth.given):
            continue
        values = [text for name, text in use.values if name in growth.value]
        size = max((_size(text) for text in values), default=0)
        added.times *= max(1, growth.times, size if growth.by == "length" else 1)
        added.line += growth.line + (size if growth.by == "line" else 0)
        added.pads |= growth.pads
        added.keeps |= growth.keeps
        added.breaks += growth.breaks
        if growth.by == "break":
            added.breaks += 1 / max(1, size or 80)
        elif growth.by == "format":
            added.times *= max(1.0, 1.0, *map(_of_format, values))
        elif growth.by == "match":
            added.breaks += 1 / max(1, min(map(shortest, _expressions(command, use)), default=1))
        elif growth.by == "name" and _names_files(command, use):
            added.line += _FILE_NAME
        elif growth.by in {"last", "rest"}:
            added.keeps |= any(_keeps_all(growth.by, text) for text in values)
    return added


def _size(text: str) -> int:
    return int(text) if text.isdecimal() else len(text)


def _keeps_all(kept: str, number: str) -> bool:
    """Whether as many lines, or bytes, are kept as the input may have."""
    keeps = not number.startswith("+") if kept == "last" else number.startswith("-")
    digits = number.lstrip("+-")
    return keeps and (not digits.isdecimal() or int(digits) > _MOST_LAST)


def _expressions(command: Getopt, use: Reading) -> list[str]:
    """What `grep` looks for; an empty text where it is Perl's, whose length is not counted."""
    if {*use.options} & {*command.retyped}:
        return [""]
    given = [text for name, text in use.values if name in command.first_unless]
    return given or [word.text for word in use.first]


def _names_files(command: Getopt, use: Reading) -> bool:
    several = len(use.others) > 1 or any(word.is_glob for word in use.others)
    quiet = {*use.options} & {"-h", "--no-filename"}
    return not quiet and bool(
        several or {*use.options} & {"-H", "--with-filename", *command.recursive}
    )


# ---------------------------------------------------------------- sed, awk, find


def _by_script(words: Sequence[Word]) -> Added:
    index = script_index(words)
    commands = read_script(words[index].text) if index is not None else None
    added, outputs = Added(), 1.0
    for command in commands or ():
        if command.name in {"p", "="}:
            # One line by its number is no growth.
            outputs += len(command.addresses) != 1 or not command.addresses[0].isdecimal()
        elif command.name == "s":
            _substitute(command, added)
            outputs += "p" in command.flags
    added.repeats = outputs
    return added


def _substitute(command: SedCommand, added: Added) -> None:
    """What one `s` does: each match of m characters becomes its own text and some m again."""
    own, references, breaks = _replacement(command.replacement)
    least = 0 if not command.expressions[-1] else shortest(command.expressions[-1])
    if "g" not in command.flags:
        added.times *= max(1, references)
        more = own if references else max(0, own - least)
        added.line = added.line * max(1, references) + more
        return
    # What can match nothing does so behind each character, and at the end.
    times = max(1.0, references + own / least) if least else 1.0 + references + own
    added.times *= times
    added.line = added.line * times + own
    added.breaks = min(1.0, added.breaks + breaks / max(1, least))


def _replacement(text: str) -> tuple[int, int, int]:
    """Characters of its own, references to what matched, and line breaks."""
    own = references = breaks = at = 0
    while at < len(text):
        escaped = text[at] == "\\"
        sign = text[at + escaped : at + escaped + 1]
        at += 2 if escaped else 1
        if (escaped and sign.isdecimal()) or (not escaped and sign == "&"):
            references += 1
        else:
            own += 1
            breaks += escaped and sign == "n"
    return own, references, breaks


def _by_program(command: Awk, words: Sequence[Word]) -> Added:
    at = 0
    while at < len(words) and words[at].text.startswith("-"):
        at += 2 if words[at].text in command.options else 1
    made = program_growth(words[at].text) if at < len(words) else None
    if made is None:
        return Added()
    return Added(
        times=made.records,
        line=made.characters,
        breaks=max(0, made.lines - 1) / _LINE,
        # One line may come out, which whatever reads it holds as a whole.
        keeps="printf" in words[at].text,
    )


def _of_expression(words: Sequence[Word]) -> float:
    """What the actions of a `find` expression print of each name, in times its length."""
    printed = 0.0
    for word, following in zip(words, (*words[1:], None), strict=False):
        if word.text in {"-print", "-print0"}:
            printed += 1
        elif word.text == "-ls":
            printed += 2
        elif word.text == "-printf" and following is not None:
            printed += _of_format(following.text)
    return max(1.0, printed)


def _of_format(text: str) -> float:
    """The same of a format: paths count as one, other fields a quarter, widths as they are."""
    names = others = own = 0
    end = 0
    for field in _FIELD.finditer(text):
        own += field.start() - end + int(field["width"] or field["pad"] or 0)
        names += field["sign"] in _PATHS
        others += field["sign"] not in _PATHS
        end = field.end()
    return names + others / 4 + (own + len(text) - end) / _RECORD
