"""What was meant by a command that a rule refuses: its argv with one thing changed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from hostup_mcp.policy.models import Command, Getopt, Subcommands
from hostup_mcp.policy.preset import Preset, program_name

Argv = tuple[str, ...]

_SUFFIXES: Final = ("conf.d/*.conf", "*.conf", "*.log", "*.list", "*.rules")
_MAX_SUFFIXES: Final = 12
_PATH_CODES: Final = frozenset({"path_protected", "path_not_readable"})


@dataclass(frozen=True, slots=True)
class Target:
    """The refused stage.

    Attributes:
        argv: its words.
        code: the refusal's.
        index: which word is at fault; 0 for the program or the whole.
    """

    argv: Argv
    code: str
    index: int


def rewrite_stage(target: Target, preset: Preset, known: Sequence[str]) -> Iterator[Argv]:
    """Other argvs for this stage, likeliest first.

    Args:
        target: the stage.
        preset: for what its programs accept, and the equivalents of those that it has not.
        known: every program that some rule or the preset lets run.
    """
    argv = target.argv
    name = program_name(argv[0])
    command = preset.commands.get(name)
    if command is None:
        yield from _other_program(name, argv, preset, known)
        return
    yield from _instead(command, target)
    if target.code in _PATH_CODES:
        yield from _other_paths(argv, target.index, command)
    if target.code == "path_relative":
        yield _replaced(argv, target.index, f"/{argv[target.index].lstrip('/')}")
    if target.code == "path_climbs":
        yield _replaced(argv, target.index, _climbed(argv[target.index]))
    if target.code == "subcommand_refused" and isinstance(command, Subcommands):
        close = difflib.get_close_matches(argv[target.index], command.subcommand, n=2, cutoff=0.6)
        for found in close:
            yield _replaced(argv, target.index, *found.split())
    if target.index > 0:
        yield from _without_word(argv, target.index, command)


# ------------------------------------------------------------------ another program


def _other_program(name: str, argv: Argv, preset: Preset, known: Sequence[str]) -> Iterator[Argv]:
    # The program behind a wrapper: sudo -u x df -h, timeout 5 df.
    for start in range(1, min(len(argv), _MAX_SUFFIXES)):
        if program_name(argv[start]) in known:
            yield argv[start:]
    yield from _equivalents(name.rpartition("/")[2], argv, preset)
    close = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.7)
    for found in close:
        yield (found, *argv[1:])


def _equivalents(name: str, argv: Argv, preset: Preset) -> Iterator[Argv]:
    operands = tuple(word for word in argv[1:] if not word.startswith("-") and word != "]")
    for form in preset.data.equivalents.get(name, ()):
        words: list[str] = []
        for part in form.split():
            if part == "{}":
                words += operands
            elif part == "{1}":
                words += operands[:1]
            elif part.endswith("/{}"):
                words += [part[:-2] + operand for operand in operands]
            else:
                words.append(part)
        if operands or "{" not in form:
            yield tuple(words)


def nested_command(argv: Argv) -> str | None:
    """The command line that a shell or wrapper was to run: of `sh -c 'df -h'`, `df -h`."""
    for index, word in enumerate(argv[1:-1], start=1):
        if re.fullmatch(r"-[a-z]*c|--command", word):
            return argv[index + 1]
    return None


# ------------------------------------------------------------------ other words


def _instead(command: Command, target: Target) -> Iterator[Argv]:
    argv, index = target.argv, target.index
    word = argv[index] if index else ""
    for names, text in command.instead.items():
        for name in names.split():
            if name == word:
                yield (*argv[:index], *text.split(), *argv[index + 1 :])
            elif re.fullmatch("-[A-Za-z]", name) and re.fullmatch("-[A-Za-z0-9]{2,}", word):
                letter = name[1]
                if letter in word:
                    left = word.replace(letter, "", 1)
                    yield (*argv[:index], *text.split(), left, *argv[index + 1 :])
                    yield (*argv[:index], *text.split(), *argv[index + 1 :])


def _other_paths(argv: Argv, index: int, command: Command) -> Iterator[Argv]:
    path = argv[index]
    recursive = command.recursive if isinstance(command, Getopt) else ()
    plain = tuple(_drop_flags(argv, recursive)) if recursive else argv
    if plain != argv or "*" in path or "?" in path:
        folder = path.split("*", maxsplit=1)[0].split("?", maxsplit=1)[0]
        folder = folder.rstrip("/") if plain != argv else folder.rpartition("/")[0]
        for suffix in _SUFFIXES:
            yield tuple(f"{folder}/{suffix}" if word == path else word for word in plain)
    yield ("ls", "-l", path.rstrip("*?") or "/")


def _drop_flags(argv: Argv, flags: Sequence[str]) -> Iterator[str]:
    letters = "".join(flag[1] for flag in flags if len(flag) == 2)
    for word in argv:
        if word in flags:
            continue
        if re.fullmatch(r"-[A-Za-z]{2,}", word):
            yield "-" + word[1:].translate({ord(letter): None for letter in letters})
        else:
            yield word


def _without_word(argv: Argv, index: int, command: Command) -> Iterator[Argv]:
    word = argv[index]
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        spelled = [full for full in _long_options(command) if full.startswith(name)]
        if len(spelled) == 1 and spelled[0] != name:
            yield _replaced(argv, index, f"{spelled[0]}{equals}{value}")
    if not word.startswith(("-", "+")):
        # A value goes with its option; an operand stays, since little is left without it.
        if index > 1 and argv[index - 1].startswith("-"):
            yield (*argv[: index - 1], *argv[index + 1 :])
        return
    end = next((i for i in range(index, len(argv)) if argv[i] in {";", "+"}), None)
    if end is not None:
        yield (*argv[:index], *argv[end + 1 :])
    yield (*argv[:index], *argv[index + 1 :])
    if re.fullmatch(r"-[A-Za-z0-9]{2,6}", word):
        for position in range(1, len(word)):
            yield _replaced(argv, index, word[:position] + word[position + 1 :])
    if index + 1 < len(argv):
        yield (*argv[:index], *argv[index + 2 :])


def _long_options(command: Command) -> Iterator[str]:
    if isinstance(command, Getopt):
        for names in (command.flags, command.options, command.attached):
            yield from (name for name in names if name.startswith("--"))


def _climbed(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in {"", "."}:
            parts.append(part)
    return "/" + "/".join(parts)


def _replaced(argv: Argv, index: int, *words: str) -> Argv:
    return (*argv[:index], *words, *argv[index + 1 :])
