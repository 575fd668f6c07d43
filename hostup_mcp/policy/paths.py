"""Which files may be read: ordered blocks of path patterns, also for patterns and whole folders.

A shell pattern, or a folder that is read with all below it, stands for many paths at once. It
passes only where an allow rule covers all of them and no earlier deny rule meets any.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from hostup_mcp.policy.misfit import Misfit, shown

_MAX_CHARACTERS: Final = 1024
_MAX_GLOB_CHARACTERS: Final = 256
_PROTECTED_HINT: Final = (
    "No request lifts this; leave the file out, or look at its name and size with ls -l."
)
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=~^# -]+")
_TOKEN = re.compile(r"\*\*|\*|\?|[^*?]")

# Kinds of token: a character; ?, * and ** of a rule; ? and * of a shell at the start of a name,
# which do not match a leading dot.
_Kind = Literal["one", "?", "*", "**", "?start", "*start"]
_REPEATING: Final = frozenset({"*", "**", "*start"})


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
            case "**":
                return True
            case "?start" | "*start":
                return character not in "/."
            case _:
                return character != "/"

    def covers(self, other: _Token) -> bool:
        """Whether every text that the other can stand for fits this one, repeated if need be."""
        if other.kind == "one":
            return self._takes(other.character)
        if other.kind in _REPEATING:
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
                tokens.append(_Token("*start" if at_start else "*"))
            elif sign == "?":
                tokens.append(_Token("?start" if at_start else "?"))
            else:
                tokens.append(_Token("one", sign))
        self._tokens = tuple(tokens)
        self._prefix = re.split(r"[*?]", text, maxsplit=1)[0]

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
            if i < len(mine) and _may_be_empty(mine, i):
                todo.append((i + 1, j))
            if j < len(theirs) and _may_be_empty(theirs, j):
                todo.append((i, j + 1))
            if i < len(mine) and j < len(theirs) and mine[i].shares(theirs[j]):
                todo += [(a, b) for a in _after(mine, i) for b in _after(theirs, j)]
        return False

    def covers(self, other: PathPattern) -> bool:
        """Whether every path that fits the other fits this one. May say no where it is so."""
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


def _may_be_empty(tokens: Sequence[_Token], index: int) -> bool:
    token = tokens[index]
    if token.kind == "*start":
        # The shell's * at the start of a name does not step aside for a leading dot.
        following = tokens[index + 1 : index + 2]
        return not (following and following[0] == _Token("one", "."))
    return token.kind in _REPEATING


def _after(tokens: Sequence[_Token], index: int) -> tuple[int, ...]:
    """Where a pattern can be once the token has taken a character."""
    return (index, index + 1) if tokens[index].kind in _REPEATING else (index + 1,)


@dataclass(frozen=True, slots=True)
class PathBlock:
    """One block of rules: it allows, or denies.

    Attributes:
        allows: which of the two.
        patterns: of paths.
        protected: a deny block that no setting lifts.
    """

    allows: bool
    patterns: tuple[PathPattern, ...]
    protected: bool = False


class PathRules:
    """The blocks, tried in order; what none allows is refused."""

    def __init__(self, blocks: Sequence[PathBlock]) -> None:
        self._blocks = tuple(blocks)

    @property
    def readable(self) -> tuple[str, ...]:
        """Every allow pattern, in order."""
        return tuple(p.text for block in self._blocks if block.allows for p in block.patterns)

    def check_metadata(self, path: str, *, is_glob: bool) -> Misfit | None:
        """Whether names, sizes and owners of this path may be asked for: any plain path.

        Args:
            path: the word; `.` is the folder in which commands start, `/`.
            is_glob: whether the shell expands it.
        """
        absolute = path[1:] or "/" if path == "." or path.startswith("./") else path
        return _check_form(absolute, is_glob=is_glob)

    def check_read(self, path: str, *, is_glob: bool, tree: bool = False) -> Misfit | None:
        """Whether the content of this file may be read.

        Args:
            path: the word; `-` is standard input.
            is_glob: whether the shell expands it.
            tree: whether it is a folder that is read with all below it.
        """
        if path == "-" and not tree:
            return None
        fault = _check_form(path, is_glob=is_glob)
        if fault:
            return fault
        parts = [part for part in path.split("/") if part not in {"", "."}]
        normal = "/" + "/".join(parts)
        if tree:
            below = PathPattern(f"{normal}/**" if parts else "/**")
            return self._check_many(normal, below, PathPattern(normal))
        if is_glob:
            return self._check_many(normal, PathPattern(normal, expanded=True))
        return self._check_one(normal)

    def _check_one(self, path: str) -> Misfit | None:
        for block in self._blocks:
            for pattern in block.patterns:
                if pattern.expression.fullmatch(path):
                    return None if block.allows else _denied(path, pattern, block)
        return Misfit(
            "path_not_readable",
            f"{shown(path)} is not among the files that may be read.",
            hint="hostup://policy lists the readable files and folders; ls, stat and find show "
            "names and sizes of any.",
        )

    def _check_many(self, shown_as: str, *meant: PathPattern) -> Misfit | None:
        """`meant`: what is read, and what else must not be denied."""
        for block in self._blocks:
            for pattern in block.patterns:
                if block.allows and pattern.covers(meant[0]):
                    return None
                if not block.allows and any(pattern.meets(one) for one in meant):
                    return Misfit(
                        "path_protected",
                        f"{shown(shown_as)} could also reach files that are protected "
                        f"({pattern.text}).",
                        hint="Name the files, or a pattern that cannot reach them, such as "
                        "/etc/nginx/conf.d/*.conf.",
                    )
        return Misfit(
            "path_not_readable",
            f"{shown(shown_as)} could reach files that are not among those that may be read.",
            hint="Name the files; hostup://policy lists the readable files and folders.",
        )


def _denied(path: str, pattern: PathPattern, block: PathBlock) -> Misfit:
    by = "" if pattern.text == path else f" by {pattern.text}"
    hint = _PROTECTED_HINT if block.protected else "Files with such a name often hold secrets."
    return Misfit("path_protected", f"{shown(path)} is protected{by}.", hint=hint)


def _check_form(path: str, *, is_glob: bool) -> Misfit | None:
    if not path.startswith("/"):
        return Misfit(
            "path_relative",
            f"{shown(path)} is not an absolute path.",
            hint="Write the path from / on: commands start in the folder /.",
        )
    if len(path) > (_MAX_GLOB_CHARACTERS if is_glob else _MAX_CHARACTERS):
        return Misfit("path_too_long", f"{shown(path)} is too long a path.")
    if not is_glob and not _PLAIN.fullmatch(path):
        return Misfit(
            "path_characters",
            f"{shown(path)} has a character that a path may not have here.",
            hint="Letters, digits, blanks and _ . / : @ % + , = ~ ^ # - are accepted; patterns "
            "stand unquoted.",
        )
    if ".." in path.split("/"):
        return Misfit(
            "path_climbs",
            f"{shown(path)} climbs with .. to another folder.",
            hint="Write the absolute path it leads to.",
        )
    return None
