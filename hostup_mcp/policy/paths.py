"""Which files may be read: ordered blocks of path patterns, also for patterns and whole folders.

A shell pattern, or a folder that is read with all below it, stands for many paths at once. It
passes only where an allow rule covers all of them and no earlier deny rule meets any. What denies
does so in any letter case; what allows is exact.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
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
# Dots or slashes, never both: what a mixture means depends on the program.
_SYSCTL = re.compile(
    r"[a-z*][A-Za-z0-9_*-]{0,63}(?:(?:[.][A-Za-z0-9_*-]{1,64}){0,9}|(?:/[A-Za-z0-9_*-]{1,64}){0,9})"
)
_EXPRESSION_PART = re.compile(r"\.\*|\.|\\\.|[A-Za-z0-9_/-]")
_FILE_NAME = re.compile(
    r"[^.]\.(?:conf|cf|cfg|ini|list|sources|log|txt|rules|service|timer|repo|vhost)$"
)
_FOLDER_OF_FILES = re.compile(r"/(?:sites|conf|mods)-(?:available|enabled)$|/cron\.[a-z]+$")
_SETTINGS: Final = "/proc/sys/"
_TOKEN = re.compile(r"\*\*|\*|\?|[^*?]")

# Kinds of token: a character; ?, * and ** of a rule; ? of a shell at the start of a name, which
# does not match a leading dot; likewise the first character of what * matches there, if any, with
# the rest of it as a * of its own. In the name of a kernel setting, a dot or a slash. In a regular
# expression, any one character; and what may follow the first letters of an interface.
_Kind = Literal["one", "?", "*", "**", "?start", "*start", "separator", "any", "tail"]
_REPEATING: Final = frozenset({"*", "**", "tail"})
_TAIL: Final = frozenset("0123456789abcdef" + "nopsvx" + "./:@-")
# Were any word taken for an interface's name, every expression would find its settings.
_INTERFACES: Final = (
    "all default lo eth en wl ww bond team br docker virbr vmbr veth vnet vlan vxlan tun tap wg "
    "ppp dummy cni cali flannel tailscale lxcbr lxdbr podman ib usb sit gre ip6tnl"
).split()


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
        made = cls(f"{_SETTINGS}{name}{below}")
        start, end = len(_SETTINGS), len(_SETTINGS) + len(name)
        at = 0
        tokens: list[_Token] = []
        for token in made._tokens:
            is_sign = start <= at < end and token.character in {".", "/"}
            tokens.append(_Token("separator") if is_sign else token)
            at += len(token.character) or len(token.kind)
        made._tokens = tuple(tokens)
        made._prefix = _SETTINGS + re.split(r"[*./]", name, maxsplit=1)[0]
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


@dataclass(frozen=True, slots=True)
class PathBlock:
    """One block of rules: it allows, or denies.

    Attributes:
        allows: which of the two.
        patterns: of paths.
        protected: a deny block that no setting lifts.
        named: a deny block for what is asked for by name. A pattern or a folder is denied only
            where all that it stands for has such a name; one that merely may reach it is not.
        why: of a deny block, what else than a secret it keeps in.
    """

    allows: bool
    patterns: tuple[PathPattern, ...]
    protected: bool = False
    named: bool = False
    why: str = ""

    def fits(self, path: str) -> PathPattern | None:
        """The first pattern that a path fits."""
        if self.allows:
            return next((p for p in self.patterns if p.expression.fullmatch(path)), None)
        lower = path.lower()
        return next((p for p in self.patterns if p.folded.expression.fullmatch(lower)), None)

    def denies(self, *meant: PathPattern) -> PathPattern | None:
        """The first pattern for which a deny block denies any of these patterns."""
        folded = [one.folded for one in meant]
        for pattern in self.patterns:
            relation = pattern.folded.covers if self.named else pattern.folded.meets
            if any(relation(one) for one in folded):
                return pattern
        return None


@dataclass(frozen=True, slots=True)
class Places:
    """Paths of which it matters that a program goes there at all, whatever it reads.

    Attributes:
        automounts: folders in which something is mounted as soon as one is entered.
        ways: links of the kernel's own that lead to any other path.
        disks: block devices.
        kernel: trees in which only what is in `folders` or `disks` may be opened.
        folders: folders in the kernel's trees and in those of FIFOs that are there on every system.
        fifos: trees in which FIFOs are made by anybody, or by services.
        spares_root: whether a walk from / on may enter an automount.
    """

    automounts: tuple[PathPattern, ...] = ()
    ways: tuple[PathPattern, ...] = ()
    disks: tuple[PathPattern, ...] = ()
    kernel: tuple[PathPattern, ...] = ()
    folders: tuple[PathPattern, ...] = ()
    fifos: tuple[PathPattern, ...] = ()
    spares_root: bool = True


_NO_PLACES: Final = Places()


class PathRules:
    """The blocks, tried in order; what none allows is refused."""

    def __init__(
        self,
        blocks: Sequence[PathBlock],
        places: Places = _NO_PLACES,
        *,
        on_demand: Sequence[str] = (),
    ) -> None:
        """The rules.

        Args:
            blocks: in order.
            places: paths of which it matters that a program goes there at all.
            on_demand: folders of the root folder in which a name is a host's: an automounter looks
                up whatever is named there, and mounts it.
        """
        self._blocks = tuple(blocks)
        self._places = places
        self._on_demand = tuple(on_demand)
        # What was found of patterns: a look at every rule, which a suggestion asks for many times.
        self._known: dict[tuple[str, bool], Misfit | None] = {}

    @property
    def readable(self) -> tuple[str, ...]:
        """Every allow pattern, in order."""
        return tuple(p.text for block in self._blocks if block.allows for p in block.patterns)

    @property
    def automounts(self) -> tuple[PathPattern, ...]:
        """Folders in which something is mounted as soon as one is entered."""
        return self._places.automounts

    def is_protected(self, pattern: str) -> bool:
        """Whether all that a pattern names is protected, whatever a setting says."""
        named = PathPattern(pattern).folded
        return any(
            block.protected and any(one.folded.covers(named) for one in block.patterns)
            for block in self._blocks
        )

    def check_metadata(self, path: str, *, is_glob: bool) -> Misfit | None:
        """Whether names, sizes and owners of this path may be asked for: nearly any plain path.

        Args:
            path: the word; `.` is the folder in which commands start, `/`.
            is_glob: whether the shell expands it.
        """
        absolute = _absolute(path)
        fault = _check_form(absolute, is_glob=is_glob) or self._check_on_demand(absolute)
        if fault:
            return fault
        meant = PathPattern(_normal(absolute), expanded=is_glob)
        for way in self._places.ways:
            if PathPattern(f"{way.text}/**").meets(meant):
                return Misfit(
                    "path_climbs",
                    f"{shown(path)} leads through {way.text} to another folder.",
                    hint="Write the absolute path it leads to.",
                )
        for folder in self._places.automounts:
            if folder.meets(meant) or PathPattern(f"{folder.text}/**").meets(meant):
                return _mounts(path, folder)
        return None

    def check_walk(self, path: str, *, is_glob: bool, depth: int | None = None) -> Misfit | None:
        """Whether a folder may be gone through with the folders below it, across all mounts.

        Args:
            path: the word.
            is_glob: whether the shell expands it.
            depth: of how many folders below each other the names are listed; None for all.
        """
        fault = self.check_metadata(path, is_glob=is_glob)
        if fault:
            return fault
        normal = _normal(_absolute(path))
        meant = PathPattern(normal, expanded=is_glob)
        for way in self._places.ways:
            if way.meets(meant):
                return Misfit(
                    "path_climbs",
                    f"{shown(path)} leads to another folder.",
                    hint="Write the absolute path it leads to.",
                )
        if self._places.spares_root and normal in {"/", "/*"}:
            return None
        below = PathPattern(f"{normal.rstrip('/')}/**", expanded=is_glob)
        for folder in self._places.automounts:
            levels = _levels(folder.text) - _levels(normal)
            if below.meets(folder) and (depth is None or depth > levels):
                return _mounts(path, folder)
        return None

    def check_opened(self, path: str, *, is_glob: bool) -> Misfit | None:
        """Whether a program may open what a path names, be it a folder, a file or a device.

        What is opened may be a device, of which only disks are let through, or a FIFO, where the
        program would wait for a writer. A path that ends in a slash opens nothing but a folder.
        """
        fault = self.check_metadata(path, is_glob=is_glob)
        absolute = _absolute(path)
        if fault or absolute.endswith(("/", "/.")):
            return fault
        meant = PathPattern(_normal(absolute), expanded=is_glob)
        places = self._places
        if any(known.covers(meant) for known in (*places.folders, *places.disks)):
            return None
        for tree in places.kernel:
            if tree.meets(meant):
                return Misfit(
                    "path_acts",
                    f"{shown(path)} would be opened, and opening what is in {tree.text} can change "
                    "the system.",
                    hint="Name a disk, such as /dev/sda1, or a folder with a slash at its end.",
                )
        for tree in places.fifos:
            if tree.meets(meant):
                return Misfit(
                    "path_acts",
                    f"{shown(path)} could be a FIFO, and the program would wait for its writer.",
                    hint="Name a folder, with a slash at its end.",
                )
        return None

    def _check_on_demand(self, path: str) -> Misfit | None:
        """Whether merely to look at a path would have the host that it names looked up.

        A name with a wildcard is only compared with what is mounted already.
        """
        parts = [part for part in path.split("/") if part not in {"", "."}]
        starts = [0]
        if parts and _can_be(parts[0], ("proc",)):
            # /proc/1/root and /proc/1/cwd lead to the root folder again.
            starts += [i + 1 for i, p in enumerate(parts) if i > 1 and _can_be(p, ("root", "cwd"))]
        for start in starts:
            folder, *below = parts[start:] or [""]
            if below and not set("*?") & set(below[0]) and _can_be(folder, self._on_demand):
                return Misfit(
                    "path_on_demand",
                    f"{shown(path)} may name a host: where such a folder is an automounter's, to "
                    "look at it has the host looked up and mounted.",
                    hint="findmnt shows what is mounted.",
                )
        return None

    # -------------------------------------------------------------- kernel settings

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
        slashed = name.replace(".", "/")
        meant = [PathPattern.of_setting(name), PathPattern(f"{_SETTINGS}{slashed}/**")]
        if not self._is_listed(meant[0]):
            # The end may be an interface's own. What is listed is a setting, not `eth0.forwarding`.
            meant.append(PathPattern.of_setting(name, "/**"))
        for pattern in self._kept_settings():
            if any(pattern.meets(one) for one in meant):
                return _kept(name, pattern)
        return None

    def check_sysctl_pattern(self, expression: str) -> Misfit | None:
        """Whether none of the settings that a regular expression finds is protected.

        Only characters, `.`, `.*`, `^`, `$` and `|` are understood; sysctl (procps 4.0) looks for
        the expression in names with dots, where an interface's own dot is a slash.
        """
        for text in expression.split("|"):
            parts = _expression_parts(text)
            if parts is None:
                return Misfit(
                    "value_refused",
                    f"{shown(expression)} is not an expression that can be judged here.",
                    hint="Write names or parts of them, with . and .* and ^ and $, and | between: "
                    "'^net.core.rmem|swappiness'.",
                )
            found = PathPattern.of_expression(parts, text)
            for pattern in self._kept_settings():
                if any(name.meets(found) for name in _printed_names(pattern.text)):
                    return _kept(expression, pattern)
        return None

    def _is_listed(self, setting: PathPattern) -> bool:
        """Whether a name can mean a file of which it is known that it may be read."""
        return any(
            pattern.text.startswith(_SETTINGS) and pattern.meets(setting)
            for block in self._blocks
            for pattern in (block.patterns if block.allows else ())
        )

    def _kept_settings(self) -> Iterator[PathPattern]:
        for block in self._blocks:
            if block.protected:
                yield from (one for one in block.patterns if one.text.startswith(_SETTINGS))
        yield from (one for one in self._places.automounts if one.text.startswith(_SETTINGS))

    # -------------------------------------------------------------- content

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
        normal = _normal(path)
        if not tree and not is_glob:
            return self._check_one(normal)
        if (normal, tree) not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            if tree:
                meant = (PathPattern(f"{normal.rstrip('/')}/**"), PathPattern(normal))
            else:
                meant = (PathPattern(normal, expanded=True),)
            self._known[normal, tree] = self._check_many(normal, *meant)
        return self._known[normal, tree]

    def _check_one(self, path: str) -> Misfit | None:
        named: Misfit | None = None
        for block in self._blocks:
            pattern = block.fits(path)
            if pattern is None:
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
            if block.allows:
                if any(pattern.covers(meant[0]) for pattern in block.patterns):
                    return named
                continue
            pattern = block.denies(*meant)
            if pattern is None:
                continue
            if block.why:
                return _acts(shown_as, pattern, block)
            denied = Misfit(
                "path_protected" if block.protected else "name_protected",
                f"{shown(shown_as)} could also reach files that are protected ({pattern.text}).",
                hint="Name the files, or a folder or pattern that cannot reach them, such as "
                "/var/log/nginx or /etc/nginx/conf.d/*.conf.",
            )
            if block.protected:
                return denied
            named = named or denied
        return Misfit(
            "path_not_readable",
            f"{shown(shown_as)} could reach files that are not among those that may be read.",
            hint="Name the files; hostup://policy lists the readable files and folders.",
        )


def _absolute(path: str) -> str:
    return path[1:] or "/" if path == "." or path.startswith("./") else path


def _normal(path: str) -> str:
    """An absolute path without empty parts and dots."""
    return "/" + "/".join(part for part in path.split("/") if part not in {"", "."})


def _levels(path: str) -> int:
    return sum(1 for part in path.split("/") if part)


def _mounts(path: str, folder: PathPattern) -> Misfit:
    return Misfit(
        "path_acts",
        f"{shown(path)} would enter {folder.text}, where that mounts a file system.",
        hint="Keep find, du and tree on one file system (-xdev, -x), or name a folder outside it.",
    )


def _kept(name: str, pattern: PathPattern) -> Misfit:
    return Misfit(
        "path_protected",
        f"{shown(name)} would show what is protected ({pattern.text}).",
        hint="Name the setting that is wanted.",
    )


@cache
def _printed_names(pattern: str) -> tuple[PathPattern, ...]:
    """The names of settings as sysctl prints them, with dots for slashes."""
    name = pattern.removeprefix(_SETTINGS).replace("/", ".").removesuffix(".**")
    before, star, after = name.partition("*")
    tail = ("tail",) if star else ()
    return tuple(
        PathPattern.of_expression((*before, *head, *tail, *after), name)
        for head in (_INTERFACES if star else ("",))
    )


def _expression_parts(text: str) -> tuple[str, ...] | None:
    """What one alternative of a regular expression finds somewhere in a name; None if unclear."""
    starts, ends = text.startswith("^"), text.endswith("$")
    parts = [] if starts else ["**"]
    body = text.removeprefix("^").removesuffix("$")
    if not body:
        return None
    at = 0
    while at < len(body):
        found = _EXPRESSION_PART.match(body, at)
        if not found:
            return None
        sign = found.group()
        at = found.end()
        parts.append({".": "any", ".*": "**"}.get(sign, sign[-1]))
    return tuple(parts if ends else [*parts, "**"])


def _acts(shown_as: str, pattern: PathPattern, block: PathBlock) -> Misfit:
    by = "" if pattern.text == shown_as else f" ({pattern.text})"
    return Misfit(
        "path_acts",
        f"{shown(shown_as)} {block.why}{by}.",
        hint="hostup://policy lists the readable files; ls -l shows names.",
    )


def _can_be(part: str, names: Sequence[str]) -> bool:
    """Whether one part of a path, with wildcards or not, can be one of these names."""
    return any(PathPattern(part).expression.fullmatch(name) for name in names)


def _denied(path: str, pattern: PathPattern, block: PathBlock) -> Misfit:
    if block.why:
        return _acts(path, pattern, block)
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
