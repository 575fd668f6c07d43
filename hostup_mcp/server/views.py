"""Selects what of a result is shown: a window of each stream, or the part that was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from hostup_mcp.execution.journal.records import Output, Stream
from hostup_mcp.hostup.agent import CAPTURE_MAX_BYTES
from hostup_mcp.output.window import Part, last_lines, read_from, window
from hostup_mcp.server.tools import VpsExecResultArguments

StreamName = Literal["stdout", "stderr"]

_READ_BYTES: Final = 16_384

_CHANGES: Final = {
    "escapes": "terminal escape sequences removed",
    "overstrikes": "overprinted characters (bold, underline) made plain",
    "controls": "control characters made visible",
    "invisible": "invisible or direction-changing characters made visible",
    "surrogates": "broken characters replaced",
    "progress_lines": "lines rewritten in place (progress bars) shown in their last state",
    "repaired": "double-encoded UTF-8 repaired",
}


@dataclass(frozen=True, slots=True)
class View:
    """What a caller wants to see of a result.

    Attributes:
        streams: the streams to show.
        offset: the byte to read from; None for the head and the tail, or the last lines.
        max_bytes: at most so many bytes of each stream; 0 for the default.
        tail_lines: only so many last lines; 0 for no such limit.
        grep: an RE2 pattern; only lines that match are shown; empty for all lines.
        context_lines: lines to show around each match.
    """

    streams: tuple[StreamName, ...] = ("stdout", "stderr")
    offset: int | None = None
    max_bytes: int = 0
    tail_lines: int = 0
    grep: str = ""
    context_lines: int = 0

    @classmethod
    def of(cls, wanted: VpsExecResultArguments) -> View:
        """The view that the arguments of a call describe."""
        streams: tuple[StreamName, ...] = (
            ("stdout", "stderr") if wanted.stream == "both" else (wanted.stream,)
        )
        return cls(
            streams=streams,
            offset=wanted.offset if wanted.offset or wanted.max_bytes else None,
            max_bytes=wanted.max_bytes,
            tail_lines=wanted.tail_lines,
            grep=wanted.grep,
            context_lines=wanted.context_lines,
        )


@dataclass(frozen=True, slots=True)
class Shown:
    """What an answer shows of one stream.

    Attributes:
        text: the text that is shown.
        total_bytes: the size of the whole stream.
        next_offset: the byte at which the part that is not shown begins; None if all is shown.
        notes: what was cut, changed or dropped, one sentence each.
    """

    text: str
    total_bytes: int
    next_offset: int | None
    notes: tuple[str, ...]


def show(name: StreamName, output: Output, view: View, window_bytes: int, exec_id: str) -> Shown:
    """What the view shows of one stream.

    Args:
        name: the stream.
        output: the prepared output of the command.
        view: what to show.
        window_bytes: bytes of the stream shown by default, half from each end.
        exec_id: goes into the note that says how to read the rest.

    Raises:
        LinePatternError: the pattern of `view.grep` cannot be used, or takes too long.
    """
    stream = output.stdout if name == "stdout" else output.stderr
    notes = [f"{name}: {note}" for note in _about(stream)]
    if name not in view.streams:
        size = len(stream.text.encode("utf-8", "replace"))
        return Shown("", size, None, (f"{name}: not shown, {size} bytes",) if size else ())
    if view.grep:
        return _grep(name, stream, view, notes)
    part = _part(stream, view, window_bytes)
    if part.shown != ((0, part.total_bytes),):
        ranges = " and ".join(f"{start} to {end}" for start, end in part.shown)
        notes.append(
            f"{name}: showing bytes {ranges} of {part.total_bytes} ({part.total_lines} lines)"
            + _rest(name, part, exec_id)
        )
    return Shown(part.text, part.total_bytes, part.next_offset, tuple(notes))


def _rest(name: StreamName, part: Part, exec_id: str) -> str:
    if part.next_offset is None:
        return ""
    return (
        f"; for the rest, call vps_exec_result with exec_id {exec_id}, stream {name}, "
        f"offset {part.next_offset}, or with grep or tail_lines"
    )


def _part(stream: Stream, view: View, window_bytes: int) -> Part:
    size = view.max_bytes or _READ_BYTES
    if view.tail_lines:
        return last_lines(stream.text, view.tail_lines, size)
    if view.offset is not None:
        return read_from(stream.text, view.offset, size)
    return window(stream.text, window_bytes // 2, window_bytes // 2)


def _grep(name: StreamName, stream: Stream, view: View, notes: list[str]) -> Shown:
    from hostup_mcp.output.line_search import grep  # noqa: PLC0415 - RE2 waits until it is needed

    room = view.max_bytes or _READ_BYTES
    found = grep(stream.text, view.grep, view.context_lines, room, view.offset or 0)
    notes.append(
        f"{name}: showing {found.shown_lines} of {'' if found.counted_all else 'at least '}"
        f"{found.matching_lines} matching lines, of {found.total_lines} lines in all"
        + (f", from offset {view.offset}" if view.offset else "")
        + ("" if found.next_offset is None else f"; the next is at offset {found.next_offset}")
    )
    if found.longest_match is not None:
        notes.append(
            f"{name}: lines longer than {2 * found.longest_match} bytes were searched in pieces; "
            f"in them, a match longer than {found.longest_match} bytes may be missed"
        )
    return Shown(found.text, found.total_bytes, found.next_offset, tuple(notes))


def _about(stream: Stream) -> list[str]:
    notes: list[str] = []
    if stream.truncated:
        notes.append(
            f"the guest agent kept only the first {CAPTURE_MAX_BYTES} bytes; the rest is lost "
            "(print less, with | tail or | head -c)"
        )
    for kind, count in (stream.changes or {}).items():
        if kind == "repaired":
            notes.append(_CHANGES[kind])
        elif kind.startswith("redacted:"):
            notes.append(f"{count} x redacted: {kind.removeprefix('redacted:')}")
        else:
            notes.append(f"{count} x {_CHANGES.get(kind, kind)}")
    return notes
