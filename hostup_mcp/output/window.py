"""Cuts parts out of a long text: head and tail, a slice from an offset, the last lines.

Offsets and sizes are bytes of the text in UTF-8. A part says exactly what it leaves out. It never
cuts a character, and if possible it ends at a line end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# A message has a part twice, as text and as JSON, and a client may cut messages far below 1 MiB.
MAX_PART_BYTES: Final = 65_536
# Enough for any one character.
_MIN_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a text.

    Attributes:
        text: the part. For a `window`, a line between the head and the tail says what is left out.
        total_bytes: the size of the whole text.
        total_lines: its number of lines; a last line without a line end counts.
        shown: the ranges in the part as (start, end) offsets, in order.
        next_offset: the offset of the first requested byte that is not in the part; None if all
            are.
    """

    text: str
    total_bytes: int
    total_lines: int
    shown: tuple[tuple[int, int], ...]
    next_offset: int | None


def window(text: str, head_bytes: int = 8192, tail_bytes: int = 8192) -> Part:
    """The whole text if it fits into both sizes together; else its head and its tail."""
    data = encoded(text)
    head_bytes, tail_bytes = _bounded(head_bytes, 0), _bounded(tail_bytes, 0)
    if len(data) <= min(head_bytes + tail_bytes, MAX_PART_BYTES):
        return _part(data, data.decode(), ((0, len(data)),), None)
    tail_bytes = min(tail_bytes, MAX_PART_BYTES - head_bytes)
    head = _head_end(data, head_bytes)
    tail = _tail_start(data, tail_bytes)
    left_out = data[head:tail]
    note = f"[left out here: {len(left_out)} bytes, {line_count(left_out)} lines]"
    before = data[:head].decode()
    if before and not before.endswith("\n"):
        before += "\n"
    return _part(
        data, f"{before}{note}\n{data[tail:].decode()}", ((0, head), (tail, len(data))), head
    )


def read_from(text: str, offset: int, max_bytes: int) -> Part:
    """The text from an offset on, at most `max_bytes` of it.

    An offset inside a character moves to its start. Slices that follow `next_offset` give together
    exactly the text.
    """
    data = encoded(text)
    start = boundary(data, max(0, min(offset, len(data))))
    end = start + _bounded(max_bytes, _MIN_BYTES)
    if end >= len(data):
        end = len(data)
    else:
        end = data.rfind(b"\n", start, end) + 1 or boundary(data, end)
    return _part(data, data[start:end].decode(), ((start, end),), end if end < len(data) else None)


def last_lines(text: str, count: int, max_bytes: int) -> Part:
    """The last lines of the text: `count` of them, or the last `max_bytes` of these."""
    data = encoded(text)
    asked = len(data)
    for _ in range(max(0, count)):
        if asked == 0:
            break
        asked = data.rfind(b"\n", 0, asked - 1) + 1
    size = _bounded(max_bytes, _MIN_BYTES)
    start = asked if len(data) - asked <= size else _tail_start(data, size)
    return _part(
        data, data[start:].decode(), ((start, len(data)),), None if start == asked else asked
    )


def encoded(text: str) -> bytes:
    """The text in UTF-8. A lone surrogate becomes `?`; a text from `clean` has none."""
    return text.encode("utf-8", "replace")


def line_count(data: bytes) -> int:
    """The number of lines in the bytes; incomplete lines count."""
    return data.count(b"\n") + (not data.endswith(b"\n") and bool(data))


def boundary(data: bytes, at: int) -> int:
    """The offset of the character that contains the byte at `at`."""
    while 0 < at < len(data) and data[at] & 0xC0 == 0x80:
        at -= 1
    return at


def _bounded(size: int, least: int) -> int:
    return max(least, min(size, MAX_PART_BYTES))


def _head_end(data: bytes, size: int) -> int:
    """The end of a head of this size: at a line end, unless that would lose half of it."""
    whole = data.rfind(b"\n", 0, size) + 1
    return whole if 2 * whole >= size else boundary(data, size)


def _tail_start(data: bytes, size: int) -> int:
    """The start of a tail of this size: at a line start, unless that would lose half of it."""
    start = len(data) - size
    whole = data.find(b"\n", start - 1) + 1
    if whole and 2 * (len(data) - whole) >= size:
        return whole
    while start < len(data) and data[start] & 0xC0 == 0x80:
        start += 1
    return start


def _part(
    data: bytes, text: str, shown: tuple[tuple[int, int], ...], next_offset: int | None
) -> Part:
    return Part(text, len(data), line_count(data), shown, next_offset)
