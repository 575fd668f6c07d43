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
_MAX_GLOB_CHARACTERS: Final = 128
_MAX_WILDCARDS: Final = 6
_MAX_STARS: Final = 3
_MAX_WILD_FOLDERS: Final = 2
"""Names of a path that may have wildcards; one more where the first two have none."""
_MOST_KNOWN: Final = 256
_PROTECTED_HINT: Final = (
    "No request lifts this; leave the file out, or look at its name and size with ls -l."
)
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=~^# -]+")
# Dots or slashes: what a mixture means depends on the program.
_SYSCTL = re.compile(
    r"[a-z*][A-Za-z0-9_*-]{0,63}(?:(?:[.][A-Za-z0-9_*-]{1,64}){0,9}|(?:/[A-Za-z0-9_*-]{1,64}){0,9})"
)
_FILE_NAME = re.compile(
    r"[^.]\.(?:conf|cf|cfg|ini|list|sources|log|txt|rules|service|timer|repo|vhost)$"
)
_FOLDER_OF_FILES = re.compile(r"/(?:sites|conf|mods)-(?:available|enabled)$|/cron\.[a-z]+$")
_TOKEN = re.compile(r"\*\*|\*|\?|[^*?]")

# Kinds of token: a character; ?, * and ** of a rule; ? of a shell at the start of a name, which
# does not match a leading dot; likewise the first character of what * matches there, if any, with
# the rest of it as a * of its own.
_Kind = Literal["one", "?", "*", "**", "?start", "*start"]
_REPEATING: Final = frozenset({"*", "**"})


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
        # What was found of patterns: a look at every rule, which a suggestion asks for many times.
        self._known: dict[tuple[str, bool], Misfit | None] = {}

    @property
    def readable(self) -> tuple[str, ...]:
        """Every allow pattern, in order."""
        return tuple(p.text for block in self._blocks if block.allows for p in block.patterns)

    def is_protected(self, pattern: str) -> bool:
        """Whether all that a pattern names is protected, whatever a setting says."""
        named = PathPattern(pattern)
        return any(
            block.protected and any(one.covers(named) for one in block.patterns)
            for block in self._blocks
        )

    def check_metadata(self, path: str, *, is_glob: bool) -> Misfit | None:
        """Whether names, sizes and owners of this path may be asked for: any plain path.

        Args:
            path: the word; `.` is the folder in which commands start, `/`.
            is_glob: whether the shell expands it.
        """
        absolute = path[1:] or "/" if path == "." or path.startswith("./") else path
        return _check_form(absolute, is_glob=is_glob)

    def check_sysctl(self, name: str, *, is_glob: bool) -> Misfit | None:
        """Whether a kernel setting may be read, or all that a pattern or a group of them means.

        Settings are the files below /proc/sys; all but the protected ones may be.
        """
        if is_glob or not _SYSCTL.fullmatch(name) or name.count("*") > _MAX_STARS:
            return Misfit(
                "value_refused",
                f"{shown(name)} is not the name of a kernel setting.",
                hint="For example vm.swappiness, or 'net.core.*' in quotes.",
            )
        path = f"/proc/sys/{name.replace('.', '/')}"
        meant = (PathPattern(path), PathPattern(f"{path}/**"))
        for block in self._blocks:
            for pattern in block.patterns if block.protected else ():
                if any(pattern.meets(one) for one in meant):
                    return Misfit(
                        "path_protected",
                        f"{shown(name)} would show what is protected ({pattern.text}).",
                        hint="Name the setting that is wanted.",
                    )
        return None

    def check_file(self, path: str, *, is_glob: bool) -> Misfit | None:
        """Whether a file may be read by a program that, of a folder, would read what is in it.

        What a path names is not known here, so it must be allowed by itself, be such that
        everything below it may be read, or be called what files are called.
        """
        fault = self.check_read(path, is_glob=is_glob)
        if fault is not None or is_glob or path == "-":
            return fault
        folder, _, name = path.rpartition("/")
        if (
            path in self.readable
            or _FILE_NAME.search(name)
            or _FOLDER_OF_FILES.search(folder)
            or self.check_read(path, is_glob=False, tree=True) is None
        ):
            return None
        return Misfit(
            "path_not_readable",
            f"{shown(path)} could be a folder, and then all that is in it would be read.",
            hint="Name a file, such as /etc/nginx/nginx.conf.",
        )

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
        if not tree and not is_glob:
            return self._check_one(normal)
        if (normal, tree) not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            if tree:
                below = PathPattern(f"{normal}/**" if parts else "/**")
                meant = (below, PathPattern(normal))
            else:
                meant = (PathPattern(normal, expanded=True),)
            self._known[normal, tree] = self._check_many(normal, *meant)
        return self._known[normal, tree]

    def _check_one(self, path: str) -> Misfit | None:
        named: Misfit | None = None
        for block in self._blocks:
            for pattern in block.patterns:
                if not pattern.expression.fullmatch(path):
                    continue
                if block.allows:
                    return named
                if block.protected:
                    return _denied(path, pattern, block)
                # A name only counts where the file might be read otherwise.
                named = named or _denied(path, pattern, block)
        return Misfit(
            "path_not_readable",
            f"{shown(path)} is not among the files that may be read.",
            hint="hostup://policy lists the readable files and folders; ls, stat and find show "
            "names and sizes of any.",
        )

    def _check_many(self, shown_as: str, *meant: PathPattern) -> Misfit | None:
        """`meant`: what is read, and what else must not be denied."""
        named: Misfit | None = None
        for block in self._blocks:
            for pattern in block.patterns:
                if block.allows and pattern.covers(meant[0]):
                    return named
                if block.allows or not any(pattern.meets(one) for one in meant):
                    continue
                denied = Misfit(
                    "path_protected" if block.protected else "name_protected",
                    f"{shown(shown_as)} could also reach files that are protected "
                    f"({pattern.text}).",
                    hint="Name the files, or a pattern that cannot reach them, such as "
                    "/etc/nginx/conf.d/*.conf.",
                )
                if block.protected:
                    return denied
                named = named or denied
        return Misfit(
            "path_not_readable",
            f"{shown(shown_as)} could reach files that are not among those that may be read.",
            hint="Name the files; hostup://policy lists the readable files and folders.",
        )


