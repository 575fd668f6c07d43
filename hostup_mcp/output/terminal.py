"""Does what a terminal would do with a text: escape sequences, overstrikes, carriage returns.

Each is done once, and the result is plain text. No sequence extends over a line end, so none can
hide a line. Of a sequence without an end only the start is removed, and the rest is shown.
"""

from __future__ import annotations

import re
from typing import Final

# A title, a link, a clipboard or a picture. Of a longer one only the start is removed. It cannot
# contain the start of another, so that no character is examined for more than one start.
_STRING: Final = r"[^\x00-\x08\x0a-\x1f\x7f\x9c]{0,8192}"
_STRING_C1: Final = r"[^\x00-\x08\x0a-\x1f\x7f\x90\x98\x9c-\x9f]{0,8192}"
_CSI: Final = r"[0-?]{0,256}[ -/]{0,16}[@-~]?"
_ESCAPE: Final = re.compile(
    r"\x1b(?:"
    rf"\[{_CSI}"
    rf"|\]P[0-9A-Fa-f]{{7}}(?!{_STRING}(?:\x07|\x1b\\|\x9c))"  # the Linux console's palette
    rf"|[\]PX^_k]{_STRING}(?:\x07|\x1b\\|\x9c)"
    r"|[ -/]{1,4}[0-~]?"  # character sets
    r"|[0-~]"
    r")"
)
# The same sequences with a start of one character. After U+0080 to U+00F4 that character is a piece
# of double-encoded UTF-8 instead, and text follows: `clean` makes it visible.
_ESCAPE_C1: Final = re.compile(
    rf"\x9b(?<![\x80-\xf4]\x9b){_CSI}"
    rf"|[\x90\x98\x9d-\x9f](?<![\x80-\xf4][\x80-\x9f]){_STRING_C1}(?:\x07|\x1b\\|\x9c)"
)

_LINE_START: Final = re.compile(r"\x1b\[[01]?G")
_ERASE_TO_END: Final = re.compile(r"\x1b\[0?K")
_ERASE_LINE: Final = re.compile(r"\x1b\[2K")
# Marks for the two erasures until the lines are folded: surrogates, which the text no longer has.
_END_MARK: Final = "\udc00"
_LINE_MARK: Final = "\udc02"

_UNDERLINED: Final = re.compile(r"_\x08(?=[^\n\x08])")
_BOLD: Final = re.compile(r"([^\n\x08])(?:\x08\1)+")


def without_escapes(text: str) -> tuple[str, int]:
    """The text without escape sequences, and how many there were.

    Erasures that a progress bar needs become marks, which `folded` removes.

    Args:
        text: a text without surrogates.
    """
    count = 0
    if "\x1b" in text:
        text, starts = _LINE_START.subn("\r", text)
        count += starts
        if "\r" in text:
            text, to_end = _ERASE_TO_END.subn(_END_MARK, text)
            text, lines = _ERASE_LINE.subn(_LINE_MARK, text)
            count += to_end + lines
        text, others = _ESCAPE.subn("", text)
        count += others
    text, others = _ESCAPE_C1.subn("", text)
    return text, count + others


def without_overstrikes(text: str) -> tuple[str, int]:
    """The text with a manual page's bold and underlined letters as plain letters; their number."""
    if "\x08" not in text:
        return text, 0
    text, underlined = _UNDERLINED.subn("", text)
    text, bold = _BOLD.subn(r"\1", text)
    bullets = text.count("+\x08o")
    return text.replace("+\x08o", "o"), underlined + bold + bullets


def folded(text: str) -> tuple[str, int]:
    """The text with the last state of each line, and the number of lines that were overwritten.

    After a carriage return, text overwrites the line from its start. Before a line feed, a carriage
    return is part of the line end and is not counted.
    """
    if "\r" not in text:
        return text, 0
    text = text.replace("\r\n", "\n")
    pieces: list[str] = []
    done = count = 0
    while (at := text.find("\r", done)) >= 0:
        start = text.rfind("\n", done, at) + 1 or done
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        line = text[start:end].rstrip("\r")
        count += "\r" in line or end == len(text)
        pieces += text[done:start], _last_state(line)
        done = end
    pieces.append(text[done:])
    return "".join(pieces).replace(_END_MARK, "").replace(_LINE_MARK, ""), count


def _last_state(line: str) -> str:
    """What a line shows after all its carriage returns."""
    # From the last writing to the first: each adds only what extends further to the right.
    last = line[line.rfind("\r") + 1 :]
    if 2 * len(last) + 1 >= len(line) and last.isascii():
        return last  # the usual case: longer than all before it
    shown: list[str] = []
    width = 0
    for part in reversed(line.split("\r")):
        written, erases = _written(part)
        if len(written) > width:
            shown.append(written[width:])
            width = len(written)
        if erases:
            break
    return "".join(shown)


def _written(part: str) -> tuple[str, bool]:
    """The text that one writing leaves, and whether it erased everything before it."""
    if _LINE_MARK in part:
        before, _, after = part.rpartition(_LINE_MARK)
        after = after.replace(_END_MARK, "")
        blank = len(before) - before.count(_LINE_MARK) - before.count(_END_MARK)
        return (" " * blank + after if after else ""), True
    if _END_MARK in part:
        return part.replace(_END_MARK, ""), True
    return part, False
