"""Where words and single commands stand in a text that is not in the grammar."""

from __future__ import annotations

import re
from dataclasses import dataclass

QUOTES = re.compile(r"""'[^']*'?|"(?:\\.|[^"\\])*"?|\\.""", re.DOTALL)
"""What is quoted or escaped in a text."""


def is_one_command(text: str) -> bool:
    """Whether a text holds a single command: no operator and no line break outside quotes."""
    return not re.search(r"[|&;\n]", masked(text.strip()))


def masked(text: str) -> str:
    """The text with all that is quoted or escaped made unremarkable; as long as it was."""
    return QUOTES.sub(lambda found: "q" * len(found.group()), text)


def _span(text: str, offset: int, ends: str) -> tuple[int, int]:
    plain = masked(text)
    start = end = offset
    while start > 0 and plain[start - 1] not in ends:
        start -= 1
    while end < len(plain) and plain[end] not in ends:
        end += 1
    return start, end


@dataclass(frozen=True, slots=True)
class TextFault:
    """A text, and the token in it that is at fault."""

    text: str
    offset: int
    length: int

    @property
    def before(self) -> str:
        """What stands before the token."""
        return self.text[: self.offset]

    @property
    def token(self) -> str:
        """The token."""
        return self.text[self.offset : self.offset + self.length]

    @property
    def after(self) -> str:
        """What follows it."""
        return self.text[self.offset + self.length :]

    def word(self) -> tuple[int, int]:
        """Where the word begins and ends that the fault stands in."""
        return _span(self.text, self.offset, " \t\n|&;<>")

    def stage(self) -> tuple[int, int]:
        """Where the single command begins and ends that the fault stands in."""
        return _span(self.text, self.offset, "|&;\n")
