"""Rewrites a command that a rule refuses: its argv with one thing changed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from hostup_mcp.policy.mismatch import Mismatch
from hostup_mcp.policy.models import Command, Effect, Find, Getopt, Subcommands
from hostup_mcp.policy.preset import Preset, program_name
from hostup_mcp.policy.programs.lookups import NETWORK_REFUSED
from hostup_mcp.policy.shell.tree import Stage, Word
from hostup_mcp.suggestions.printed_bytes import same_bytes
from hostup_mcp.suggestions.substitutes import substitutes
from hostup_mcp.suggestions.templates import filled, instead_of
from hostup_mcp.suggestions.wrappers import Argv, unwrapped

_USUAL_NAMES: Final = {"/etc/": ("conf.d/*.conf", "*.conf"), "": ("*.log",)}
_PATH_CODES: Final = frozenset({"path_protected", "name_protected", "path_not_readable"})
_TESTS: Final = re.compile(r"-[efdLhs]")
# Without its option of such an effect, the command is about another machine or other files.
_SAYS_WHAT: Final[tuple[Effect, ...]] = ("elsewhere", "read", "load")
_LOOKS_UP: Final = frozenset({"-v", "-V"})
_LEAST_LETTERS: Final = 3


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Other words for a stage.

    Attributes:
        words: the new argv.
        alone: whether it replaces the whole pipeline, because its output differs from the stage's,
            and the next stages cannot use it.
        final: whether it must not be changed any further if it is refused.
    """

    words: tuple[Word, ...]
    alone: bool = False
    final: bool = False


class StageRewriter:
    """Makes rewrites of a stage, for one preset."""

    def __init__(self, preset: Preset) -> None:
        """The rewriter.

        Args:
            preset: says what its programs accept, and which programs it does not have.
        """
        self._preset = preset

    def rewrites(self, stage: Stage, fault: Mismatch, folder: str) -> Iterator[Rewrite]:
        """Other words for a refused stage, likeliest first.

        Args:
            stage: the refused stage.
            fault: why it is refused.
            folder: the folder of its relative paths.
        """
        argv, index = stage.argv, max(fault.index, 0)
        name = program_name(argv[0])
        command = self._preset.commands.get(name)
        if command is None:
            for other in self._other_program(name, argv):
                yield _with(stage, other)
            return
        if name == "printf" and (printing := same_bytes(shlex.join(argv))):
            yield _with(stage, tuple(shlex.split(printing)))
        for other in _with_option(argv, fault, command):
            yield _with(stage, other)
        if fault.code == NETWORK_REFUSED:
            return
        instead = list(instead_of(command, argv, fault.code, index))
        for other in instead:
            yield _with(stage, other)
        if index:
            yield from self._of_word(stage, index, fault.code, folder)
            if not instead and not says_what(command, argv):
                for other in _without_word(argv, index, fault.option, command):
                    yield _with(stage, other)

    def _of_word(self, stage: Stage, index: int, code: str, folder: str) -> Iterator[Rewrite]:
        """The stage with another path or subcommand in place of the wrong word."""
        argv = stage.argv
        command = self._preset.commands[program_name(argv[0])]
        if code == "path_acts":
            for other in _on_one_disk(argv, index, command):
                yield _with(stage, other)
        if code in _PATH_CODES:
            yield from self._other_paths(stage, index, command)
        elif code in {"path_relative", "path_climbs"}:
            for path in _absolute(argv[index], folder):
                yield _with(stage, _replaced(argv, index, path))
        elif code == "subcommand_refused" and isinstance(command, Subcommands):
            for found in meant_by(argv[index], command.subcommand):
                yield _with(stage, _replaced(argv, index, *found.split()))

    def _other_program(self, name: str, argv: Argv) -> Iterator[Argv]:
        inner = unwrapped(argv)
        if inner != argv:
            yield inner
            return
        if name == "command" and len(argv) == 3 and argv[1] in _LOOKS_UP:
            name, argv = "which", argv[1:]
        data = self._preset.data
        folder, _, base = name.rpartition("/")
        if base == "test" and len(argv) == 3 and _TESTS.fullmatch(argv[1]) and argv[2][:1] == "/":
            yield ("stat", argv[2])
        equivalents = substitutes().equivalents
        forms = equivalents.get(base) or equivalents.get(f"{folder}/", ())
        for form in forms:
            yield from filled(form, argv)
        refused = self._preset.refused_names(base) or base in data.command
        if not forms and not refused and "/" not in name:
            for found in meant_by(name, self._preset.commands):
                yield (found, *argv[1:])

    def _other_paths(self, stage: Stage, index: int, command: Command) -> Iterator[Rewrite]:
        """For a folder that cannot be read as a whole: patterns of usual names, then a listing."""
        argv, path = stage.argv, stage.argv[index]
        recursive = command.recursive if isinstance(command, Getopt) else ()
        flat = tuple(_drop_flags(argv, recursive))
        is_tree = flat != argv
        folder, _, last = path.rpartition("/")
        if is_tree:
            folder, last = path.rstrip("/"), "*"
        is_glob = bool(set(last) & set("*?"))
        if set(folder) & set("*?"):
            return
        if is_tree or is_glob:
            for pattern in self._patterns(folder):
                named = tuple(pattern if word == path else word for word in flat)
                yield replace(_with(stage, named), final=True)
        shown = (folder or "/") if last == "*" else path
        words = (Word("ls"), Word("-l"), Word(shown, is_glob and shown == path))
        yield Rewrite(words, alone=True, final=True)

    def _patterns(self, folder: str) -> Iterator[str]:
        """Readable patterns that the preset has for this folder; else patterns of usual names."""
        readable = [
            path
            for path in self._preset.types.paths.readable
            if path.rpartition("/")[0] == folder and "*" in path and "**" not in path
        ]
        usual = _USUAL_NAMES["/etc/" if folder.startswith("/etc/") else ""]
        for path in readable or [f"{folder}/{name}" for name in usual]:
            if not path.endswith(".d/conf.d/*.conf"):
                yield path


