"""Repairs UTF-8 that was encoded twice.

A guest's bytes may come through a program that takes each for a Latin-1 character and encodes it
again (Proxmox does), so that `å` arrives as `Ã¥`. Nothing in the reply says whether it happened.

The risk: a text that really consists of such pairs would be changed. It would have to spell valid
UTF-8 throughout, in Latin-1 characters only, which no language does; and the result says that it
was repaired.
"""

from __future__ import annotations

import re
from typing import Final

# `head -c` and `tail -c` cut inside a character; three bytes of it are then left, at most.
_CUT_MAX: Final = 3
_LATER_BYTES: Final = re.compile(r"[\x80-\xbf]{1,3}")


def repair(text: str) -> str | None:
    """The text as it was before the second encoding, or None if it does not look like one.

    Up to three characters at either end may be pieces of a character that was cut. They stay as
    they are, and then something else must have been repaired.
    """
    if text.isascii():
        return None
    try:
        raw = text.encode("latin-1")
    except UnicodeEncodeError:
        return None
    cut = _LATER_BYTES.match(text)
    start = cut.end() if cut else 0
    end = len(raw)
    try:
        repaired = raw[start:].decode()
    except UnicodeDecodeError as error:
        end = start + error.start
        if error.reason != "unexpected end of data" or len(raw) - end > _CUT_MAX:
            return None
        repaired = raw[start:end].decode()
    return None if repaired.isascii() else text[:start] + repaired + text[end:]
