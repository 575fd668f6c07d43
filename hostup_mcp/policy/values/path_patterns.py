"""Patterns of paths, and how they relate: whether two share a path, or one has all of the other.

In a rule, `*` is within a name, `**` across folders, `?` one character. A shell's leaves out
names with a leading dot. Names of kernel settings and regular expressions are read as patterns too,
so that one algebra judges them all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Final, Literal

SETTINGS: Final = "/proc/sys/"
"""Where the kernel's settings are files."""

_TOKEN = re.compile(r"\*\*|\*|\?|[^*?]")

# Kinds of token: a character; ?, * and ** of a rule; ? of a shell at the start of a name, which
# does not match a leading dot; likewise the first character of what * matches there, if any, with
# the rest of it as a * of its own. In the name of a kernel setting, a dot or a slash. In a regular
# expression, any one character; and what may follow the first letters of an interface.
_Kind = Literal["one", "?", "*", "**", "?start", "*start", "separator", "any", "tail"]
_REPEATING: Final = frozenset({"*", "**", "tail"})
_TAIL: Final = frozenset("0123456789abcdef" + "nopsvx" + "./:@-")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: _Kind
    character: str = ""

    def shares(self, other: _Token) -> bool:
        """Whether some single character fits both."""
        for one, two in ((self, other), (other, self)):
            if one.kind == "one":
                return two._takes(one.character)
        return True

    def _takes(self, character: str) -> bool:
        match self.kind:
            case "one":
                return self.character == character
            case "**" | "any":
                return True
            case "?start" | "*start":
                return character not in "/."
            case "separator":
                return character in "/."
            case "tail":
                return character in _TAIL
            case _:
                return character != "/"

    def covers(self, other: _Token) -> bool:
        """Whether every text that the other can stand for fits this one, repeated if need be."""
        if other.kind == "one":
            return self._takes(other.character)
        if other.kind in _REPEATING or other.kind == "*start":
            return self.kind == "**" or (self.kind == "*" and other.kind != "**")
        return self.kind in {"?", "*", "**"}


