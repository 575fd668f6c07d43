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
# A longer line is shown around what matched in it.
_LINE_MAX: Final = 1024
_LINE_BEFORE: Final = 256
_CUT: Final = "[…]"
# Room for a line's number and some of its match.
_ROOM_MIN: Final = 64

# RE2 is linear in the text and also in the compiled pattern, of which repetition can make much.
# At worst, without room for its state machine, it was measured to take 6 ns for each instruction
# and byte. What it does at once takes half a second then; between, the clock is looked at.
_COMPILE_MEMORY: Final = 1 << 20
_SEARCH_MEMORY: Final = 8 << 20
_PROGRAM_MAX: Final = 10_000
_STEP_WORK: Final = 60_000_000
_SECONDS_MAX: Final = 0.7  # of this thread's processor time

# What a pattern is made of, as far as it matters here: literals, escapes, classes, flags.
_PIECE: Final = re.compile(
    r"\\Q.*?(?:\\E|\Z)|\\.|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]|\(\?[A-Za-z]*-[A-Za-z]*",
    re.DOTALL,
)
_ALSO_LINE_ENDS: Final = {r"\A": "^", r"\z": "$"}


class LinePatternError(ValueError):
    """The pattern cannot be used; the message says why and what to do."""


class _TimeUp(Exception):
    """The search has taken as long as it may; what was found so far counts."""


@dataclass(frozen=True, slots=True)
class Matches:
    """The lines that match, and how many there are.

    Attributes:
        text: the lines as `grep -n` shows them, `12:` before a match, `11-` before context and
            `--` between groups; a long line is cut around its match.
        matching_lines: how many lines match, from the offset on.
        counted_all: whether these are all; if not, time was up while more were counted than
            there was room for.
        shown_lines: how many of these are in `text`; the others had no room.
        total_bytes: the size of the whole text.
        total_lines: its lines.
        next_offset: where the first matching line stands that had no room, or None.
        longest_match: None, or there are lines so long that they were searched in pieces, and
            in these a match of more bytes than this may be missed.
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

    The first match is always shown, if need be cut or with less context: who follows
    `next_offset` gets on.

    Args:
        text: any text.
        pattern: RE2, for one line at a time; `(?i)` in front ignores case.
        context_lines: how many lines before and after each match, at most 100.
        max_bytes: how much is shown; less than 64 are taken for 64.
        offset: the search begins with the line that this byte stands in.

    Raises:
        LinePatternError: RE2 does not accept the pattern, or it would take or took too long.
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
    import re2  # noqa: PLC0415 - the class above is needed at every start, RE2 is not

    # It would keep the last 128 patterns, each with its memory.
    re2.purge()
    try:
        # With little memory first, so that what is far too large is refused at once.
        re2.compile(pattern, _options(_COMPILE_MEMORY))
        compiled = re2.compile(f"(?m){_for_lines(pattern)}", _options(_SEARCH_MEMORY))
    except re2.error as error:
        (reason,) = error.args
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        if "too large" in reason:
            raise _too_large() from None
    except UnicodeEncodeError:
        reason = "it holds half a character"
    else:
        if compiled.programsize > _PROGRAM_MAX:
            raise _too_large()
        return compiled
    raise LinePatternError(
        f"RE2 does not accept this pattern ({reason}); to search for a text as it is, put a "
        "backslash before each punctuation character in it."
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
        "The pattern is too large once its repetitions are written out, and would take too long; "
        "repeat less, or shorter things."
    )


def _for_lines(pattern: str) -> str:
    r"""The pattern with the ends of a line for those of the text, `\A` and `\z`.

    Raises:
        LinePatternError: it asks for what reaches over line ends.
    """

    def piece(found: re.Match[str]) -> str:
        text = found[0]
        if text == r"\C":
            raise LinePatternError(r"\C, a single byte, cannot be searched for; use a dot.")
        if text.startswith("(?") and "m" in text.partition("-")[2]:
            raise LinePatternError("Lines are searched one at a time; leave the flag -m out.")
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
        """The lines in their order.

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
        """Where the step ends that begins at `at`, and where the one after it begins."""
        data, step = self._data, self._step
        last = len(data) - data.endswith(b"\n")
        if at + step >= last:
            return last, last + 1
        line_end = data.rfind(b"\n", at, at + step + 1)
        if line_end >= 0:
            return line_end, line_end + 1
        # A longer line. A step sees what is around it, so `^`, `$` and `\b` mean what they do in
        # the whole line; what matches across its end, the next one finds.
        self.longest_match = step // 2
        return at + step, at + (step + 1) // 2


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
        if not self._put_match(line, wanted, gap=gap):
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

    def _put_match(self, line: _Line, before: deque[_Line], *, gap: bool) -> bool:
        """Show a match with the context before it; the first with what there is room for."""
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
