r"""Finds regular expressions that make a matcher try one way after the other.

A back-reference (`\1`) makes every program do so: `(.*)(.*)(.*)(.*)\4\3\2\1x` takes glibc 36 s
for one line of 200 characters, in grep, sed, find, pgrep and sysctl alike. Without one, grep 3.8,
sed 4.9, gawk 5.2, mawk 1.3.4 and busybox 1.35 need little, whatever is nested: `(([a-z]*)*)*e`
takes them 0.1 s for 1 MB.

Perl's language (`grep -P`, `journalctl -g`) is matched by PCRE2, which goes back at every failure.
It gives a line up after ten million steps, so what counts is how many ways there are below that,
on every line. They are counted here from the expression alone, for lines as logs have them. In
10 MB of such lines, `.{0,40}.{0,40}[q%][q%~]` (336,200 ways) takes GNU grep 26 s;
`(?<=nginx).*?from \d+` (3,000) takes 0.04 s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MOST_WAYS: Final = 100_000
"""In which an expression may fit a line of a log, from all its starts together."""

_BACK_REFERENCE = re.compile(r"\\[1-9]")
_REFERENCE = re.compile(r"\\[1-9gk]|\(\?(?:P[=>]|[R&(+0-9]|-[0-9])")
_COUNT = re.compile(r"\{(\d{1,4})(,(\d{0,4}))?\}")
_GROUP = re.compile(r"\((?:\?(?:[:=!>]|<[=!]|i:|P?<[A-Za-z_][A-Za-z0-9_]{0,31}>))?")
_LITERAL = re.compile(r"""(?:\\b)?[A-Za-z0-9_ :=/"'%@,;&<>~-](?![*?{])""")
_RANGE = re.compile(r"(.)-([^\]\\\[])")

_ALL: Final = frozenset("\t" + "".join(chr(code) for code in range(32, 127)))
_DIGITS: Final = frozenset("0123456789")
_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_WORD: Final = _LETTERS | _DIGITS | {"_"}
_BLANK: Final = frozenset(" \t")
_SETS: Final = {
    "d": _DIGITS, "D": _ALL - _DIGITS, "w": _WORD, "W": _ALL - _WORD, "s": _BLANK, "h": _BLANK,
    "S": _ALL - _BLANK, "H": _ALL - _BLANK, "t": frozenset("\t"), "N": _ALL,
}  # fmt: skip
_NAMED: Final = {
    "alpha": _LETTERS, "digit": _DIGITS, "alnum": _LETTERS | _DIGITS, "space": _BLANK,
    "blank": _BLANK, "word": _WORD, "xdigit": _DIGITS | frozenset("abcdefABCDEF"),
    "lower": _LETTERS, "upper": _LETTERS, "punct": _ALL - _WORD | {"_"},
}  # fmt: skip
_WIDTHLESS: Final = frozenset("AZzGK")
_NOTHING: Final = frozenset[str]()

# What a line of a log has, about: characters, those of one word, and those that are the same.
_LINE: Final = 200
_RUN: Final = 20
_SAME: Final = 15
_WIDE: Final = 64
_DEEPEST: Final = 16


def has_back_reference(expression: str) -> bool:
    r"""Whether an expression may refer to what a group of it matched.

    A backslash before a digit counts wherever it stands: programs disagree on what `\\` in a
    bracket is.
    """
    return _BACK_REFERENCE.search(expression) is not None


def refers(expression: str) -> bool:
    """The same for Perl's language, with its recursion and conditions."""
    return _REFERENCE.search(expression) is not None


@lru_cache(maxsize=256)
def is_slow(expression: str) -> bool:
    """Whether PCRE2 could try too many ways on a line; so is what is not understood here."""
    try:
        return _Perl(expression).ways() > MOST_WAYS
    except _Unclear:
        return True


class _Unclear(Exception):
    """The expression has what is not counted here."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a sequence: what it can begin with, how often it comes, in how many ways.

    Attributes:
        first: the characters that it can begin with; none where it takes none.
        literal: whether that is one character only.
        least: how often it comes at least.
        most: and at most; `_LINE` for without end.
        ways: in which it can fit once.
        single: whether it is one character each time.
    """

    first: frozenset[str]
    literal: bool
    least: int
    most: int
    ways: int
    single: bool


