"""Whole argument lists: literal words, and slots that take one value of a type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hostup_mcp.policy.mismatch import Mismatch, shown
from hostup_mcp.policy.shell.tree import Word
from hostup_mcp.policy.values.types import ValueTypes

REST = "@rest"
"""The last part of a shape: any further words, or none."""


@dataclass(frozen=True, slots=True)
class Shape:
    """An argv, or what follows a program: `systemctl restart @unit`.

    Attributes:
        parts: literal words; `@type` takes one word of that type; `@rest`, last, takes all others.
    """

    parts: tuple[str, ...]

    @property
    def slots(self) -> tuple[str, ...]:
        """The types of its slots, in order, without `@rest`."""
        return tuple(p[1:] for p in self.parts if p.startswith("@") and p != REST)

    def check(self, words: Sequence[Word], types: ValueTypes) -> Mismatch | None:
        """Whether the words are of this shape; the index of a mismatch counts from 0."""
        open_ended = self.parts[-1:] == (REST,)
        parts = self.parts[:-1] if open_ended else self.parts
        for index, (part, word) in enumerate(zip(parts, words, strict=False)):
            if part.startswith("@"):
                if fault := _no_single_value(word):
                    return fault.at(index)
                fault = types.check(part[1:], word.text)
                if fault:
                    return fault.at(index)
            elif word.text != part or word.is_glob:
                return Mismatch("usage_refused", f"{shown(word.text)} is not {part}.", index)
        if len(words) < len(parts):
            return Mismatch("usage_refused", f"{parts[len(words)]} is missing.", -1)
        if len(words) > len(parts) and not open_ended:
            return Mismatch(
                "usage_refused",
                f"{shown(words[len(parts)].text)} is one argument too many.",
                len(parts),
            )
        return None


def _no_single_value(word: Word) -> Mismatch | None:
    """Whether a word could be an option, none or several words, whatever its slot's type says."""
    if not word.text:
        return Mismatch("value_refused", "An empty word is not accepted here.")
    if word.text.startswith("-"):
        return Mismatch("value_refused", f"{shown(word.text)} starts with -.")
    if word.is_glob:
        return Mismatch(
            "glob_refused",
            f"The pattern {shown(word.text)} can become several words; only one is accepted.",
            hint="Name one file; ls lists the files.",
        )
    return None


def check_shapes(
    shapes: Sequence[Shape], words: Sequence[Word], types: ValueTypes
) -> Mismatch | None:
    """Whether the words are of one of these shapes; else the mismatch that comes latest."""
    best: Mismatch | None = None
    for shape in shapes:
        fault = shape.check(words, types)
        if fault is None:
            return None
        if fault.code not in {"usage_refused", "value_refused"}:
            return fault
        if best is None or fault.index > best.index:
            best = fault
    forms = [" ".join(shape.parts) or "(nothing)" for shape in shapes]
    index = best.index if best else -1
    # The words themselves say best what is wrong; the forms say what is right.
    return Mismatch("usage_refused", f"What may follow is one of: {', '.join(forms)}.", index)
