"""From text to an argv, and from an argv to text.

The grammar is one simple command of plain words, separated by blanks. Plain words mean the same
to every POSIX shell, so no quoting is needed to rebuild the text from the argv.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_WORD = re.compile(r"[A-Za-z0-9_./:@%+,=-]+")
_BLANKS = " \t"

_HINTS = {
    "|": "Send one command without a pipe; its whole output comes back.",
    "&": "Send one command per call.",
    ";": "Send one command per call.",
    "\n": "Send one command per call, on one line.",
    "\r": "Send one command per call, on one line.",
    "$": "Write the value itself; variables and substitutions are not expanded.",
    "`": "Send the inner command first and use its output.",
    ">": "Leave the redirection out; stdout and stderr both come back, apart.",
    "<": "Leave the redirection out.",
    "*": "Write the whole name; patterns are not expanded.",
    "?": "Write the whole name; patterns are not expanded.",
    "'": "Leave the quotes out; only plain words are accepted.",
    '"': "Leave the quotes out; only plain words are accepted.",
    "~": "Write the absolute path.",
    "#": "Leave the comment out.",
}


@dataclass(frozen=True, slots=True)
class SyntaxRefusal:
    """Why a text is not in the grammar: what stands at `offset`, and what to write instead.

    Attributes:
        code: `empty_command` or `character_refused`.
        message: one sentence.
        offset: where in the text, in characters from 0.
        length: how many characters are meant.
        hint: one sentence on what to write instead.
    """

    code: str
    message: str
    offset: int
    length: int
    hint: str


def parse(text: str) -> tuple[str, ...] | SyntaxRefusal:
    """The argv of a simple command of plain words, or why it is none."""
    argv: list[str] = []
    position = 0
    # Models end a command with a line end often enough, and it carries no meaning there.
    end = len(text.rstrip(_BLANKS + "\n"))
    while position < end:
        if text[position] in _BLANKS:
            position += 1
            continue
        word = _WORD.match(text, position, end)
        if word is None:
            return _refuse_character(text, position)
        argv.append(word.group())
        position = word.end()
    if not argv:
        return SyntaxRefusal(
            code="empty_command",
            message="The command is empty.",
            offset=0,
            length=len(text),
            hint="Send a command, for example: uptime",
        )
    return tuple(argv)


def render(argv: Sequence[str]) -> str:
    """The canonical text of an argv: its words with one space between."""
    return " ".join(argv)


def _refuse_character(text: str, position: int) -> SyntaxRefusal:
    character = text[position]
    shown = character if character.isprintable() else f"U+{ord(character):04X}"
    if not character.isascii():
        hint = "Only ASCII is accepted: other characters can stop the guest agent's channel."
    else:
        hint = _HINTS.get(character, "Only letters, digits and _ . / : @ % + , = - are accepted.")
    return SyntaxRefusal(
        code="character_refused",
        message=f"The character {shown} at position {position + 1} is not accepted.",
        offset=position,
        length=1,
        hint=hint,
    )
