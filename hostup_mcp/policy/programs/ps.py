"""`ps`, by whole shapes.

procps reads its words in two styles, and reads the whole line again as BSD letters as soon as they
conflict; `e` is then the environment of every process. Free combinations are therefore unsafe:
only shapes that never conflict are accepted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hostup_mcp.policy.mismatch import Mismatch, of_option, shown
from hostup_mcp.policy.models import Ps
from hostup_mcp.policy.shell.tree import Word
from hostup_mcp.policy.values.types import ValueTypes


def check_ps(spec: Ps, words: Sequence[Word], types: ValueTypes) -> Mismatch | None:
    """Whether the words after `ps` are of an accepted shape. The index of a mismatch is from 0."""
    return _Shape(spec, words, types).check()


class _Shape:
    def __init__(self, spec: Ps, words: Sequence[Word], types: ValueTypes) -> None:
        self._spec = spec
        self._words = words
        self._types = types
        self._bases: list[str] = []
        self._outputs: list[str] = []
        self._selections: list[str] = []
        self._bsd = re.compile(spec.bsd)

    def check(self) -> Mismatch | None:
        index = 0
        while index < len(self._words):
            text = self._words[index].text
            kind = self._place(text, index)
            if isinstance(kind, Mismatch):
                return kind
            index += 1
            if kind:
                fault = self._value(text, kind, index)
                if fault:
                    return fault
                index += 0 if "=" in text else 1
        return self._conflict()

    def _place(self, text: str, index: int) -> str | Mismatch:
        """Where a word belongs: the type of the value it needs, or nothing."""
        spec = self._spec
        name = text.partition("=")[0] if text.startswith("--") else text
        letters = index == 0 and self._bsd.fullmatch(text) and not self._words[0].is_glob
        kind: str | Mismatch = ""
        if text in spec.clusters or text in spec.aux or letters:
            self._bases.append(text)
        elif text in spec.out:
            self._outputs.append(text)
            kind = "ps_columns"
        elif name in spec.select:
            self._selections.append(name)
            kind = spec.select[name]
        elif name in spec.modifiers:
            kind = spec.modifiers[name]
        elif text not in spec.plain:
            kind = Mismatch(
                "option_refused",
                f"{shown(text)} is not accepted alone or in this place.",
                index,
                "Accepted are shapes such as ps aux, ps -ef, ps aux --sort=-%mem and "
                "ps -eo pid,ppid,user,args.",
                text,
            )
        return kind

    def _value(self, text: str, kind: str, index: int) -> Mismatch | None:
        name, equals, value = text.partition("=")
        if equals and text.startswith("--"):
            fault = self._types.check(kind, value, attached=True)
            return of_option(name, fault, index - 1) if fault else None
        if index >= len(self._words):
            return Mismatch("value_missing", f"{text} needs a value.", index - 1, option=text)
        word = self._words[index]
        fault = self._types.check(kind, word.text, is_glob=word.is_glob)
        return of_option(text, fault, index) if fault else None

    def _conflict(self) -> Mismatch | None:
        """At most one of each, and none that would make procps read the line again."""
        dashed = [text for text in self._bases if text.startswith("-")]
        letters = [text for text in self._bases if text not in dashed or text in self._spec.aux]
        everything = [text for text in self._outputs if text != "-o"]
        chooses = [text for text in dashed if text[1] in "eA"]
        crowded = (
            len(self._bases) > 1
            or len(self._outputs) > 1
            or len(self._selections) > 1
            or (letters and (self._outputs or self._selections))
            or (everything and (self._bases or self._selections))
            or (chooses and self._selections)
            or (self._outputs and dashed and dashed[0] not in {"-e", "-A"})
        )
        if not crowded:
            return None
        return Mismatch(
            "usage_refused",
            "ps can read these options in two ways, and one of them shows the environment of "
            "processes.",
            -1,
            "Use one of: ps aux, ps -ef, ps -eo COLUMNS, ps -o COLUMNS -p PID, ps -C NAME, each "
            "with --sort=KEY if wanted.",
        )
