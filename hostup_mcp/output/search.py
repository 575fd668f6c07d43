"""Lines of a text that match a pattern, as `grep -n` shows them, in time linear in the text."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hostup_mcp.output.window import MAX_PART_BYTES, boundary, encoded, line_count

if TYPE_CHECKING:
    from re2 import Pattern

CONTEXT_MAX: Final = 100
_PATTERN_MAX: Final = 1000
# A longer line is shown around what matched in it.
_LINE_MAX: Final = 1024
_LINE_BEFORE: Final = 256
_CUT: Final = "[…]"

_MAX_MEMORY: Final = 8 << 20
# RE2 is linear in the text and also in the pattern, of which repetition can make much.
_TIME_MAX: Final = 10.0
_CHUNK: Final = 1 << 18


class PatternError(ValueError):
    """The pattern cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Matches:
    """The lines that match, and exactly how many there are.

    Attributes:
        text: the lines as `grep -n` shows them, `12:` before a match, `11-` before context and
            `--` between groups; a long line is cut around its match.
        matching_lines: how many lines match.
        shown_lines: how many of these are in `text`; the others had no room.
        total_bytes: the size of the whole text.
        total_lines: its lines.
        next_offset: where the first matching line stands that had no room, or None.
    """

    text: str
    matching_lines: int
    shown_lines: int
    total_bytes: int
    total_lines: int
    next_offset: int | None


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    start: int
    end: int
    # Where the match begins; None for a line of context.
    match: int | None


def grep(text: str, pattern: str, context_lines: int, max_bytes: int, offset: int = 0) -> Matches:
    """The lines that match a pattern, each with the lines around it.

    Args:
        text: any text.
        pattern: RE2, for one line at a time; `(?i)` in front ignores case.
        context_lines: how many lines before and after each match, at most 100.
        max_bytes: how much is shown.
        offset: matches in lines that end before this byte are counted, and not shown.

    Raises:
        PatternError: RE2 does not accept the pattern, or it takes too long.
    """
    data = encoded(text)
    compiled = _compiled(pattern)
    view = _View(data, max(0, min(context_lines, CONTEXT_MAX)), min(max_bytes, MAX_PART_BYTES))
    matching = 0
    for line in _matching(data, compiled):
        matching += 1
        if line.end >= offset:
            view.add(line)
    view.finish()
    return Matches(
        text="".join(view.shown),
        matching_lines=matching,
        shown_lines=view.shown_matches,
        total_bytes=len(data),
        total_lines=line_count(data),
        next_offset=view.left_out,
    )


def _compiled(pattern: str) -> Pattern:
    if len(pattern) > _PATTERN_MAX:
        raise PatternError(f"The pattern is longer than {_PATTERN_MAX} characters.")
    import re2  # noqa: PLC0415 - the class above is needed at every start, RE2 is not

    options = re2.Options()
    options.max_mem = _MAX_MEMORY
    options.log_errors = False
    options.never_nl = True
    try:
        # Alone first: it must not reach out of the group that it is put into.
        re2.compile(pattern, options)
        return re2.compile(f"(?m:{pattern})", options)
    except re2.error as error:
        (reason,) = error.args
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
    except UnicodeEncodeError:
        reason = "it holds half a character"
    raise PatternError(
        f"RE2 does not accept this pattern ({reason}); to search for a text as it is, put a "
        "backslash before each punctuation character in it."
    ) from None


def _matching(data: bytes, pattern: Pattern) -> Iterator[_Line]:
    """The lines that match, in their order."""
    deadline = time.monotonic() + _TIME_MAX
    number, counted, at = 1, 0, 0
    while at < len(data):
        if time.monotonic() > deadline:
            raise PatternError(f"The search took longer than {_TIME_MAX:g} s; narrow the pattern.")
        # In pieces of whole lines, so that the time is looked at.
        chunk = data.find(b"\n", min(at + _CHUNK, len(data)) - 1)
        chunk = len(data) if chunk < 0 else chunk
        found = pattern.search(data, at, chunk)
        if found is None:
            at = chunk + 1
            continue
        start = data.rfind(b"\n", 0, found.start()) + 1
        end = data.find(b"\n", found.start())
        end = len(data) if end < 0 else end
        number += data.count(b"\n", counted, start)
        counted = start
        yield _Line(number, start, end, found.start())
        at = end + 1


class _View:
    """What is shown of the lines: it grows until it is full, and then only tells so."""

    def __init__(self, data: bytes, context: int, room: int) -> None:
        self.shown: list[str] = []
        self.shown_matches = 0
        self.left_out: int | None = None
        self._data = data
        self._context = context
        self._room = room
        self._last: _Line | None = None

    def add(self, line: _Line) -> None:
        """Take in the next matching line, with the context before it."""
        if self.left_out is not None:
            return
        wanted = deque(self._before(line))
        if self._last is not None:
            after = self._after(self._last, line.start)
            # A gap is shown between groups that do not touch.
            first = wanted[0].start if wanted else line.start
            touches = (after[-1] if after else self._last).end + 1 >= first
            if not all(self._put(_shown(self._data, each)) for each in after):
                self.left_out = line.start
                return
            gap = self._context > 0 and not touches
        else:
            gap = False
        block = ("--\n" if gap else "") + "".join(_shown(self._data, each) for each in wanted)
        if not self._put(block + _shown(self._data, line)):
            self.left_out = line.start
            return
        self.shown_matches += 1
        self._last = line

    def finish(self) -> None:
        """Show the context after the last match, as far as there is room."""
        if self._last is not None and self.left_out is None:
            for line in self._after(self._last, len(self._data)):
                if not self._put(_shown(self._data, line)):
                    break

    def _put(self, text: str) -> bool:
        size = len(text.encode())
        if size > self._room:
            return False
        self._room -= size
        self.shown.append(text)
        return True

    def _before(self, line: _Line) -> list[_Line]:
        """The lines of context before a match that are not shown yet."""
        after_last = 0 if self._last is None else self._context
        limit = 0 if self._last is None else self._last.end + 1
        lines: list[_Line] = []
        number, end = line.number, line.start - 1
        while end >= limit and len(lines) < self._context and end >= 0:
            if self._last is not None and number - 1 <= self._last.number + after_last:
                break
            start = self._data.rfind(b"\n", 0, end) + 1
            number -= 1
            lines.append(_Line(number, start, end, None))
            end = start - 1
        return lines[::-1]

    def _after(self, line: _Line, limit: int) -> list[_Line]:
        """The lines of context after a match that begin before `limit`."""
        lines: list[_Line] = []
        number, start = line.number, line.end + 1
        while start < limit and len(lines) < self._context:
            end = self._data.find(b"\n", start)
            end = len(self._data) if end < 0 else end
            number += 1
            lines.append(_Line(number, start, end, None))
            start = end + 1
        return lines


def _shown(data: bytes, line: _Line) -> str:
    """A line with its number, cut if it is long."""
    start, end = line.start, line.end
    before = after = ""
    if end - start > _LINE_MAX:
        start = boundary(data, max(start, (line.match or start) - _LINE_BEFORE))
        before = _CUT if start > line.start else ""
        if end - start > _LINE_MAX:
            end, after = boundary(data, start + _LINE_MAX), _CUT
    sign = "-" if line.match is None else ":"
    return f"{line.number}{sign}{before}{data[start:end].decode()}{after}\n"
