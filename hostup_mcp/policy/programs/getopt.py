"""Judges an argv of options and operands, as getopt reads them.

Nothing is guessed: a long option must be written in full, a cluster of short ones is walked letter
by letter, and whatever starts with `-` is an option wherever it stands, until `--`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hostup_mcp.policy.mismatch import Mismatch, of_option, shown
from hostup_mcp.policy.models import OptionSet
from hostup_mcp.policy.shell.tree import Word
from hostup_mcp.policy.values.types import NAME_TYPES, PATH_TYPES, ValueTypes

NUMBER: Final = "-NUMBER"
"""The name of an option such as `-20`."""

_NUMBER = re.compile(r"-\d{1,6}")
_QUANTITY = re.compile(r"[+-]?\d+[a-zA-Z]{0,3}")
_FEW = 2


def check_options(spec: OptionSet, words: Sequence[Word], types: ValueTypes) -> Mismatch | None:
    """Whether the words after a program (or a subcommand) are what its entry accepts.

    Returns:
        None, or the first mismatch; its index counts from 0 at the first of `words`.
    """
    return _Walker(spec, words, types).walk()


@dataclass(frozen=True, slots=True)
class Reading:
    """What stands in an accepted argv.

    Attributes:
        options: the names of its options, in order.
        leading: how many of them stand before the first operand.
        values: the options with a value, each with it.
        first: the operand that is of a type of its own, if there is one.
        others: the other operands.
    """

    options: tuple[str, ...]
    leading: int = 0
    values: tuple[tuple[str, str], ...] = ()
    first: tuple[Word, ...] = ()
    others: tuple[Word, ...] = ()

    @property
    def operands(self) -> tuple[str, ...]:
        """The text of every operand."""
        return tuple(word.text for word in (*self.first, *self.others))


def read_options(spec: OptionSet, words: Sequence[Word], types: ValueTypes) -> Reading | None:
    """What stands in an argv; None if it is not accepted."""
    walker = _Walker(spec, words, types)
    return walker.reading() if walker.walk() is None else None


class _Walker:
    def __init__(self, spec: OptionSet, words: Sequence[Word], types: ValueTypes) -> None:
        self._spec = spec
        self._words = words
        self._types = types
        self._next = 0
        self._used: list[str] = []
        self._values: list[tuple[str, str, int]] = []
        self._operands: list[int] = []
        self._depths: list[int] = []
        self._leading: int | None = None
        self._retyped = self._types_in_use()

    def reading(self) -> Reading:
        """What was read; to be asked once it was found good."""
        leading = len(self._used) if self._leading is None else self._leading
        operands = [self._words[index] for index in self._operands]
        values = tuple((name, value) for name, value, _ in self._values)
        split = int(self._needs_first())
        return Reading(
            tuple(self._used), leading, values, (*operands[:split],), (*operands[split:],)
        )

    def _types_in_use(self) -> dict[str, str]:
        """Which types stand for others, by the flags given; a value that looks like one counts."""
        found: dict[str, str] = {}
        for name, types in self._spec.retyped.items():
            if any(_may_hold(word.text, name) for word in self._words):
                found |= types
        return found

    def _check(self, kind: str, word: Word, value: str, *, attached: bool) -> Mismatch | None:
        kind = self._retyped.get(kind, kind)
        return self._types.check(kind, value, is_glob=word.is_glob, attached=attached)

    def walk(self) -> Mismatch | None:
        options_end = False
        while self._next < len(self._words):
            text = self._words[self._next].text
            if options_end or text == "-" or not text.startswith("-"):
                self._leading = len(self._used) if self._leading is None else self._leading
                self._operands.append(self._next)
                self._next += 1
                continue
            if text == "--":
                options_end = True
                self._next += 1
                continue
            fault = self._option(text)
            if fault:
                return fault
        return self._check_use() or self._check_operands(after_dashes=options_end)

    # -------------------------------------------------------------- options

    def _may_end_a_word(self, name: str) -> bool:
        spec = self._spec
        return name in spec.bare or name in spec.options or name in spec.separate

    def _option(self, text: str) -> Mismatch | None:
        index = self._next
        self._next += 1
        if self._may_end_a_word(text):
            return self._whole(text, index)
        if self._spec.numeric and _NUMBER.fullmatch(text):
            self._values.append((NUMBER, text[1:], index))
            return None
        if text.startswith("--"):
            return self._long(text, index)
        return self._cluster(text, index)

    def _whole(self, name: str, index: int) -> Mismatch | None:
        """An option at the end of its word; its value, if it has one, is the next word."""
        self._used.append(name)
        if kind := self._spec.options.get(name) or self._spec.separate.get(name):
            return self._value_in_next_word(name, kind, index)
        kind = self._spec.following.get(name)
        if kind and self._next < len(self._words):
            following = self._words[self._next]
            fits = self._types.check(kind, following.text, is_glob=following.is_glob) is None
            self._next += fits
            if fits:
                self._values.append((name, following.text, self._next - 1))
        return None

    def _value_in_next_word(self, name: str, kind: str, index: int) -> Mismatch | None:
        if self._next >= len(self._words):
            return Mismatch(
                "value_missing",
                f"{name} needs a value ({self._types.describe(kind)}).",
                index,
                option=name,
            )
        value = self._words[self._next]
        if self._operands and kind not in PATH_TYPES and not _QUANTITY.fullmatch(value.text):
            # A program that reads no options after its operands would take this for a file, and
            # commands start in the root folder, where etc and root are names of folders.
            return Mismatch(
                "option_order",
                f"{name} comes after an operand, and its value could be read as a file.",
                index,
                "Write the options before the operands.",
                name,
            )
        fault = self._check(kind, value, value.text, attached=False)
        if fault:
            return of_option(name, fault, self._next)
        self._values.append((name, value.text, self._next))
        if name in self._spec.depth:
            self._depths.append(int(value.text))
        self._next += 1
        return None

    def _long(self, text: str, index: int) -> Mismatch | None:
        name, equals, value = text.partition("=")
        kind = self._value_type(name)
        if not equals or not kind:
            return self._refuse(name, index)
        self._used.append(name)
        self._values.append((name, value, index))
        fault = self._check(kind, self._words[index], value, attached=True)
        return of_option(name, fault, index) if fault else None

    def _value_type(self, name: str) -> str | None:
        spec = self._spec
        return spec.options.get(name) or spec.attached.get(name) or spec.following.get(name)

    def _cluster(self, text: str, index: int) -> Mismatch | None:
        for position in range(1, len(text)):
            name = f"-{text[position]}"
            rest = text[position + 1 :]
            kind = self._value_type(name)
            if kind and rest:
                # The rest of the word is the value, however it looks; util-linux drops a leading =.
                self._used.append(name)
                value = rest.removeprefix("=") if name in self._spec.attached else rest
                self._values.append((name, value, index))
                fault = self._check(kind, self._words[index], value, attached=True)
                return of_option(name, fault, index) if fault else None
            if not self._may_end_a_word(name) or (rest and name in self._spec.separate):
                return self._refuse(name, index, within=text)
            if rest:
                self._used.append(name)
        return self._whole(f"-{text[-1]}", index)

    def _refuse(self, name: str, index: int, within: str = "") -> Mismatch:
        where = f" (in {shown(within)})" if within and within != name else ""
        return Mismatch(
            "option_refused",
            f"The option {shown(name)}{where} is not among those allowed here.",
            index,
            option=name,
        )

    # -------------------------------------------------------------- the whole

    def _check_use(self) -> Mismatch | None:
        spec, used = self._spec, set(self._used)
        modes = [name for name in self._used if name in spec.mode]
        if spec.mode and len(modes) != 1:
            return _usage(f"exactly one of {' '.join(spec.mode)} is needed")
        if spec.one_of and not used & set(spec.one_of):
            return _usage(f"one of {' '.join(spec.one_of)} is needed")
        missing = [name for name in spec.all_of if name not in used]
        if missing:
            return _usage(f"{' and '.join(missing)} must be given")
        return self._check_needs(used)

    def _check_needs(self, used: set[str]) -> Mismatch | None:
        for name, value, index in self._values:
            need = self._spec.needs.get(name)
            if need is None or need.option in used:
                continue
            if self._types.check(need.values, value, attached=True) is None:
                return Mismatch(
                    "option_missing",
                    f"{name} {shown(value)} is accepted only together with {need.option}.",
                    index,
                    f"Add {need.add}, or choose other allowed fields.",
                    name,
                )
        return None

    def _check_operands(self, *, after_dashes: bool) -> Mismatch | None:
        spec = self._spec
        operands = [i for i in self._operands if self._words[i].text not in spec.words]
        first = spec.first if not set(self._used) & set(spec.first_unless) else ""
        # One too many is refused below; what stands behind it need not be looked at.
        most = max((spec.max, *spec.counts))
        for number, index in enumerate(operands[: most + 1]):
            kind = first if number == 0 and first else spec.operands
            if not kind:
                return Mismatch(
                    "operand_refused",
                    f"{shown(self._words[index].text)} is not accepted: it takes no operands here.",
                    index,
                )
            # After -- nothing is an option any more, in every program that knows --.
            fault = self._check_operand(kind, self._words[index], attached=after_dashes)
            if fault:
                return fault.at(index)
        if not operands and spec.operands in NAME_TYPES:
            # It works on the folder that commands start in, which is /.
            fault = self._check_operand(spec.operands, Word("/"), attached=False)
            if fault:
                return fault.at(-1)
        return self._check_counts(operands)

    def _check_operand(self, kind: str, word: Word, *, attached: bool) -> Mismatch | None:
        spec, used = self._spec, set(self._used)
        if used & set(spec.recursive):
            kind = {"read": "tree", "meta": "walk"}.get(kind, kind)
        if kind == "walk" and not used & set(spec.same_disk):
            depth = max(self._depths, default=None)
            return self._types.paths.check_walk(word.text, is_glob=word.is_glob, depth=depth)
        kind = "meta" if kind == "walk" else kind
        return self._check(kind, word, word.text, attached=attached)

    def _check_counts(self, operands: Sequence[int]) -> Mismatch | None:
        spec, count = self._spec, len(operands)
        recursive = bool(set(self._used) & set(spec.recursive)) and spec.operands == "read"
        # Without a folder it would read the one that commands start in, which is /.
        least = max(spec.min, int(self._needs_first()) + int(recursive))
        several = next((i for i in operands if self._words[i].is_glob), None)
        if several is not None and spec.max <= _FEW:
            return Mismatch(
                "glob_refused",
                f"{shown(self._words[several].text)} can become any number of operands, and each "
                "operand has its own meaning here.",
                several,
                "Name the file.",
            )
        if spec.counts and count not in spec.counts:
            wanted = " or ".join(str(number) for number in spec.counts)
            return _usage(f"{wanted} operands are accepted, and {count} were given")
        if not spec.counts and count > spec.max:
            return Mismatch(
                "operand_refused",
                f"{shown(self._words[operands[spec.max]].text)} is one operand too many: at most "
                f"{spec.max} may be given.",
                operands[spec.max],
            )
        if not spec.counts and count < least:
            return _usage(f"at least {least} operand{'s' * (least > 1)} must be given")
        return None

    def _needs_first(self) -> bool:
        return bool(self._spec.first) and not set(self._used) & set(self._spec.first_unless)


def _may_hold(text: str, flag: str) -> bool:
    """Whether a word is this flag, or may be a cluster that has it."""
    if flag.startswith("--"):
        return text == flag
    return text.startswith("-") and not text.startswith("--") and flag[1] in text


def _usage(why: str) -> Mismatch:
    return Mismatch("usage_refused", f"In this form it is not accepted: {why}.", -1)
