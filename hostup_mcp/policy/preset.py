"""A preset: the programs that may be run and what each may be given, read from the data files."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final, Literal, cast

from hostup_mcp.policy.mismatch import Mismatch, shown
from hostup_mcp.policy.models import (
    Awk,
    Command,
    Find,
    Getopt,
    Ip,
    OptionSet,
    PlacesData,
    PlainWords,
    PresetData,
    Ps,
    Refused,
    RefusedNames,
    Shapes,
    Subcommand,
    Subcommands,
)
from hostup_mcp.policy.programs.awk import check_awk
from hostup_mcp.policy.programs.find import check_find
from hostup_mcp.policy.programs.getopt import check_options
from hostup_mcp.policy.programs.growth import check_growth, check_patterns
from hostup_mcp.policy.programs.ip import check_ip
from hostup_mcp.policy.programs.lookups import check_lookups
from hostup_mcp.policy.programs.ps import check_ps
from hostup_mcp.policy.programs.script_words import check_script_words
from hostup_mcp.policy.programs.sed import check_sed
from hostup_mcp.policy.programs.shapes import Shape, check_shapes
from hostup_mcp.policy.shell.emit import SEARCHED
from hostup_mcp.policy.shell.tree import Stage, Word
from hostup_mcp.policy.values.path_blocks import PathBlock, Places
from hostup_mcp.policy.values.path_patterns import PathPattern, patterns_of
from hostup_mcp.policy.values.paths import PathRules
from hostup_mcp.policy.values.types import ValueTypes

PresetName = Literal["none", "diagnostics-strict", "diagnostics", "unrestricted"]
Network = Literal["none", "lookups"]

_NETWORK: Final[dict[PresetName, Network]] = {
    "none": "none",
    "diagnostics-strict": "none",
    "diagnostics": "lookups",
    "unrestricted": "lookups",
}

_FILES: Final = ("types.toml", "paths.toml", "refused.toml", "commands.toml")
_FOLDER: Final = Path(__file__).with_name("presets")
_STANDARD_FOLDERS: Final = frozenset({*SEARCHED, "/usr/local/bin", "/usr/local/sbin"})


def program_name(word: str) -> str:
    """The name of a program; one in a standard folder is known by its last part alone."""
    folder, _, name = word.rpartition("/")
    return name if folder in _STANDARD_FOLDERS else word


@cache
def preset_data() -> PresetData:
    """The data of the diagnostics presets, from the files beside this module."""
    document: dict[str, object] = {}
    for text in _texts():
        document |= cast("dict[str, object]", tomllib.loads(text))
    commands = cast("dict[str, dict[str, object]]", document["command"])
    for name, entry in commands.items():
        if like := cast("str | None", entry.pop("like", None)):
            commands[name] = {**commands[like], **entry}
        else:
            entry.setdefault("parser", "getopt")
    return PresetData.model_validate(document)


@cache
def data_digest() -> bytes:
    """SHA-256 of the data files."""
    return hashlib.sha256("\0".join(_texts()).encode()).digest()


@cache
def _texts() -> tuple[str, ...]:
    return tuple((_FOLDER / name).read_text("utf-8") for name in _FILES)


class Preset:
    """What the preset of this name lets through, with more readable files if wanted."""

    def __init__(
        self, name: PresetName, readable: Sequence[str] = (), network: Network | None = None
    ) -> None:
        """The preset.

        Args:
            name: `none` and `unrestricted` have no programs of their own; their value types are
                the same.
            readable: path patterns of files that may be read beside the preset's own. What is
                protected stays so; a name that is protected in ordinary folders, such as `*.key`,
                only a path without wildcards lifts.
            network: whether its programs may look names up; None for what the preset has by itself.
        """
        self.name: PresetName = name
        self.network: Network = network or _NETWORK[name]
        self.data = preset_data()
        blocks = [
            PathBlock(
                allows=bool(block.allow),
                patterns=patterns_of(block.allow or block.deny),
                protected=block.protected,
                named=block.named,
                why=block.why,
            )
            for block in self.data.path
        ]
        # A file that is named in full is meant, whatever it is called; a pattern may just meet it.
        exact = tuple(PathPattern(text) for text in readable if "*" not in text and "?" not in text)
        wide = tuple(PathPattern(text) for text in readable if "*" in text or "?" in text)
        above = 1 + max(at for at, block in enumerate(blocks) if block.protected)
        blocks.insert(above, PathBlock(allows=True, patterns=exact))
        blocks.append(PathBlock(allows=True, patterns=wide))
        self.readable = (*(text for b in self.data.path for text in b.allow), *readable)
        spares_root = name != "diagnostics-strict"
        places = Places(**_patterns(self.data.places), spares_root=spares_root)
        self.types = ValueTypes(
            self.data.types, PathRules(blocks, places, on_demand=self.data.on_demand.folders)
        )
        match name:
            case "diagnostics":
                self.commands = self.data.command
            case "diagnostics-strict":
                self.commands = {
                    n: _without_acting(c) for n, c in self.data.command.items() if c.read_only
                }
            case _:
                self.commands: dict[str, Command] = {}

    def check(self, words: Sequence[Word]) -> Mismatch | None:
        """Whether an argv is one that the preset lets through."""
        name = program_name(words[0].text)
        command = self.commands.get(name)
        if command is None:
            return self._unknown(name)
        fault, refused = self._check_arguments(command, words[1:])
        if fault is None and command.script:
            fault = check_script_words(command.script, words[1:])
        if fault is None:
            if self.network == "none":
                return check_lookups(name, command, words[1:], self.types)
            return None
        return self._explain(
            replace(fault, index=fault.index + 1), words, (refused, command.refused)
        )

    def check_line(self, stages: Sequence[Stage]) -> tuple[Stage, Mismatch] | None:
        """What keeps stages that are accepted one by one from running together, and which."""
        if not self.commands:
            return None
        if too_wide := check_patterns(stages):
            return too_wide
        fault = check_growth(stages, self.commands, self.types)
        return fault and (fault[0], replace(fault[1], index=-1))

    def refused_names(self, name: str) -> tuple[str, RefusedNames] | None:
        """Why a program of this name is in no preset, with the reason's code."""
        for code, names in self.data.refuse.items():
            if name in names.names:
                return code, names
        return None

    def _check_arguments(
        self, command: Command, words: Sequence[Word]
    ) -> tuple[Mismatch | None, Refused]:
        types = self.types
        refused: Refused = {}
        match command:
            case Getopt():
                fault = check_options(command, words, types)
            case Subcommands():
                fault, refused = _check_subcommands(command, words, types)
            case Shapes():
                fault = check_shapes([Shape(parts) for parts in command.shapes], words, types)
            case PlainWords():
                fault = _check_plain(command, words)
            case Find():
                fault = check_find(command, words, types)
            case Ip():
                fault = check_ip(command, words, types)
            case Ps():
                fault = check_ps(command, words, types)
            case Awk():
                fault = check_awk(command, words, types)
            case _:
                fault = check_sed(command, words, types)
        return fault, refused

    def _unknown(self, name: str) -> Mismatch:
        found = self.refused_names(name.rpartition("/")[2])
        if not self.commands:
            return Mismatch(
                "program_unknown",
                f"{shown(name)} is not among the allowed programs: the preset is {self.name}, so "
                "only the operator's rules allow any.",
            )
        if name in self.data.command:
            effects = self.data.command[name].effects
            return Mismatch(
                "not_read_only",
                f"{name} is left out of the preset {self.name}: it {effects}.",
                hint="The preset diagnostics has it.",
            )
        if found:
            code, names = found
            return Mismatch(code, f"{name} {names.why}.", hint=names.hint)
        return Mismatch("program_unknown", f"{shown(name)} is not among the allowed programs.")

    def _explain(
        self, fault: Mismatch, words: Sequence[Word], refused: Sequence[Refused]
    ) -> Mismatch:
        """Say what a refused word would do, where that is known."""
        named = fault.option or (words[fault.index].text if fault.index > 0 else "")
        for table in refused:
            for effect, options in table.items():
                if named and named in options:
                    return replace(
                        fault,
                        code="option_refused",
                        message=f"{shown(named)} is refused: {self.data.effects[effect]}.",
                        option=named,
                    )
        return fault


