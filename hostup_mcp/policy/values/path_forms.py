"""Checks the form of a path, and how much a pattern of the shell may match."""

from __future__ import annotations

import re
from typing import Final

from hostup_mcp.policy.mismatch import Mismatch, shown

_MAX_CHARACTERS: Final = 1024
_MAX_GLOB_CHARACTERS: Final = 128
_MAX_WILDCARDS: Final = 6
MAX_STARS: Final = 3
"""How many `*` a pattern may have, of paths or of settings."""

_MAX_WILD_FOLDERS: Final = 2
"""Names of a path that may have wildcards; one more where the first two have none."""
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=~^# -]+")


def check_form(path: str, *, is_glob: bool) -> Mismatch | None:
    """Whether a word is an absolute path of plain characters, or a pattern that is not too wide."""
    if not path.startswith("/"):
        return Mismatch(
            "path_relative",
            f"{shown(path)} is not an absolute path.",
            hint="Write an absolute path: commands start in the folder /.",
        )
    if is_glob and (fault := _check_reach(path)):
        return fault
    if len(path) > (_MAX_GLOB_CHARACTERS if is_glob else _MAX_CHARACTERS):
        return Mismatch("path_too_long", f"The path {shown(path)} is too long.")
    if not is_glob and not _PLAIN.fullmatch(path):
        return Mismatch(
            "path_characters",
            f"{shown(path)} has a character that a path may not have here.",
            hint="Letters, digits, blanks and _ . / : @ % + , = ~ ^ # - are accepted; write "
            "patterns without quotes.",
        )
    if ".." in path.split("/"):
        return Mismatch(
            "path_climbs",
            f"{shown(path)} climbs with .. to another folder.",
            hint="Write the absolute path it leads to.",
        )
    return None


def _check_reach(pattern: str) -> Mismatch | None:
    """Whether a pattern of the shell could match more than the shell should hold.

    A shell keeps every match before the program starts. dash held 3 GB for twelve `/*/*/*/*/*/*` on
    an idle container; `/proc/*/root/*/*` has the whole system once for each process.
    """
    if sum(map(pattern.count, "*?")) > _MAX_WILDCARDS or pattern.count("*") > MAX_STARS:
        return Mismatch(
            "glob_refused",
            f"{shown(pattern)} has more than {MAX_STARS} * or {_MAX_WILDCARDS} wildcards.",
            hint="Name the files, or use fewer wildcards.",
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
        return Mismatch(
            "pattern_too_wide",
            f"{shown(pattern)} has wildcards in {len(wild)} names, and the shell would hold every "
            "match in memory.",
            hint="Write more of the path, such as /var/log/*/*.log, or use find with -path in "
            "quotes.",
        )
    return None


def pattern_weight(pattern: str) -> int:
    """What a pattern counts of what the patterns of a line may: the more, the more it can match."""
    wild = sum("*" in name or "?" in name for name in pattern.split("/"))
    return 4 ** max(0, wild - 1)


def as_absolute(path: str) -> str:
    """The path with `.` read as the folder in which commands start, `/`."""
    return path[1:] or "/" if path == "." or path.startswith("./") else path


def as_normal(path: str) -> str:
    """An absolute path without empty parts and dots."""
    return "/" + "/".join(part for part in path.split("/") if part not in {"", "."})


def name_count(path: str) -> int:
    """How many names a path has."""
    return sum(1 for part in path.split("/") if part)
