"""Reads a regular expression between delimiters, inside an awk or sed program.

Programs disagree on where such an expression ends as soon as the delimiter stands in a bracket, or
a bracket is left open. What is accepted here ends at the same place for all of them.
"""

from __future__ import annotations

import re

from hostup_mcp.policy.values.regex_size import is_too_large

_ITEM = r"(?:\[:[a-z]+:\]|\\[^\]\[/\\]|[^\]\[\\])"
_BRACKET = re.compile(rf"\[\^?{_ITEM}{_ITEM}*\]")
_ESCAPES = frozenset(".*+?^$(){}|[]\\<>\"'-&~#%@!,:;=_ ntsSwWbB123456789")


def end_of_expression(text: str, start: int, delimiter: str) -> int | None:
    """Where the expression that begins at `start` meets its closing delimiter.

    None if that is unclear, or if the expression would become too large. It may refer back to its
    groups; `has_back_reference` tells.
    """
    position = start
    while position < len(text):
        character = text[position]
        if character == delimiter:
            return None if is_too_large(text[start:position]) else position
        if character == "[":
            bracket = _BRACKET.match(text, position)
            if not bracket or delimiter in bracket.group():
                return None
            position = bracket.end()
        elif character == "\\":
            if text[position + 1 : position + 2] not in _ESCAPES or position + 1 >= len(text):
                return None
            position += 2
        else:
            position += 1
    return None