class PathPattern:
    """A path with `*` (within a name), `**` (across folders) and `?`."""

    def __init__(self, text: str, *, expanded: bool = False) -> None:
        """The pattern.

        Args:
            text: the pattern as written.
            expanded: whether a shell expands it, which leaves out names with a leading dot.
        """
        self.text = text
        tokens: list[_Token] = []
        for found in _TOKEN.finditer(text):
            sign = found.group()
            at_start = expanded and text[found.start() - 1 : found.start()] == "/"
            if sign == "**":
                tokens.append(_Token("**"))
            elif sign == "*":
                tokens += [_Token("*start"), _Token("*")] if at_start else [_Token("*")]
            elif sign == "?":
                tokens.append(_Token("?start" if at_start else "?"))
            else:
                tokens.append(_Token("one", sign))
        self._tokens = tuple(tokens)
        self._prefix = re.split(r"[*?]", text, maxsplit=1)[0]
        self._expanded = expanded

    @cached_property
    def folded(self) -> PathPattern:
        """The same in small letters, for what holds in any letter case."""
        lower = self.text.lower()
        return self if lower == self.text else PathPattern(lower, expanded=self._expanded)

    @classmethod
    def of_setting(cls, name: str, below: str = "") -> PathPattern:
        """The files that a kernel setting's name can mean, each dot and slash read as either.

        busybox 1.35 does so: it looks for `eth0.100` where the name says `eth0.100` or `eth0/100`.

        Args:
            name: with dots or slashes, and `*` for any name.
            below: what comes after it.
        """
        made = cls(f"{SETTINGS}{name}{below}")
        start, end = len(SETTINGS), len(SETTINGS) + len(name)
        at = 0
        tokens: list[_Token] = []
        for token in made._tokens:
            is_sign = start <= at < end and token.character in {".", "/"}
            tokens.append(_Token("separator") if is_sign else token)
            at += len(token.character) or len(token.kind)
        made._tokens = tuple(tokens)
        made._prefix = SETTINGS + re.split(r"[*./]", name, maxsplit=1)[0]
        return made

    @classmethod
    def of_expression(cls, parts: Sequence[str], text: str) -> PathPattern:
        """What a regular expression finds: characters, `.` as `any`, `.*` as `**`.

        Args:
            parts: in order; one character stands for itself, a longer word for a kind of token.
            text: the expression, to be shown.
        """
        made = cls(text)
        kinds: dict[str, _Kind] = {"any": "any", "**": "**", "tail": "tail"}
        made._tokens = tuple(
            _Token(kinds[part]) if part in kinds else _Token("one", part) for part in parts
        )
        made._prefix = ""
        return made

    @cached_property
    def expression(self) -> re.Pattern[str]:
        """The pattern as a regular expression for one path."""
        parts = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
        return re.compile(
            "".join(
                parts.get(t.group()) or re.escape(t.group()) for t in _TOKEN.finditer(self.text)
            )
        )

    def meets(self, other: PathPattern) -> bool:
        """Whether some path fits both."""
        if not (self._prefix.startswith(other._prefix) or other._prefix.startswith(self._prefix)):
            return False
        mine, theirs = self._tokens, other._tokens
        seen: set[tuple[int, int]] = set()
        todo = [(0, 0)]
        while todo:
            state = todo.pop()
            if state in seen:
                continue
            seen.add(state)
            i, j = state
            if i == len(mine) and j == len(theirs):
                return True
            if (skipped := _skipped(mine, i)) is not None:
                todo.append((skipped, j))
            if (skipped := _skipped(theirs, j)) is not None:
                todo.append((i, skipped))
            if i < len(mine) and j < len(theirs) and mine[i].shares(theirs[j]):
                todo += [(a, b) for a in _after(mine, i) for b in _after(theirs, j)]
        return False

    def covers(self, other: PathPattern) -> bool:
        """Whether every path that fits the other fits this one. May say no where it is so."""
        if not other._prefix.startswith(self._prefix):
            return False
        mine = self._tokens
        states = self._reach({0})
        for token in other._tokens:
            ahead = {
                after
                for state in states
                if state < len(mine) and mine[state].covers(token)
                for after in _after(mine, state)
            }
            # A repeating token may stand for nothing, so what was reached before it counts on.
            states = self._reach(ahead)
            if not states:
                return False
        return len(mine) in states

    def _reach(self, states: set[int]) -> set[int]:
        """These states, and those that follow them by what may be empty."""
        reached: set[int] = set()
        for state in states:
            at = state
            reached.add(at)
            while at < len(self._tokens) and self._tokens[at].kind in _REPEATING:
                at += 1
                reached.add(at)
        return reached


@cache
def patterns_of(texts: tuple[str, ...]) -> tuple[PathPattern, ...]:
    """The patterns; `/a/{b,c}` stands for `/a/b` and `/a/c`."""
    return tuple(PathPattern(path) for text in texts for path in _each_of(text))


def _each_of(text: str) -> list[str]:
    before, brace, rest = text.partition("{")
    names, _, after = rest.partition("}")
    if not brace:
        return [text]
    return [f"{before}{name}{end}" for name in names.split(",") for end in _each_of(after)]


def _skipped(tokens: Sequence[_Token], index: int) -> int | None:
    """Where a pattern is once the token here has stood for nothing; None if it cannot."""
    kind = tokens[index].kind if index < len(tokens) else "one"
    if kind == "*start":
        # It does not step aside for a leading dot, nor for no name at all.
        following = tokens[index + 2 : index + 3]
        nameless = not following or following[0].character in {".", "/"}
        return None if nameless else index + 2
    return index + 1 if kind in _REPEATING else None


def _after(tokens: Sequence[_Token], index: int) -> tuple[int, ...]:
    """Where a pattern can be once the token has taken a character."""
    return (index, index + 1) if tokens[index].kind in _REPEATING else (index + 1,)
