"""Checks the regular expressions of value types, so that no value can make a match slow.

A pattern is made of plain characters, escapes, classes, groups, alternatives and counted repeats.
Python's engine tries the ways in which a pattern can match one after the other; the number of ways
is counted here from the pattern alone, and a pattern with too many is refused.
"""

from __future__ import annotations

import re
from typing import Final

LONGEST_VALUE: Final = 1024
"""Characters; a longer value is refused before any pattern sees it."""

MOST_WAYS: Final = 1_100_000
"""In which a pattern may match one value: under a second at the very worst."""
MOST_WAYS_OF_A_PART: Final = 20_000
"""The same for a pattern that a value is tried against many times, in a list or as a token."""

_MAX_DEPTH: Final = 16
_MAX_CHARACTERS: Final = 4096
_ESCAPED: Final = frozenset("d.[]\\/$^?+*(){}|-")
# Python means to read these as operations on classes one day.
_SET_OPERATORS: Final = frozenset({"--", "&&", "||", "~~"})
_REPEAT = re.compile(r"\{(\d{1,4})(,(\d{1,4}))?\}")


class PatternError(ValueError):
    """The pattern is not of the small language; the text says what is wrong, and where."""


def compile_pattern(pattern: str, most_ways: int = MOST_WAYS) -> re.Pattern[str]:
    """The pattern, ready for `fullmatch`.

    Args:
        pattern: the text.
        most_ways: in how many ways it may match.

    Raises:
        PatternError: it uses what the small language has not, or could match too slowly.
    """
    if len(pattern) > _MAX_CHARACTERS:
        raise PatternError(f"more than {_MAX_CHARACTERS} characters")
    reader = _Reader(pattern)
    ways = reader.alternatives()
    if reader.rest():
        raise PatternError(f"an unmatched ) at position {reader.position + 1}")
    if ways > most_ways:
        raise PatternError(
            "it repeats what can itself match in several ways, so a crafted value could take "
            "minutes; use a class, or a list type"
        )
    try:
        return re.compile(pattern, re.ASCII)
    except re.error as error:
        raise PatternError(f"{error.msg} at position {(error.pos or 0) + 1}") from None


class _Reader:
    """Reads a pattern once and counts in how many ways it can match a text."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._depth = 0
        self.position = 0

    def rest(self) -> str:
        return self._pattern[self.position :]

    def alternatives(self) -> int:
        ways = self._sequence()
        while self.rest().startswith("|"):
            self.position += 1
            ways = min(ways + self._sequence(), MOST_WAYS + 1)
        return ways

    def _sequence(self) -> int:
        ways = 1
        while (rest := self.rest()) and rest[0] not in "|)":
            ways = min(ways * self._repeated(), MOST_WAYS + 1)
        return ways

    def _repeated(self) -> int:
        ways = self._atom()
        least, most = self._counts()
        # Up to most times, each in any of the ways; the powers are cut off before they are large.
        total = 0
        for count in range(least, most + 1):
            power = 1
            for _ in range(count if ways > 1 else 0):
                power *= ways
                if power > MOST_WAYS:
                    return MOST_WAYS + 1
            total += power
        return min(total, MOST_WAYS + 1)

    def _counts(self) -> tuple[int, int]:
        rest = self.rest()
        if not rest or rest[0] not in "?*+{":
            return 1, 1
        if rest[0] != "{":
            self.position += 1
            counts = {"?": (0, 1), "*": (0, LONGEST_VALUE), "+": (1, LONGEST_VALUE)}[rest[0]]
        else:
            found = _REPEAT.match(rest)
            if not found:
                raise PatternError(f"an unreadable repeat at position {self.position + 1}")
            self.position += found.end()
            least = int(found.group(1))
            counts = least, int(found.group(3) or least)
        if counts[0] > counts[1] or counts[1] > LONGEST_VALUE:
            raise PatternError(f"a repeat of {counts[0]} to {counts[1]} times")
        if self.rest()[:1] in {"?", "*", "+", "{"}:
            raise PatternError(f"a doubled repeat at position {self.position + 1}")
        return counts

    def _atom(self) -> int:
        character = self.rest()[0]
        if character == "(":
            return self._group()
        if character == "[":
            self._class()
        elif character == "\\":
            self._escape()
        elif character in "^$*+?{}]" or not " " <= character <= "~":
            raise PatternError(f"{character!a} unescaped at position {self.position + 1}")
        else:
            self.position += 1
        return 1

    def _group(self) -> int:
        start = self.position
        self.position += 1
        if self.rest().startswith("?"):
            raise PatternError(f"a special group at position {start + 1}")
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise PatternError(f"groups nested more than {_MAX_DEPTH} deep")
        ways = self.alternatives()
        self._depth -= 1
        if not self.rest().startswith(")"):
            raise PatternError(f"an unclosed ( at position {start + 1}")
        self.position += 1
        return ways

    def _class(self) -> None:
        start = self.position
        self.position += 2 if self.rest().startswith("[^") else 1
        first = self.position
        while (rest := self.rest()) and rest[0] != "]":
            if rest[0] == "\\":
                self._escape()
            elif rest[0] in "[]" or not " " <= rest[0] <= "~" or rest[:2] in _SET_OPERATORS:
                raise PatternError(f"{rest[0]!a} unescaped in the class at position {start + 1}")
            else:
                self.position += 1
        if not self.rest() or self.position == first:
            raise PatternError(f"an empty or unclosed [ at position {start + 1}")
        self.position += 1

    def _escape(self) -> None:
        escaped = self.rest()[1:2]
        if escaped not in _ESCAPED or not escaped:
            raise PatternError(f"\\{escaped} at position {self.position + 1}")
        self.position += 2
