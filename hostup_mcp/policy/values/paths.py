"""Which files may be read: ordered blocks of path patterns, also for patterns and whole folders.

A shell pattern, or a folder that is read with all below it, stands for many paths at once. It
passes only where an allow rule covers all of them and no earlier deny rule meets any. What denies
does so in any letter case; what allows is exact.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from hostup_mcp.policy.mismatch import Mismatch, shown
from hostup_mcp.policy.values.kernel_settings import KernelSettings
from hostup_mcp.policy.values.path_blocks import PathBlock, Places
from hostup_mcp.policy.values.path_forms import as_absolute, as_normal, check_form, name_count
from hostup_mcp.policy.values.path_patterns import PathPattern

_MOST_KNOWN: Final = 256
_PROTECTED_HINT: Final = "Look at its name and size with ls -l; its content stays protected."
_FILE_NAME = re.compile(
    r"[^.]\.(?:conf|cf|cfg|ini|list|sources|log|txt|rules|service|timer|repo|vhost)$"
)
_FOLDER_OF_FILES = re.compile(r"/(?:sites|conf|mods)-(?:available|enabled)$|/cron\.[a-z]+$")

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
        self.settings = KernelSettings(self._blocks, places)
        # What was found of patterns: a look at every rule, which a suggestion asks for many times.
        self._known: dict[tuple[str, bool], Mismatch | None] = {}

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

    def check_metadata(self, path: str, *, is_glob: bool) -> Mismatch | None:
        """Whether names, sizes and owners of this path may be asked for: nearly any plain path.

        Args:
            path: the word; `.` is the folder in which commands start, `/`.
            is_glob: whether the shell expands it.
        """
        absolute = as_absolute(path)
        fault = check_form(absolute, is_glob=is_glob) or self._check_on_demand(absolute)
        if fault:
            return fault
        meant = PathPattern(as_normal(absolute), expanded=is_glob)
        for way in self._places.ways:
            if PathPattern(f"{way.text}/**").meets(meant):
                return Mismatch(
                    "path_climbs",
                    f"{shown(path)} leads through {way.text} to another folder.",
                    hint="Write the absolute path it leads to.",
                )
        for folder in (*self._places.automounts, *self._places.unlisted):
            if folder.meets(meant) or PathPattern(f"{folder.text}/**").meets(meant):
                return _mounts(path, folder)
        return None

    def check_walk(self, path: str, *, is_glob: bool, depth: int | None = None) -> Mismatch | None:
        """Whether a folder may be gone through with the folders below it, across all mounts.

        Args:
            path: the word.
            is_glob: whether the shell expands it.
            depth: of how many folders below each other the names are listed; None for all.
        """
        fault = self.check_metadata(path, is_glob=is_glob)
        if fault:
            return fault
        normal = as_normal(as_absolute(path))
        meant = PathPattern(normal, expanded=is_glob)
        for way in self._places.ways:
            if way.meets(meant):
                return Mismatch(
                    "path_climbs",
                    f"{shown(path)} leads to another folder.",
                    hint="Write the absolute path it leads to.",
                )
        if self._places.spares_root and normal in {"/", "/*"}:
            return None
        below = PathPattern(f"{normal.rstrip('/')}/**", expanded=is_glob)
        for folder in self._places.automounts:
            levels = name_count(folder.text) - name_count(normal)
            if below.meets(folder) and (depth is None or depth > levels):
                return _mounts(path, folder)
        return None

    def check_opened(self, path: str, *, is_glob: bool) -> Mismatch | None:
        """Whether a program may open what a path names, be it a folder, a file or a device.

        What is opened may be a device, of which only disks are let through, or a FIFO, where the
        program would wait for a writer. A path that ends in a slash opens nothing but a folder.
        """
        fault = self.check_metadata(path, is_glob=is_glob)
        absolute = as_absolute(path)
        if fault or absolute.endswith(("/", "/.")):
            return fault
        meant = PathPattern(as_normal(absolute), expanded=is_glob)
        places = self._places
        if any(known.covers(meant) for known in (*places.folders, *places.disks)):
            return None
        for tree in places.kernel:
            if tree.meets(meant):
                return Mismatch(
                    "path_acts",
                    f"{shown(path)} would be opened, and opening a file in {tree.text} can change "
                    "the system.",
                    hint="Name a disk, such as /dev/sda1, or a folder with a slash at its end.",
                )
        for tree in places.fifos:
            if tree.meets(meant):
                return Mismatch(
                    "path_acts",
                    f"{shown(path)} could be a FIFO, and the program would wait for its writer.",
                    hint="Name a folder, with a slash at its end.",
                )
        return None

    def _check_on_demand(self, path: str) -> Mismatch | None:
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
                return Mismatch(
                    "path_on_demand",
                    f"{shown(path)} may name a host: if an automounter manages this folder, "
                    "looking at the path looks the host up and mounts it.",
                    hint="findmnt shows what is mounted.",
                )
        return None

    # -------------------------------------------------------------- content

    def check_file(self, path: str, *, is_glob: bool) -> Mismatch | None:
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
        return Mismatch(
            "path_not_readable",
            f"{shown(path)} could be a folder, and the program would then read everything in it.",
            hint="Name a file, such as /etc/nginx/nginx.conf.",
        )

    def check_read(self, path: str, *, is_glob: bool, tree: bool = False) -> Mismatch | None:
        """Whether the content of this file may be read.

        Args:
            path: the word; `-` is standard input.
            is_glob: whether the shell expands it.
            tree: whether it is a folder that is read with all below it.
        """
        if path == "-" and not tree:
            return None
        fault = check_form(path, is_glob=is_glob)
        if fault:
            return fault
        normal = as_normal(path)
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

    def _check_one(self, path: str) -> Mismatch | None:
        named: Mismatch | None = None
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
        return Mismatch(
            "path_not_readable",
            f"{shown(path)} is not among the files that may be read.",
            hint="hostup://policy lists the readable files and folders; ls, stat and find show "
            "names and sizes of any.",
        )

    def _check_many(self, shown_as: str, *meant: PathPattern) -> Mismatch | None:
        """`meant`: what is read, and what else must not be denied."""
        named: Mismatch | None = None
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
            denied = Mismatch(
                "path_protected" if block.protected else "name_protected",
                f"{shown(shown_as)} could also reach files that are protected ({pattern.text}).",
                hint="Name the files, or a folder or pattern that cannot reach them, such as "
                "/var/log/nginx or /etc/nginx/conf.d/*.conf.",
            )
            if block.protected:
                return denied
            named = named or denied
        return Mismatch(
            "path_not_readable",
            f"{shown(shown_as)} could reach files that may not be read.",
            hint="Name the files; hostup://policy lists the readable files and folders.",
        )


def _mounts(path: str, folder: PathPattern) -> Mismatch:
    return Mismatch(
        "path_acts",
        f"{shown(path)} would enter {folder.text}, and entering it mounts a file system.",
        hint="Keep find, du and tree on one file system (-xdev, -x), or name a folder outside it.",
    )


def _acts(shown_as: str, pattern: PathPattern, block: PathBlock) -> Mismatch:
    by = "" if pattern.text == shown_as else f" ({pattern.text})"
    return Mismatch(
        "path_acts",
        f"{shown(shown_as)} {block.why}{by}.",
        hint="hostup://policy lists the readable files; ls -l shows names.",
    )


def _can_be(part: str, names: Sequence[str]) -> bool:
    """Whether one part of a path, with wildcards or not, can be one of these names."""
    return any(PathPattern(part).expression.fullmatch(name) for name in names)


def _denied(path: str, pattern: PathPattern, block: PathBlock) -> Mismatch:
    if block.why:
        return _acts(path, pattern, block)
    by = "" if pattern.text == path else f" by {pattern.text}"
    message = f"{shown(path)} is protected{by}."
    if block.protected:
        return Mismatch("path_protected", message, hint=_PROTECTED_HINT)
    return Mismatch("name_protected", message, hint="Files with such a name often hold secrets.")
