"""`find`: the paths to look at, then tests, joined by operators and parentheses."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hostup_mcp.policy.mismatch import Mismatch, of_option, shown
from hostup_mcp.policy.models import Find
from hostup_mcp.policy.shell.tree import Word
from hostup_mcp.policy.values.types import ValueTypes

_JOINS = frozenset({"-a", "-and", "-o", "-or"})
_SAME_DISK = frozenset({"-xdev", "-mount"})
_NEGATIONS = frozenset({"!", "-not"})


def check_find(spec: Find, words: Sequence[Word], types: ValueTypes) -> Mismatch | None:
    """Whether the words after `find` are paths and an expression of the listed tests.

    Returns:
        None, or the first mismatch; its index counts from 0.
    """
    index = 0
    while index < len(words) and not _starts_expression(words[index].text):
        index += 1
    expression = [word.text for word in words[index:]]
    for at, word in enumerate(words[:index] or [Word("/")]):
        if _SAME_DISK & {*expression}:
            fault = types.check("meta", word.text, is_glob=word.is_glob)
        else:
            depth = _depth(expression)
            fault = types.paths.check_walk(word.text, is_glob=word.is_glob, depth=depth)
        if fault:
            return fault.at(at if index else -1)
    return _Expression(spec, words, index, types).check()


def _depth(expression: Sequence[str]) -> int | None:
    """How deep it looks; None for all the way. No value of a test begins with a dash."""
    values = [after for text, after in pairwise(expression) if text == "-maxdepth"]
    if not values or not all(value.isdecimal() for value in values):
        return None
    return max(map(int, values))


def _starts_expression(text: str) -> bool:
    return text.startswith("-") or text in {"!", "(", ")", ","}


class _Expression:
    """The words after the paths, read once from left to right."""

    def __init__(self, spec: Find, words: Sequence[Word], start: int, types: ValueTypes) -> None:
        self._spec = spec
        self._words = words
        self._types = types
        self._start = self._at = start
        self._depth = 0
        self._wants_test = True

    def check(self) -> Mismatch | None:
        while self._at < len(self._words):
            text = self._words[self._at].text
            fault = self._with_value(text) if text in self._spec.values else self._plain(text)
            if fault:
                return fault
            self._at += 1
        if self._depth or (self._wants_test and self._at > self._start):
            return self._incomplete(self._words[-1].text, len(self._words) - 1)
        return None

    def _with_value(self, text: str) -> Mismatch | None:
        self._at += 1
        if self._at >= len(self._words):
            return Mismatch("value_missing", f"{text} needs a value.", self._at - 1, option=text)
        value = self._words[self._at]
        self._wants_test = False
        fault = self._types.check(self._spec.values[text], value.text, is_glob=value.is_glob)
        return of_option(text, fault, self._at) if fault else None

    def _plain(self, text: str) -> Mismatch | None:
        if text not in self._spec.tests:
            return self._refuse(text)
        closes_or_joins = text == ")" or text in _JOINS
        if closes_or_joins and (self._wants_test or (text == ")" and self._depth == 0)):
            return self._incomplete(text, self._at)
        self._depth += (text == "(") - (text == ")")
        self._wants_test = text == "(" or text in _JOINS or text in _NEGATIONS
        return None

    def _refuse(self, text: str) -> Mismatch:
        if text.startswith("-"):
            return Mismatch(
                "option_refused",
                f"The test or action {shown(text)} is not among those allowed here.",
                self._at,
                option=text,
            )
        return Mismatch(
            "operand_refused", f"{shown(text)} is not a test, and a test is expected.", self._at
        )

    def _incomplete(self, text: str, index: int) -> Mismatch:
        return Mismatch("usage_refused", f"The expression is not complete at {text}.", index)