def _with(stage: Stage, argv: Argv) -> Rewrite:
    """The rewrite to an argv. Old words stay the same; in a new absolute path `*` is a pattern."""
    known = {word.text: word.is_glob for word in stage.words}
    return Rewrite(
        tuple(Word(t, known.get(t, t.startswith("/") and bool(set(t) & set("*?")))) for t in argv)
    )


# ------------------------------------------------------------------ words left out


def _on_one_disk(argv: Argv, index: int, command: Command) -> Iterator[Argv]:
    """The argv kept to one file system, or with a folder instead of a file that would be opened."""
    if isinstance(command, Find):
        yield (*argv[: index + 1], "-xdev", *argv[index + 1 :])
    elif isinstance(command, Getopt):
        for flag in command.same_disk[:1]:
            yield (argv[0], flag, *argv[1:])
        if command.operands == "disk_or_opened":
            yield _replaced(argv, index, f"{argv[index]}/")


def _with_option(argv: Argv, fault: Mismatch, command: Command) -> Iterator[Argv]:
    """The argv with the option that is missing."""
    if fault.code == "option_missing" and isinstance(command, Getopt):
        yield (argv[0], command.needs[fault.option].add, *argv[1:])
    elif fault.code == NETWORK_REFUSED:
        yield from _without_lookups(argv, command)


def _without_lookups(argv: Argv, command: Command) -> Iterator[Argv]:
    """The argv with numbers instead of names that would be looked up."""
    rule = command.lookups
    if rule is None:
        return
    kept = tuple(w for w in argv[1:] if not (w.startswith("-") and w in (*rule.when, *rule.always)))
    for option in rule.unless[:1]:
        yield (argv[0], option, *(word for word in kept if word != option))
    if len(kept) + 1 < len(argv):
        yield (argv[0], *kept)


