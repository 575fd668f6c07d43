"""Says whether a suggestion is of use: one that reads nothing, or only prints words, is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hostup_mcp.policy.models import Awk, Getopt, OptionSet, PresetData, Sed
from hostup_mcp.policy.preset import program_name
from hostup_mcp.policy.shell.tree import Stage

# Programs that read standard input and never a file.
_FILTERS: Final = frozenset({"tr", "rev"})


def reads_input(stage: Stage, data: PresetData) -> bool:
    """Whether an allowed stage reads standard input, because it names no file to read."""
    name = program_name(stage.argv[0])
    command = data.command.get(name)
    words = stage.argv[1:]
    match command:
        case Getopt() if name in _FILTERS:
            return True
        case Getopt() if command.operands == "read":
            operands, used = _operands(command, words)
            first = bool(command.first) and not used & set(command.first_unless)
            return command.min == 0 and (len(operands) <= first or "-" in operands)
        case Awk():
            operands, _ = _operands(OptionSet(options=command.options), words)
            return len(operands) <= 1 or "-" in operands[1:]
        case Sed():
            operands, _ = _operands(OptionSet(flags=command.flags), words)
            return len(operands) <= 1 or "-" in operands[1:]
        case _:
            return False


def _operands(spec: OptionSet, words: Sequence[str]) -> tuple[list[str], set[str]]:
    """The operands and the options of an allowed argv."""
    operands: list[str] = []
    used: set[str] = set()
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "--":
            operands += words[at:]
            break
        if word == "-" or not word.startswith("-"):
            operands.append(word)
        elif word.startswith("--"):
            name, equals, _ = word.partition("=")
            used.add(name)
            at += name in spec.options and not equals
        else:
            at += _cluster(spec, word, used)
    return operands, used


def _cluster(spec: OptionSet, word: str, used: set[str]) -> bool:
    """Note the short options of a word; whether the next word is the value of the last."""
    for position, letter in enumerate(word[1:], start=1):
        name = f"-{letter}"
        used.add(name)
        if name in spec.options:
            return position == len(word) - 1
    return False


def lacks_input(stages: Sequence[Stage], data: PresetData) -> bool:
    """Whether a stage would wait for input that it does not get, or would not read its input."""
    return any(
        reads_input(stage, data) if stage.operator != "|" else not reads_input(stage, data)
        for stage in stages
        if program_name(stage.argv[0]) in data.command
    )


def only_prints(stages: Sequence[Stage], data: PresetData) -> bool:
    """Whether a command has only shell builtins such as echo and sleep."""
    commands = [data.command.get(program_name(stage.argv[0])) for stage in stages]
    return all(command is not None and command.builtin for command in commands)
