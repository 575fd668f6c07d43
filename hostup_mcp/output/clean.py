"""Cleans a text: nothing in it stays hidden, and nothing acts on a screen.

It removes or makes visible, and counts, what a terminal would obey or not show. It replaces
characters that a JSON-RPC message must not have. `redact` removes secrets.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from pydantic import JsonValue

from hostup_mcp.output.terminal import folded, without_escapes, without_overstrikes

_SURROGATE = re.compile(r"[\ud800-\udfff]")

_CONTROLS: Final = r"\x00-\x08\x0b-\x1f\x7f-\x9f"
# Characters that Unicode calls default ignorable but does not put into the category of format
# characters: joiners, variation selectors and fillers. Also the line and paragraph separators.
_IGNORABLE: Final = (
    r"\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2028\u2029\u2065\u3164\ufe00-\ufe0f\uffa0"
    r"\ufff0-\ufff8\U000e0000-\U000e0fff"
)
# The planes with format characters; the others have ideographs and private characters.
_PLANES: Final = (0, 1, 14)
_RUN: Final = re.compile("f+")
# In an ASCII text, nothing else needs cleaning.
_CONTROL: Final = re.compile(rf"[{_CONTROLS}]")
# A hole in a file reads as zeros: a log after a crash has thousands of them in a row.
_HOLE: Final = re.compile(r"\x00{8,}")
_MARK: Final = re.compile(r"<U\+[0-9A-F]{4,6}(?: x[0-9]+)?>")
# If a text has more kinds than this, one slow pass is faster than a fast pass for each kind.
_FEW: Final = 16


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A text that is safe to read, and what was changed in it.

    Attributes:
        text: no control characters but line feed and tab, nothing invisible, no surrogates.
        counts: the number of changes of each kind that occurred: `escapes` removed, `overstrikes`
            and `progress_lines` folded, `controls` and `invisible` characters made visible,
            `surrogates` replaced.
    """

    text: str
    counts: Mapping[str, int]


def clean(text: str) -> Cleaned:
    """The text as a reader should see it. Any text is accepted; a clean one is returned unchanged.

    A character that a terminal would obey or hide is shown as `<U+0007>`, a hole in a file as
    `<U+0000 x4096>`.
    """
    if (_CONTROL if text.isascii() else _unclean()).search(text) is None:
        return Cleaned(text, {})
    text, surrogates = _SURROGATE.subn("\ufffd", text)
    text, escapes = without_escapes(text)
    text, overstrikes = without_overstrikes(text)
    text, progress_lines = folded(text)
    text, controls, invisible = _made_visible(text)
    counts = {
        "escapes": escapes,
        "overstrikes": overstrikes,
        "progress_lines": progress_lines,
        "controls": controls,
        "invisible": invisible,
        "surrogates": surrogates,
    }
    return Cleaned(text, {kind: count for kind, count in counts.items() if count})


@functools.cache
def _invisible() -> re.Pattern[str]:
    """A pattern of characters that are invisible: Unicode's format characters, and others."""
    characters = "".join(chr(plane << 16 | place) for plane in _PLANES for place in range(1 << 16))
    is_format = "".join("f" if unicodedata.category(c) == "Cf" else "-" for c in characters)
    # A search for ranges takes a tenth of the time.
    ranges = (
        characters[run.start()] + "-" + characters[run.end() - 1]
        for run in _RUN.finditer(is_format)
    )
    return re.compile(f"[{_IGNORABLE}{''.join(ranges)}]")


@functools.cache
def _unclean() -> re.Pattern[str]:
    return re.compile(rf"{_CONTROL.pattern[:-1]}\ud800-\udfff{_invisible().pattern[1:]}")


def without_marks(text: str) -> str:
    """The text without the marks, such as `<U+0007>`, that `clean` puts into it."""
    return _MARK.sub("", text)


def _made_visible(text: str) -> tuple[str, int, int]:
    """The text with marks for controls and invisible characters, and the number of each."""
    holes = 0

    def hole(found: re.Match[str]) -> str:
        nonlocal holes
        holes += len(found[0])
        return f"<U+0000 x{len(found[0])}>"

    text = _HOLE.sub(hole, text)
    kinds = set(text)
    controls = {c: text.count(c) for c in kinds if _CONTROL.match(c)}
    invisible = {c: text.count(c) for c in kinds if c > "\x7f" and _invisible().match(c)}
    marks = {ord(c): f"<U+{ord(c):04X}>" for c in (*controls, *invisible)}
    if len(marks) > _FEW:
        text = text.translate(marks)
    else:
        for character, mark in marks.items():
            text = text.replace(chr(character), mark)
    return text, holes + sum(controls.values()), sum(invisible.values())


def encodable(text: str) -> str:
    """The text with every lone surrogate replaced by U+FFFD.

    UTF-8 cannot encode a lone surrogate, so one in a message would end an MCP stdio server.
    """
    return _SURROGATE.sub("\ufffd", text)


def encodable_json(value: object) -> JsonValue:
    """Plain data as JSON, with every text in it made `encodable`.

    Raises:
        TypeError: it holds something that JSON cannot express.
    """
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, Sequence):
        return [encodable_json(item) for item in cast("Sequence[object]", value)]
    if isinstance(value, Mapping):
        items = cast("Mapping[str, object]", value).items()
        return {encodable(name): encodable_json(item) for name, item in items}
    if value is None or isinstance(value, bool | int | float):
        return value
    raise TypeError(f"no JSON form for {type(value).__name__}")


def one_line(text: str, limit: int = 200) -> str:
    """The text on one line without control characters, at most `limit` characters long."""
    flat = "".join(c if c.isprintable() else " " for c in encodable(text))
    flat = " ".join(flat.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
