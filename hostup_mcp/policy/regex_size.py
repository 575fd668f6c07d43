"""How large a regular expression becomes once its counted repeats are written out.

grep, sed, awk and find build all of it: `((a{1,1000}){1,1000})` takes gigabytes. Basic, extended
and Perl's expressions are read alike here, so that a brace or a group counts whether or not it has
a backslash; a text may be taken for larger than it is, never for smaller.
"""

from __future__ import annotations

import re
from typing import Final

MOST: Final = 10_000
"""Single characters; the longest expression that is accepted."""

_BRACKET = re.compile(r"\[\^?\]?(?:\[[:.=][^]]*[:.=]\]|[^]\[]|\[)*\]")
_REPEAT = re.compile(r"\\?\{(\d{0,9})(?:,(\d{0,9}))?\\?\}")


def size(expression: str) -> int:
    """The number of single characters it stands for, written out; at most a little over `MOST`."""
    sums = [0]
    last = 0
    position = 0
    while position < len(expression):
        if repeat := _REPEAT.match(expression, position):
            times = max(int(repeat.group(1) or 0), int(repeat.group(2) or 0)) + 1
            sums[-1] = min(sums[-1] + last * (times - 1), MOST + 1)
            last = min(last * times, MOST + 1)
            position = repeat.end()
            continue
        start = position
        if bracket := _BRACKET.match(expression, position):
            position = bracket.end()
        elif expression[position] == "\\":
            position += 2
        else:
            position += 1
        sign = expression[start:position].removeprefix("\\")
        if sign == "(":
            sums.append(0)
            continue
        if sign == ")" and len(sums) > 1:
            last = max(1, sums.pop())
        elif sign not in {"*", "+", "?"}:
            last = 1
        else:
            continue
        sums[-1] = min(sums[-1] + last, MOST + 1)
    return sum(sums)
