"""Measures how large a regular expression becomes once its repeats are written out.

grep, sed, awk and find build all of it: `((a{1,1000}){1,1000})` takes gigabytes, and `+` doubles
what stands before it. Basic and extended expressions (Perl's count as extended) differ in which
signs have a meaning, so both readings are made, and the larger one counts.

Where a repeat without end comes first, what stands behind it costs too: `.*e.{40}[a-e]` has a state
for every set of places where an e stood. glibc (2.36) keeps them all: sed and `grep -o` took 24 s
and 285 MB for 10 MB of a log and were not done, find 29 s and 370 MB for the names below /usr. With
24 characters in place of 40 find took 1 s and 66 MB.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

MOST: Final = 256
"""Single characters that an expression may grow to; one that does not grow may have any length."""

MOST_BEHIND: Final = 24
"""Classes behind a repeat without end, each counted as often as it is repeated."""

_CLASS = re.compile(r"\[:[a-z]{1,10}:\]")
_INTERVAL = re.compile(r"(\d{0,9})(?:,(\d{0,9}))?")
_HUGE: Final = 1_000_000
_EDGES: Final = frozenset({"^", "$", "\\<", "\\>", "\\b", "\\B", "\\`", "\\'"})
# Of letters and digits only: what it repeats ends with the word, and no states gather.
_NARROW = re.compile(r"\[[A-Za-z0-9_.-]*\]|\[\[:(?:alpha|digit|alnum|xdigit|lower|upper):\]\]")


@lru_cache(maxsize=256)
def is_too_large(expression: str) -> bool:
    """Whether a program could take much memory or time to build it."""
    most = max(MOST, len(expression))
    readings = [_Reading(expression, extended=extended) for extended in (False, True)]
    return any(one.size() > most or one.behind > MOST_BEHIND for one in readings)


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
        self._classes = [0]
        self._last_classes = 0
        self._last_is_wide = False
        self._endless = False
        self.behind = 0

    def size(self) -> int:
        """The characters it stands for, written out; from `_HUGE` on not exactly."""
        while self._at < len(self._text):
            sign = self._sign()
            if sign == "(":
                self._sums.append(0)
                self._classes.append(0)
                self._last, self._repeats = 0, ""
            elif sign == ")" and len(self._sums) > 1:
                self._atom(max(1, self._sums.pop()))
                self._last_classes = self._classes.pop()
                self._classes[-1] += self._last_classes
                self._last_is_wide = bool(self._last_classes)
            elif sign in {"*", "+", "?", "{"} and self._last:
                self._repeat(sign)
            elif sign == "x":
                self._atom(1)
            else:
                self._atom(1)
                self._class(sign)
        return sum(self._sums)

    def _sign(self) -> str:
        """The operator here; `x` for a character, a class as it is. Goes on behind it."""
        text, start = self._text, self._at
        escaped = text[start] == "\\"
        self._at += 2 if escaped else 1
        if text[start] == "[":
            self._at = self._after_bracket(start)
            return text[start : self._at]
        if text[start] == "." or text[start : self._at] in {"\\S", "\\W", "\\w", "\\s"}:
            return text[start : self._at]
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
        self._last_classes, self._last_is_wide = 0, False
        self._add(self._last)

    def _class(self, sign: str) -> None:
        """Count the class that was just read."""
        self._last_classes = 1
        self._last_is_wide = not (_NARROW.fullmatch(sign) or sign in {"\\w", "\\s"})
        self._classes[-1] += 1
        self.behind += self._endless

    def _repeat_classes(self, times: int, *, endless: bool) -> None:
        more = self._last_classes * (times - 1)
        self._classes[-1] = min(self._classes[-1] + more, _HUGE)
        if self._endless:
            self.behind = min(self.behind + more, _HUGE)
        elif endless and self._last_is_wide:
            self._endless = True
            # Each round of a group comes behind the one before; a single character is no window.
            self.behind = self._last_classes if self._last_classes > 1 else 0

    def _repeat(self, sign: str) -> None:
        # A lazy ? behind a repeat costs nothing; any other repeat of a repeat multiplies.
        if self._repeats and sign != "?":
            self._add(_HUGE)
        self._repeats += sign
        times = 1
        endless = sign in {"*", "+"}
        if sign == "+":
            times = 2
        elif sign == "{":
            found = _INTERVAL.match(self._text, self._at)
            counts = [int(group) for group in found.groups() if group] if found else []
            times = max([1, *counts]) + 1
            end = self._text.find("}", self._at)
            endless = found is not None and found[2] == ""
            self._at = end + 1 if end >= 0 else self._at
        self._repeat_classes(1 if endless else times, endless=endless)
        self._add(self._last * (times - 1))
        self._last = min(self._last * times, _HUGE)

    def _add(self, size: int) -> None:
        self._sums[-1] = min(self._sums[-1] + size, _HUGE)


@lru_cache(maxsize=256)
def shortest(expression: str) -> int:
    """How many characters a match has at least, as basic and as extended expressions are read."""
    return min(_Shortest(expression, extended=extended).least() for extended in (False, True))


class _Shortest(_Reading):
    """The same pass, for the least that can match."""

    def least(self) -> int:
        """Characters; what is not clear counts as none."""
        branches, sums, last = [[0]], [0], 0
        while self._at < len(self._text):
            if self._text.startswith("|" if self._extended else "\\|", self._at):
                self._at += 1 if self._extended else 2
                branches[-1].append(sums[-1])
                sums[-1] = last = 0
                continue
            start = self._at
            sign = self._sign()
            if sign == "(":
                branches.append([])
                sums.append(0)
                last = 0
            elif sign == ")" and len(sums) > 1:
                last = min((*branches.pop(), sums.pop()))
                sums[-1] += last
            elif sign in {"*", "+", "?", "{"}:
                sums[-1] += last * (self._least_times(sign) - 1)
                last = 0
            else:
                last = int(self._text[start : self._at] not in _EDGES)
                sums[-1] += last
        return 0 if len(sums) > 1 else min((*branches[0][1:], sums[0]))

    def _least_times(self, sign: str) -> int:
        if sign != "{":
            return int(sign == "+")
        found = _INTERVAL.match(self._text, self._at)
        end = self._text.find("}", self._at)
        self._at = end + 1 if end >= 0 else self._at
        return int(found[1]) if found and found[1] else 0
