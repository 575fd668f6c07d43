"""Finds where a private key in a text ends, also when its end was cut off."""

from __future__ import annotations

from typing import Final

import re2

_KINDS: Final = r"(?:[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?|OpenVPN Static key V1)"
BEGIN: Final = rf"-{{4,5}} ?BEGIN {_KINDS} ?-{{4,5}}"
END: Final = rf"-{{4,5}} ?END {_KINDS} ?-{{4,5}}"

# Much more than the longest known key block, an OpenPGP key with many parts.
_BLOCK_MAX: Final = 65_536

_EDGE: Final = re2.compile(rf"({END})|{BEGIN}")
# A line end, or one written in a JSON string.
_NEXT_LINE: Final = r"[ \t]*(?:\r?\n|(?:\\r)?\\n)"
# A line number or a file name may precede the key's line.
KEY_LINE: Final = r"(?:[^\n]{0,100}?[ \t:>|+-])?[A-Za-z0-9+/]{16,}={0,2}"
_OTHER_LINE: Final = (
    r"[ \t]*(?:(?:Proc-Type|DEK-Info|Version|Comment|Subject|Hash|Charset)[^\n\\]*"
    r"|=[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{1,15}={1,2})?"
)
_CUT_OFF: Final = re2.compile(
    rf"((?:{_NEXT_LINE}(?:({KEY_LINE})|{_OTHER_LINE}))*(?:{_NEXT_LINE}[A-Za-z0-9+/=]{{1,16}}\z)?)"
    rf"(?:{_NEXT_LINE}|[\"',;\\]|\z)"
)


def block_end(data: bytes, start: int) -> int:
    """The end of the key whose BEGIN line ends at `start`; `start` itself if there is no key."""
    edge = _EDGE.search(data, start, min(len(data), start + _BLOCK_MAX))
    if edge is not None and edge.lastindex:
        return edge.start() if data[start : edge.start()].strip() else start
    # The END line was cut off, or another key begins first.
    end = len(data) if edge is None else edge.start()
    rest = _CUT_OFF.match(data, start, end)
    if rest is None or rest.start(2) < 0:
        return start
    return start + len(data[start : rest.end(1)].rstrip())
