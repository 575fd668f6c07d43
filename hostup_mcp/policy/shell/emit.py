"""Writes a syntax tree as the canonical text that is sent.

The output language is a small part of what the grammar reads: words of plain characters, or in
single quotes; patterns; four operators with a space on each side; five redirections. Ten shells
read it alike (docs/policy.md).
"""

from __future__ import annotations

import re
import shlex
from typing import Final

from hostup_mcp.policy.shell.grammar import MAX_CHARACTERS, parse
from hostup_mcp.policy.shell.tree import CommandLine, Stage, SyntaxRefusal, Word

SEARCHED: Final = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where a program is looked up by its plain name, in this order."""

PROLOGUE: Final = f"cd /; export PATH={':'.join(SEARCHED)} PAGER=cat SYSTEMD_PAGER=cat; "
"""Stands before every command: where it runs, where programs are looked up, and no pager."""

_BARE = re.compile(r"[A-Za-z0-9_./:@%+,-][A-Za-z0-9_./:@%+,=-]*")


def emit(line: CommandLine) -> str:
    """The canonical text of a command, without the prologue."""
    parts: list[str] = []
    for stage in line.stages:
        if stage.operator == ";":
            parts.append("; ")
        elif stage.operator:
            parts.append(f" {stage.operator} ")
        parts.append(" ".join([_words(stage), *stage.redirections]))
    return "".join(parts)


def emit_checked(line: CommandLine) -> str | SyntaxRefusal:
    """The canonical text, once it is seen to mean what the tree means.

    It is parsed again, and split by `shlex`; both must give the tree's words.
    """
    body = emit(line)
    length = len(PROLOGUE) + len(body)
    whole = _span(line)
    if length > MAX_CHARACTERS:
        return SyntaxRefusal(
            "command_too_long",
            f"The command as it would be sent has {length} characters; {MAX_CHARACTERS} are the "
            "limit.",
            *whole,
            "Send a shorter command, or several; quotes count, and each one inside takes five "
            "characters.",
        )
    if parse(body) != line or any(_split(stage) != stage.argv for stage in line.stages):
        return SyntaxRefusal(
            "not_rebuilt",
            "The command cannot be rebuilt so that every shell reads it alike.",
            *whole,
            "Write it in another way, and report this as a bug of hostup-mcp.",
        )
    return body


def _span(line: CommandLine) -> tuple[int, int]:
    first, last = line.stages[0].words[0], line.stages[-1].words[-1]
    return first.offset, last.offset + last.length - first.offset


def _words(stage: Stage) -> str:
    return " ".join(_word(word) for word in stage.words)


def _word(word: Word) -> str:
    if word.is_glob or _BARE.fullmatch(word.text):
        return word.text
    # A quote inside is closed over in double quotes: in Shift_JIS a backslash is another sign.
    return "'" + word.text.replace("'", "'\"'\"'") + "'"


def _split(stage: Stage) -> tuple[str, ...]:
    return tuple(shlex.split(_words(stage)))
