"""How large a regular expression becomes once its repeats are written out.

grep, sed, awk and find build all of it: `((a{1,1000}){1,1000})` takes gigabytes, and `+` doubles
what stands before it. Basic and extended expressions (Perl's count as extended) differ in which
signs have a meaning, so both readings are made, and the larger one counts.
"""

from __future__ import annotations

import re
from typing import Final

MOST: Final = 256
"""Single characters that an expression may grow to; one that does not grow may have any length."""

_CLASS = re.compile(r"\[:[a-z]{1,10}:\]")
_INTERVAL = re.compile(r"(\d{0,9})(?:,(\d{0,9}))?")
_HUGE: Final = 1_000_000


def is_too_large(expression: str) -> bool:
    """Whether a program could take much memory or time to build it."""
    most = max(MOST, len(expression))
    return any(_Reading(expression, extended=e).size() > most for e in (False, True))


class _Reading:
    """One pass over an expression, as basic or extended ones are read."""

    def __init__(self, text: str, *, extended: bool) -> None:
        self._text = text
        self._last_end = text.rfind("]")
        self._extended = extended
        self._at = 0
        self._sums = [0]
        self._last = 0
        self._repeats = ""

    def size(self) -> int:
        """The characters it stands for, written out; from `_HUGE` on not exactly."""
        while self._at < len(self._text):
            sign = self._sign()
            if sign == "(":
                self._sums.append(0)
                self._last, self._repeats = 0, ""
            elif sign == ")" and len(self._sums) > 1:
                self._atom(max(1, self._sums.pop()))
            elif sign in {"*", "+", "?", "{"} and self._last:
                self._repeat(sign)
            else:
                self._atom(1)
        return sum(self._sums)

    def _sign(self) -> str:
        """The operator that stands here; `x` for a character or bracket. Goes on behind it."""
        text, start = self._text, self._at
        escaped = text[start] == "\\"
        self._at += 2 if escaped else 1
        if text[start] == "[":
            self._at = self._after_bracket(start)
            return "x"
        sign = text[start + escaped : start + escaped + 1]
        if sign == "*":
            return "x" if escaped else "*"
        return sign if sign in "(){+?" and sign and escaped != self._extended else "x"

    def _after_bracket(self, start: int) -> int:
        """Where a bracket ends: at the first ] that can end one in any of these languages."""
        text = self._text
        if start > self._last_end:
            return start + 1
        at = start + 1
        at += text.startswith("^", at)
        at += text.startswith("]", at)
        while at < len(text) and text[at] != "]":
            found = _CLASS.match(text, at)
            if found is None and text[at] == "[" and text[at + 1 : at + 2] in {":", ".", "="}:
                self._atom(_HUGE)  # where it ends depends on who reads it
            at = found.end() if found else at + 1
        return at + 1 if at < len(text) else start + 1

    def _atom(self, size: int) -> None:
        self._last, self._repeats = min(size, _HUGE), ""
        self._add(self._last)

    def _repeat(self, sign: str) -> None:
        # A lazy ? behind a repeat costs nothing; any other repeat of a repeat multiplies.
        if self._repeats and sign != "?":
            self._add(_HUGE)
        self._repeats += sign
        times = 1
        if sign == "+":
            times = 2
        elif sign == "{":
            found = _INTERVAL.match(self._text, self._at)
            counts = [int(group) for group in found.groups() if group] if found else []
            times = max([1, *counts]) + 1
            end = self._text.find("}", self._at)
            self._at = end + 1 if end >= 0 else self._at
        self._add(self._last * (times - 1))
        self._last = min(self._last * times, _HUGE)

    def _add(self, size: int) -> None:
        self._sums[-1] = min(self._sums[-1] + size, _HUGE)