def _patterns(places: PlacesData) -> dict[str, tuple[PathPattern, ...]]:
    listed: dict[str, tuple[str, ...]] = places.model_dump()
    return {kind: patterns_of(texts) for kind, texts in listed.items()}


def _without_acting(command: Command) -> Command:
    """An entry without the flags and values that do more than read."""
    if not isinstance(command, Getopt) or not (command.acting or command.reading):
        return command
    flags = tuple(flag for flag in command.flags if flag not in command.acting)
    refused: Refused = {**command.refused, "acts": command.acting}
    options = {**command.options, **command.reading}
    # Made anew: a copy would keep what was worked out from the old flags.
    return Getopt.model_validate(
        {**command.model_dump(), "flags": flags, "options": options, "refused": refused}
    )


def _check_plain(command: PlainWords, words: Sequence[Word]) -> Mismatch | None:
    for index, word in enumerate(words):
        if word.is_glob:
            return Mismatch(
                "glob_refused",
                f"The pattern {shown(word.text)} is accepted only where a path is expected.",
                index,
                "Quote it, or list the files with ls.",
            )
    if len(words) > command.max:
        return Mismatch(
            "usage_refused", f"At most {command.max} operands may be given.", command.max
        )
    return None


def _check_subcommands(
    command: Subcommands, words: Sequence[Word], types: ValueTypes
) -> tuple[Mismatch | None, Refused]:
    shared = OptionSet(flags=command.flags, options=command.options)
    start = _first_operand(shared, words)
    if start is None:
        if command.default:
            return check_options(shared, words, types), {}
        if fault := check_options(shared, words, types):
            return fault, {}
        return Mismatch("usage_refused", "A subcommand is missing.", -1), {}
    if fault := check_options(shared, words[:start], types):
        return fault, {}
    first = words[start].text
    pair = f"{first} {words[start + 1].text}" if start + 1 < len(words) else first
    name = pair if pair in command.subcommand else first
    found = command.subcommand.get(name)
    if found is None:
        names = ", ".join(command.subcommand)
        message = f"The subcommand {shown(first)} is not among those allowed: {names}."
        return Mismatch("subcommand_refused", message, start), {}
    length = len(name.split())
    spec = _with_shared(found, command)
    fault = check_options(spec, words[start + length :], types)
    if fault and fault.index >= 0:
        fault = fault.at(fault.index + start + length)
    return fault, found.refused


def _with_shared(found: Subcommand, command: Subcommands) -> OptionSet:
    # A value option of the subcommand beats a flag of the same name that all share.
    flags = (*found.flags, *(flag for flag in command.flags if flag not in found.options))
    options = {**command.options, **found.options}
    # Made anew: a copy would keep what was worked out from the old flags.
    return Subcommand.model_validate({**dict(found), "flags": flags, "options": options})


def _first_operand(shared: OptionSet, words: Sequence[Word]) -> int | None:
    index = 0
    while index < len(words):
        text = words[index].text
        if not text.startswith("-") or text == "-":
            return index
        index += 2 if text in shared.options else 1
    return None
