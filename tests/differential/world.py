"""A folder in which commands are run: recorders on PATH, and files with hostile names.

A recorder appends one record of what it was given to a log: a number from its environment, its own
path and its arguments, each ended by NUL. It is a script of /bin/sh, since a compiler is not
everywhere; where that is dash, it starts almost as fast as a program in C.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

PLAIN_NAMES = ("c1", "c2", "d1", "df_")
"""Recorders on PATH. Those with a c exit with 0, those with a d with 1."""
FILES = "/FILES"
"""Stands in a text for the folder with the hostile names."""
ABSOLUTE = ("/BIN/c3", "/BIN/d3")
"""Recorders that are not on PATH; /BIN stands for their folder."""
WHERE = "/BIN/where"
"""A recorder of the environment in place of its arguments."""
SAYS = "/BIN/says"
"""Reads a line, and writes it to stdout and stderr."""

NUMBER = "COMMAND_NUMBER"
"""The variable by which records are told apart."""
_LOG = "COMMAND_LOG"

_RECORD = f"""printf '%s\\0' "${NUMBER}" "$#" "$0" "$@" >>"${_LOG}"\n"""
_WHERE = 'here=$(pwd)\nset -- "$here" "$PATH" "$PAGER" "$SYSTEMD_PAGER" "${HOME-unset}"\n' + _RECORD
_SAYS = """read -r line\nprintf 'out %s\\n' "$line"\nprintf 'err %s\\n' "$line" >&2\n"""

HOSTILE_FILES = (
    "-exec", "-rf", "x$(d1)", "`d1`", ";c1", "line\nfeed", "a b", ".hidden", "*", "?", "'", '"',
    "\\", "a", "ab", "a1b", "b", "&", "|d1", "#", "~", "{a,b}", "[a-z]", "!", "=d1", "a=b", "--",
    "$x", "c1", "tab\there", " ", "\\n", "x,y", "%s", "@a", "+a", "t:u", "_u",
)  # fmt: skip
HOSTILE_FOLDERS = ("sub", "s b", "deep/-x/y z", ".dot", "deep/.dot", "deep/$(d1)")
LINKS = {"way": "s b", "sub/nowhere": "/no/such/place"}


class World:
    """One such folder. Its paths are plain: they can stand in a pattern."""

    def __init__(self, root: Path) -> None:
        """Where it is.

        Args:
            root: the folder, made by `build`.
        """
        self.root = root
        self.path_folder = root / "path"
        self.absolute_folder = root / "bin"
        self.files = root / "files"
        self.working = root / "working"

    @classmethod
    def build(cls, root: Path) -> World:
        """Fill a folder that exists."""
        if not re.fullmatch(r"(/[A-Za-z0-9_][A-Za-z0-9+._-]*)+", str(root)):
            raise ValueError(f"{root} cannot stand unquoted in a command; set TMPDIR")
        world = cls(root)
        for folder in (world.path_folder, world.absolute_folder):
            folder.mkdir()
        for name in PLAIN_NAMES:
            _write(world.path_folder / name, f"{_RECORD}exit {exit_status(name)}\n")
        for path in ABSOLUTE:
            name = path.rpartition("/")[2]
            _write(world.absolute_folder / name, f"{_RECORD}exit {exit_status(name)}\n")
        _write(world.absolute_folder / "where", _WHERE)
        _write(world.absolute_folder / "says", _SAYS)
        # The working folder has the same names: a pattern that is expanded by mistake shows.
        for folder in (world.files, world.working):
            _fill(folder)
        return world

    def at_home(self, text: str) -> str:
        """A text with this world's folders in place of their signs."""
        return text.replace(FILES, str(self.files)).replace("/BIN", str(self.absolute_folder))

    def program(self, word: str) -> str | None:
        """The path of the recorder that a command word starts, or None if it is no recorder."""
        if word in PLAIN_NAMES:
            return str(self.path_folder / word)
        absolute = {self.at_home(path) for path in (*ABSOLUTE, WHERE, SAYS)}
        return word if word in absolute else None

    def environment(self, log: Path, number: int = 0) -> dict[str, str]:
        """All that a shell is given."""
        return {
            "PATH": str(self.path_folder),
            "HOME": str(self.working),
            "LC_ALL": "C",
            "x": "d1",
            NUMBER: str(number),
            _LOG: str(log),
        }


def exit_status(name: str) -> int:
    """What a recorder exits with."""
    return 1 if name.startswith("d") else 0


def read_records(log: Path) -> dict[int, list[tuple[str, ...]]]:
    """What was run, by number: each time the program's path and its arguments."""
    found: dict[int, list[tuple[str, ...]]] = {}
    if not log.exists():
        return found
    fields = os.fsdecode(log.read_bytes()).split("\0")[:-1]
    at = 0
    while at < len(fields):
        end = at + 3 + int(fields[at + 1])
        found.setdefault(int(fields[at]), []).append(tuple(fields[at + 2 : end]))
        at = end
    return found


def _fill(folder: Path) -> None:
    for name in HOSTILE_FOLDERS:
        (folder / name).mkdir(parents=True)
    places = ("s b/inner", "deep/-x/inner", "deep/y", ".dot/inner", "sub/inner")
    for name in (*HOSTILE_FILES, *(f"sub/{name}" for name in HOSTILE_FILES[:16]), *places):
        (folder / name).touch()
    for name, target in LINKS.items():
        (folder / name).symlink_to(target)


def _write(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}", "ascii")
    path.chmod(0o755)