def _denied(path: str, pattern: PathPattern, block: PathBlock) -> Misfit:
    by = "" if pattern.text == path else f" by {pattern.text}"
    message = f"{shown(path)} is protected{by}."
    if block.protected:
        return Misfit("path_protected", message, hint=_PROTECTED_HINT)
    return Misfit("name_protected", message, hint="Files with such a name often hold secrets.")


def _check_form(path: str, *, is_glob: bool) -> Misfit | None:
    if not path.startswith("/"):
        return Misfit(
            "path_relative",
            f"{shown(path)} is not an absolute path.",
            hint="Write the path from / on: commands start in the folder /.",
        )
    if is_glob and (fault := _check_reach(path)):
        return fault
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


def _check_reach(pattern: str) -> Misfit | None:
    """Whether a pattern of the shell could match more than the shell should hold.

    A shell keeps every match before the program starts. dash held 3 GB for twelve `/*/*/*/*/*/*` on
    an idle container; `/proc/*/root/*/*` has the whole system once for each process.
    """
    if sum(map(pattern.count, "*?")) > _MAX_WILDCARDS or pattern.count("*") > _MAX_STARS:
        return Misfit(
            "glob_refused",
            f"{shown(pattern)} has more than {_MAX_STARS} * or {_MAX_WILDCARDS} wildcards.",
            hint="Name the files, or fewer wildcards.",
        )
    names = [name for name in pattern.split("/") if name]
    wild = [index for index, name in enumerate(names) if "*" in name or "?" in name]
    if not wild:
        return None
    most = _MAX_WILD_FOLDERS + (wild[0] >= 2 and names[0] != "proc")
    below = names[wild[0] + 1 :]
    # In these folders of a process the whole system is seen again.
    again = names[0] == "proc" and len(wild) > 1 and not {"root", "cwd"}.isdisjoint(below)
    if len(wild) > most or again:
        return Misfit(
            "pattern_too_wide",
            f"{shown(pattern)} has wildcards in {len(wild)} names, and the shell would keep every "
            "match.",
            hint="Write more of the path, such as /var/log/*/*.log, or use find with -path in "
            "quotes.",
        )
    return None


def pattern_weight(pattern: str) -> int:
    """What a pattern counts of what the patterns of a line may: the more, the more it can match."""
    wild = sum("*" in name or "?" in name for name in pattern.split("/"))
    return 4 ** max(0, wild - 1)