def _drop_flags(argv: Argv, flags: Sequence[str]) -> Iterator[str]:
    letters = "".join(flag[1] for flag in flags if len(flag) == 2)
    for word in argv:
        if word in flags:
            continue
        if letters and re.fullmatch(r"-[A-Za-z]{2,}", word):
            yield "-" + word[1:].translate({ord(letter): None for letter in letters})
        else:
            yield word


def _without_word(argv: Argv, index: int, option: str, command: Command) -> Iterator[Argv]:
    word = argv[index]
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        spelled = [full for full in _long_options(command) if full.startswith(name)]
        if len(spelled) == 1 and spelled[0] != name:
            yield _replaced(argv, index, f"{spelled[0]}{equals}{value}")
    if not word.startswith(("-", "+")) and word != option:
        # An option's value is left out with the option. An operand stays: without it little is
        # left.
        if index > 1 and argv[index - 1].startswith("-"):
            yield (*argv[: index - 1], *argv[index + 1 :])
        return
    # The command of an -exec ends with `;` or `+` after it; a `+` that is itself wrong ends none.
    end = next((i for i in range(index + 1, len(argv)) if argv[i] in {";", "+"}), None)
    if end is not None:
        listed = (*argv[:index], "-ls", *argv[end + 1 :])
        plain = (*argv[:index], *argv[end + 1 :])
        lists = program_name(argv[index + 1]) in {"ls", "stat", "du"}
        yield from (listed, plain) if lists else (plain, listed)
        return
    if re.fullmatch(r"-[A-Za-z0-9]{2,6}", word) and option[1:] in set(word[1:]):
        yield _replaced(argv, index, word.replace(option[1], "", 1))
        return
    yield (*argv[:index], *argv[index + 1 :])
    if index + 1 < len(argv):
        yield (*argv[:index], *argv[index + 2 :])


def says_what(command: Command, argv: Argv) -> bool:
    """Whether an argv has an option without which it would be about something else."""
    tables = [command.refused]
    if isinstance(command, Subcommands):
        tables += [command.subcommand[word].refused for word in argv if word in command.subcommand]
    names = {name for table in tables for effect in _SAYS_WHAT for name in table.get(effect, ())}
    return any(
        word.partition("=")[0] in names or (word[:2] in names and word[:2] != "--")
        for word in argv[1:]
    )


def _long_options(command: Command) -> Iterator[str]:
    if isinstance(command, Getopt):
        for names in (command.flags, command.options, command.attached):
            yield from (name for name in names if name.startswith("--"))


def _absolute(path: str, folder: str) -> Iterator[str]:
    if path.startswith("/"):
        yield _plain(path)
    elif folder != "/" or set(path) & set("/*?"):
        # In the folder /, a bare name hardly means a file of that folder.
        yield _plain(f"{folder}/{path}")


def _plain(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in {"", "."}:
            parts.append(part)
    return "/" + "/".join(parts)


def _replaced(argv: Argv, index: int, *words: str) -> Argv:
    return (*argv[:index], *words, *argv[index + 1 :])


# ------------------------------------------------------------------ typos


def meant_by(name: str, known: Iterable[str]) -> list[str]:
    """The known names that a name may be a typo of, in their order."""
    lower = name.lower()
    return [other for other in known if other != name and _is_slip(lower, other)]


def _is_slip(name: str, other: str) -> bool:
    """Whether one letter differs, is missing or is added, or two neighbours are swapped."""
    if name == other:
        return True
    short, long = sorted((name, other), key=len)
    same = 0
    while same < len(short) and short[same] == long[same]:
        same += 1
    if len(short) == len(long):
        swapped = short[same + 1 : same + 2] + short[same : same + 1]
        if short[same + 2 :] == long[same + 2 :] and swapped == long[same : same + 2]:
            return True
        return len(name) >= _LEAST_LETTERS and short[same + 1 :] == long[same + 1 :]
    return len(name) >= _LEAST_LETTERS and short[same:] == long[same + 1 :]
