"""Names that were meant by a name with one slip of the finger in it."""

from __future__ import annotations

from collections.abc import Iterable

_LEAST = 3


def meant_by(name: str, known: Iterable[str]) -> list[str]:
    """The known names that a name is a misspelling of, in their order."""
    lower = name.lower()
    return [other for other in known if other != name and _is_slip(lower, other)]


def _is_slip(name: str, other: str) -> bool:
    """Whether one letter is other, missing or added, or two neighbours are swapped."""
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
        return len(name) >= _LEAST and short[same + 1 :] == long[same + 1 :]
    return len(name) >= _LEAST and short[same:] == long[same + 1 :]
