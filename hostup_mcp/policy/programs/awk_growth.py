"""What an awk program may print for each record, counted while it is read."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

_WIDTHS = re.compile(r"%[-+ 0]{0,3}(\d{1,3})|[.](\d{1,3})")
_EXPONENT = re.compile(r"\d[eE][-+]?\d")
# Of a number as awks print it: one that counts, and one that is summed up and may double each time.
_DIGITS: Final = 24
_SUM_DIGITS: Final = 310


@dataclass(frozen=True, slots=True)
class ProgramGrowth:
    """What a program may print for each record.

    Attributes:
        records: how often all of the record.
        characters: beside that.
        lines: how many.
    """

    records: int
    characters: int
    lines: int


class Printed:
    """The count; what stands outside of print and printf, or in BEGIN and END, is left out."""

    def __init__(self) -> None:
        self.printing = False
        self.once = False
        self.separator = 1
        self.summed: set[str] = set()
        self._fields: Counter[str] = Counter()
        self._names: Counter[str] = Counter()
        self._characters = 0
        self._lines = 0
        self._commas = 0

    def growth(self) -> ProgramGrowth:
        """All of it, once the program is read."""
        # Different fields are different parts of the record; one counted from the end is any.
        whole = self._fields["0"] + self._fields["NF"]
        parts = max((n for name, n in self._fields.items() if name not in {"0", "NF"}), default=0)
        names = sum(
            n * (_SUM_DIGITS if name in self.summed else _DIGITS) for name, n in self._names.items()
        )
        characters = self._characters + names + self._commas * self.separator + self._lines
        return ProgramGrowth(max(1, whole + parts), characters, self._lines)

    def record(self) -> None:
        """The whole record is printed, as a line."""
        if not self.once:
            self._fields["0"] += 1
            self._lines += 1

    def line(self) -> None:
        """A line is printed."""
        self._lines += not self.once

    def comma(self) -> None:
        """Two items are printed with the separator between."""
        self._commas += not self.once

    def field(self, name: str) -> None:
        """A field stands there, by its number; NF for one counted from the end."""
        self._fields[name] += self.printing and not self.once

    def name(self, name: str) -> None:
        """A variable or a function stands there."""
        self._names[name] += self.printing and not self.once

    def text(self, text: str) -> None:
        """A number or a string stands there, maybe as a format."""
        if not self.printing or self.once:
            return
        widths = sum(int(one or other) for one, other in _WIDTHS.findall(text))
        # Read as a number, "1e308" has 309 digits.
        self._characters += len(text) + widths + _SUM_DIGITS * len(_EXPONENT.findall(text))
        self._lines += text.count("\\n")
