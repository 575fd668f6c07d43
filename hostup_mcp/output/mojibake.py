"""Repairs UTF-8 that was encoded twice.

A program between the guest and us may read each byte as a Latin-1 character and encode it again
(Proxmox does), so that `å` arrives as `Ã¥`. Nothing in the reply says whether that happened.

The risk is that a text is repaired that was meant that way. Such a text would consist only of
Latin-1 characters that are valid UTF-8 throughout, which no language does. A note says that it was
repaired.
"""

from __future__ import annotations

import re
from typing import Final

# `head -c` and `tail -c` may cut inside a character, which leaves at most three bytes of it.
_CUT_MAX: Final = 3
_LATER_BYTES: Final = re.compile(r"[\x80-\xbf]{1,3}")


def repair(text: str) -> str | None:
    """The text before its second encoding; None if it does not look encoded twice.

    Up to three characters at either end may be the rest of a character that was cut. They stay
    unchanged; the text counts as repaired only if something else was.
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