class _Perl:
    """One pass over an expression of Perl's."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = text.startswith("(?i)") * 4
        self._depth = 0

    def ways(self) -> int:
        """In how many ways it can fit, at all places where it can begin."""
        starts = _LINE
        if "|" not in self._text:
            if self._text.startswith(("^", ".*"), self._at):
                starts = 1
            elif _LITERAL.match(self._text, self._at):
                starts = _SAME
        ways = self._alternatives()
        if self._at < len(self._text):
            raise _Unclear
        return ways * starts

    def _alternatives(self) -> int:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _Unclear
        ways = self._sequence()
        while self._take("|"):
            ways = min(ways + self._sequence(), MOST_WAYS + 1)
        self._depth -= 1
        return ways

    def _sequence(self) -> int:
        pieces: list[_Piece] = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            # A word's edge takes no character, and has no say in where a repeat can end.
            if self._text.startswith(("\\b", "\\B"), self._at):
                self._at += 2
            else:
                pieces.append(self._piece())
        behind = self._text[self._at :].lstrip(")")
        beyond = self._beyond(len(self._text) - len(behind)) if behind else None
        ways = 1
        for piece, following in zip(pieces, (*pieces[1:], beyond), strict=False):
            ways = min(ways * _ways_of(piece, following, ends=not behind), MOST_WAYS + 1)
        return ways

    def _beyond(self, start: int) -> _Piece | None:
        """The piece that follows the groups that end here, if it is a plain one."""
        if self._text[start] in "(|*+?{":
            return None
        before, self._at = self._at, start
        piece = self._piece()
        self._at = before
        return piece

    def _piece(self) -> _Piece:
        first, ways, single = self._atom()
        least, most = self._times()
        return _Piece(first, single and len(first) == 1, least, most, ways, single)

    def _times(self) -> tuple[int, int]:
        least, most = 1, 1
        sign = self._text[self._at : self._at + 1]
        if sign and sign in "*+?":
            self._at += 1
            least, most = {"*": (0, _LINE), "+": (1, _LINE), "?": (0, 1)}[sign]
        elif found := _COUNT.match(self._text, self._at):
            self._at = found.end()
            least = int(found[1])
            most = int(found[3] or _LINE) if found[2] else least
        else:
            return least, most
        # Lazy or possessive is tried in another order, or less.
        if self._text[self._at : self._at + 1] in {"?", "+"}:
            self._at += 1
        doubled = self._text[self._at : self._at + 1] in {"*", "+", "?"}
        if doubled or _COUNT.match(self._text, self._at):
            raise _Unclear
        return least, most

    def _atom(self) -> tuple[frozenset[str], int, bool]:
        """What it can begin with, in how many ways it fits, whether it is one character."""
        sign = self._text[self._at]
        if sign == "(":
            return self._group()
        if sign == "[":
            return self._bracket(), 1, True
        self._at += 1
        if sign == "\\":
            return self._escape()
        if sign in "^$":
            return _NOTHING, 1, False
        if sign in "*+?":
            raise _Unclear
        return (_ALL if sign == "." else _both(sign)), 1, True

    def _group(self) -> tuple[frozenset[str], int, bool]:
        opening = _GROUP.match(self._text, self._at)
        if opening is None or self._text.startswith(("(?", "(*"), self._at) > (
            len(opening.group()) > 1
        ):
            raise _Unclear
        self._at = opening.end()
        ways = self._alternatives()
        if not self._take(")"):
            raise _Unclear
        return _ALL, ways, False

    def _escape(self) -> tuple[frozenset[str], int, bool]:
        sign = self._text[self._at : self._at + 1]
        self._at += 1
        if sign in _WIDTHLESS and sign:
            return _NOTHING, 1, False
        return self._escaped(sign), 1, True

    def _escaped(self, sign: str) -> frozenset[str]:
        if sign in _SETS:
            return _SETS[sign]
        if not sign or sign.isalnum():
            raise _Unclear
        return frozenset(sign)

    def _bracket(self) -> frozenset[str]:
        text = self._text
        self._at += 1
        negated = self._take("^")
        found: set[str] = set()
        first = True
        while first or text[self._at : self._at + 1] != "]":
            first = False
            rest = text[self._at :]
            if not rest:
                raise _Unclear
            if rest.startswith(("[:", "[.", "[=")):
                name, colon, _ = rest[2:].partition(":]")
                if not colon or name not in _NAMED:
                    raise _Unclear
                found |= _NAMED[name]
                self._at += len(name) + 4
            elif rest[0] == "\\":
                found |= self._escaped(rest[1:2])
                self._at += 2
            elif between := _RANGE.match(rest):
                found |= {chr(c) for c in range(ord(between[1]), ord(between[2]) + 1)}
                self._at += 3
            else:
                found.add(rest[0])
                self._at += 1
        self._at += 1
        cased = frozenset(c for one in found for c in _both(one))
        return _ALL - frozenset(found) if negated else cased

    def _take(self, sign: str) -> bool:
        taken = self._text.startswith(sign, self._at)
        self._at += taken
        return taken


def _both(character: str) -> frozenset[str]:
    """A character in both cases, as -i reads it."""
    return frozenset((character.lower(), character.upper()))


def _ways_of(piece: _Piece, following: _Piece | None, *, ends: bool) -> int:
    """In how many ways a piece can fit before what follows it."""
    if piece.least == piece.most and piece.ways == 1:
        return 1
    spread = min(piece.most - piece.least + 1, _LINE)
    if not piece.single:
        # What can fit in several ways can do so each time.
        return min(piece.ways ** min(piece.most, 32) * spread, MOST_WAYS + 1)
    if following is None:
        return 1 if ends else spread
    if following.least and following.single and piece.first.isdisjoint(following.first):
        return 1
    if following.least and following.single and len(following.first) <= 2:
        return min(spread, _SAME)
    return min(spread, _LINE if len(piece.first) > _WIDE else _RUN)
