"""Finds lines that match a pattern, as `grep -n` shows them, in bounded time."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hostup_mcp.output.window import MAX_PART_BYTES, boundary, encoded, line_count

if TYPE_CHECKING:
    from re2 import Options, Pattern

CONTEXT_MAX: Final = 100
_PATTERN_MAX: Final = 1000
# Of a longer line, only a part around the match is shown.
_LINE_MAX: Final = 1024
_LINE_BEFORE: Final = 256
_CUT: Final = "[…]"
# Enough bytes for a line's number and a part of its match.
_ROOM_MIN: Final = 64

# RE2's time is linear in the text and in the compiled pattern, which repetition can make large. At
# worst, without memory for its state machine, it took 6 ns for each instruction and byte. So one
# step takes at most half a second, and between steps the search checks its time limit.
_COMPILE_MEMORY: Final = 1 << 20
_SEARCH_MEMORY: Final = 8 << 20
_PROGRAM_MAX: Final = 10_000
_STEP_WORK: Final = 60_000_000
_SECONDS_MAX: Final = 0.7  # of this thread's processor time

# The parts of a pattern that matter here: literals, escapes, classes, flags.
_PIECE: Final = re.compile(
    r"\\Q.*?(?:\\E|\Z)|\\.|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]|\(\?[A-Za-z]*-[A-Za-z]*",
    re.DOTALL,
)
_ALSO_LINE_ENDS: Final = {r"\A": "^", r"\z": "$"}


class LinePatternError(ValueError):
    """The pattern cannot be used; the message says why and what to do."""


class _TimeUp(Exception):
    """The search has reached its time limit; what it found so far counts."""


@dataclass(frozen=True, slots=True)
class Matches:
    """The lines that match, and how many there are.

    Attributes:
        text: the lines in the form of `grep -n`: `12:` before a match, `11-` before context and
            `--` between groups. A long line is cut around its match.
        matching_lines: how many lines match, from the offset on.
        counted_all: whether all matching lines were counted; if not, time ran out after `text` was
            full.
        shown_lines: how many of the matching lines are in `text`.
        total_bytes: the size of the whole text.
        total_lines: the number of lines of the whole text.
        next_offset: the byte at which the first matching line begins that is not in `text`; None if
            all are.
        longest_match: None, unless some lines are so long that they were searched in pieces; then
            a match in these that is longer than so many bytes may be missed.
    """

    text: str
    matching_lines: int
    counted_all: bool
    shown_lines: int
    total_bytes: int
    total_lines: int
    next_offset: int | None
    longest_match: int | None


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    start: int
    end: int
    # Where the match begins; None for a line of context.
    match: int | None


def grep(text: str, pattern: str, context_lines: int, max_bytes: int, offset: int = 0) -> Matches:
    """The lines that match a pattern, each with the lines around it.

    The first match is always shown, if necessary cut or with less context, so that a caller who
    follows `next_offset` always makes progress.

    Args:
        text: any text.
        pattern: an RE2 pattern that is matched line by line; `(?i)` at its start ignores case.
        context_lines: how many lines before and after each match, at most 100.
        max_bytes: how many bytes are shown, at least 64.
        offset: the search begins with the line that contains this byte.

    Raises:
        LinePatternError: RE2 does not accept the pattern, or the search would take or took too
        long.
    """
    data = encoded(text)
    search = _Search(data, _compiled(pattern), offset)
    room = max(_ROOM_MIN, min(max_bytes, MAX_PART_BYTES))
    view = _View(data, max(0, min(context_lines, CONTEXT_MAX)), room)
    matching, counted_all = 0, True
    try:
        for line in search.lines():
            matching += 1
            view.add(line)
    except _TimeUp:
        if view.left_out is None:
            raise LinePatternError(
                f"The search took longer than {_SECONDS_MAX:g} s; use a simpler pattern, with "
                "fewer repetitions."
            ) from None
        counted_all = False
    view.finish()
    return Matches(
        text="".join(view.shown),
        matching_lines=matching,
        counted_all=counted_all,
        shown_lines=view.shown_matches,
        total_bytes=len(data),
        total_lines=line_count(data),
        next_offset=view.left_out,
        longest_match=search.longest_match,
    )


def _compiled(pattern: str) -> Pattern:
    if len(pattern) > _PATTERN_MAX:
        raise LinePatternError(f"The pattern is longer than {_PATTERN_MAX} characters.")
    import re2  # noqa: PLC0415 - other modules need the class above, and not RE2

    # Otherwise it keeps the last 128 patterns, each with its memory.
    re2.purge()
    try:
        # First with little memory, so that a far too large pattern is refused at once.
        re2.compile(pattern, _options(_COMPILE_MEMORY))
        compiled = re2.compile(f"(?m){_for_lines(pattern)}", _options(_SEARCH_MEMORY))
    except re2.error as error:
        (reason,) = error.args
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        if "too large" in reason:
            raise _too_large() from None
    except UnicodeEncodeError:
        reason = "it contains half a character"
    else:
        if compiled.programsize > _PROGRAM_MAX:
            raise _too_large()
        return compiled
    raise LinePatternError(
        f"RE2 does not accept this pattern ({reason}). To search for a plain text, put a backslash "
        "before each punctuation character in it."
    ) from None


def _options(memory: int) -> Options:
    import re2  # noqa: PLC0415 - as above

    options = re2.Options()
    options.max_mem = memory
    options.log_errors = False
    options.never_nl = True
    options.never_capture = True
    return options


def _too_large() -> LinePatternError:
    return LinePatternError(
        "The pattern is too large once its repetitions are written out, and would take too long. "
        "Use fewer repetitions, or repeat shorter parts."
    )


def _for_lines(pattern: str) -> str:
    r"""The pattern with `^` and `$` in place of `\A` and `\z`, since each line is a text here.

    Raises:
        LinePatternError: the pattern needs more than one line, or single bytes.
    """

    def piece(found: re.Match[str]) -> str:
        text = found[0]
        if text == r"\C":
            raise LinePatternError(r"\C, a single byte, cannot be searched for; use a dot.")
        if text.startswith("(?") and "m" in text.partition("-")[2]:
            raise LinePatternError("Lines are searched one at a time; leave out the flag -m.")
        return _ALSO_LINE_ENDS.get(text, text)

    return _PIECE.sub(piece, pattern)


class _Search:
    """The lines that match, found in steps of bounded work."""

    def __init__(self, data: bytes, pattern: Pattern, offset: int) -> None:
        self.longest_match: int | None = None
        self._data = data
        self._pattern = pattern
        self._start = len(data)
        if offset <= len(data):
            self._start = data.rfind(b"\n", 0, max(0, offset)) + 1
        self._step = max(1, _STEP_WORK // pattern.programsize)

    def lines(self) -> Iterator[_Line]:
        """The matching lines, in order.

        Raises:
            _TimeUp: there may be more.
        """
        data = self._data
        until = time.thread_time() + _SECONDS_MAX
        number, counted = 1, 0
        at, stop, following = self._start, -1, 0
        while at < len(data):
            if time.thread_time() > until:
                raise _TimeUp
            if stop < at:
                stop, following = self._next_step(at)
            found = self._pattern.search(data, at, stop)
            if found is None:
                at, stop = following, -1
                continue
            start = data.rfind(b"\n", 0, found.start()) + 1
            end = data.find(b"\n", found.start())
            end = len(data) if end < 0 else end
            number += data.count(b"\n", counted, start)
            counted = start
            yield _Line(number, start, end, found.start())
            at = end + 1

    def _next_step(self, at: int) -> tuple[int, int]:
        """The end of the step that begins at `at`, and the start of the step after it."""
        data, step = self._data, self._step
        last = len(data) - data.endswith(b"\n")
        if at + step >= last:
            return last, last + 1
        line_end = data.rfind(b"\n", at, at + step + 1)
        if line_end >= 0:
            return line_end, line_end + 1
        # The line is longer than a step. RE2 sees the text around a step, so `^`, `$` and `\b` mean
        # the same as in the whole line. The next step overlaps, and finds a match across the end.
        self.longest_match = step // 2
        return at + step, at + (step + 1) // 2


class _View:
    """Collects the lines to show until they take all the room; then notes the first left out."""

    def __init__(self, data: bytes, context: int, room: int) -> None:
        self.shown: list[str] = []
        self.shown_matches = 0
        self.left_out: int | None = None
        self._data = data
        self._context = context
        self._room = room
        self._last: _Line | None = None

    def add(self, line: _Line) -> None:
        """Add the next matching line, with the context before it."""
        if self.left_out is not None:
            return
        wanted = deque(self._before(line))
        if self._last is not None:
            after = self._after(self._last, line.start)
            # `--` is shown between groups that do not touch.
            first = wanted[0].start if wanted else line.start
            touches = (after[-1] if after else self._last).end + 1 >= first
            if not all(self._put(_shown(self._data, each)) for each in after):
                self.left_out = line.start
                return
            gap = self._context > 0 and not touches
        else:
            gap = False
        if not self._put_match(line, wanted, gap=gap):
            self.left_out = line.start
            return
        self.shown_matches += 1
        self._last = line

    def finish(self) -> None:
        """Add the context after the last match, as far as there is room."""
        if self._last is not None and self.left_out is None:
            for line in self._after(self._last, len(self._data)):
                if not self._put(_shown(self._data, line)):
                    break

    def _put_match(self, line: _Line, before: deque[_Line], *, gap: bool) -> bool:
        """Add a match and the context before it; the first match is cut to fit, if need be."""
        first = self._last is None
        match = _shown(self._data, line)
        if first and len(match.encode()) > self._room:
            match = _shown(self._data, line, self._room)
        while True:
            context = "".join(_shown(self._data, each) for each in before)
            if self._put(("--\n" if gap else "") + context + match):
                return True
            if not first or not before:
                return False
            before.popleft()

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


def _shown(data: bytes, line: _Line, room: int | None = None) -> str:
    """A line with its number, cut if it is long or longer than there is room for."""
    start, end = line.start, line.end
    prefix = f"{line.number}{'-' if line.match is None else ':'}"
    size = _LINE_MAX
    if room is not None:
        size = min(size, room - len(f"{prefix}{_CUT}{_CUT}\n".encode()))
    before = after = ""
    if end - start > size:
        match = start if line.match is None else line.match
        start = boundary(data, max(start, match - min(_LINE_BEFORE, size // 4)))
        before = _CUT if start > line.start else ""
        if end - start > size:
            end, after = boundary(data, start + size), _CUT
    return f"{prefix}{before}{data[start:end].decode()}{after}\n"
