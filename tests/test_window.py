"""Parts of a text: together they are the text, and what they leave out is told exactly."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from hostup_mcp.output.window import MAX_PART_BYTES, last_lines, read_from, window

texts = st.lists(st.text("abå€😀 ", max_size=30) | st.just("x" * 50)).map("\n".join)
texts = texts | texts.map(lambda text: text + "\n")
sizes = st.integers(0, 120)


def lines_in(data: bytes) -> int:
    return len(data.splitlines(keepends=True))


@given(texts, sizes, sizes)
def test_a_window_is_head_and_tail_and_tells_what_is_between(
    text: str, head: int, tail: int
) -> None:
    data = text.encode()
    part = window(text, head, tail)
    assert part.total_bytes == len(data)
    assert part.total_lines == lines_in(data)
    if len(data) <= head + tail:
        assert part.text == text
        assert part.shown == ((0, len(data)),)
        assert part.next_offset is None
        return
    (zero, end), (start, total) = part.shown
    assert (zero, total, part.next_offset) == (0, len(data), end)
    assert end <= head
    assert total - start <= tail
    first, last, between = data[:end].decode(), data[start:].decode(), data[end:start]
    note = f"[left out here: {len(between)} bytes, {lines_in(between)} lines]"
    gap = "" if not first or first.endswith("\n") else "\n"
    assert part.text == f"{first}{gap}{note}\n{last}"


def test_a_window_is_cut_at_line_ends() -> None:
    text = "".join(f"line {number}\n" for number in range(1000))
    part = window(text, 100, 100)
    *_, note = (line for line in part.text.splitlines() if line.startswith("["))
    kept = [line for line in part.text.splitlines() if line != note]
    assert set(kept) <= set(text.splitlines())
    assert f", {1000 - len(kept)} lines]" in note


def test_a_long_line_is_cut_rather_than_left_out() -> None:
    part = window("short\n" + "å" * 1000 + "\nend\n", 101, 101)
    (_, end), (start, total) = part.shown
    assert 95 < end <= 101
    assert 95 < total - start <= 101


@given(texts, st.integers(-3, 60))
def test_slices_are_together_the_text(text: str, size: int) -> None:
    data = text.encode()
    offset: int | None = 0
    pieces: list[str] = []
    while offset is not None:
        part = read_from(text, offset, size)
        ((start, end),) = part.shown
        assert start == offset
        assert end > start or not data
        assert end - start <= max(4, size)
        assert part.text.encode() == data[start:end]
        if "\n" in part.text and part.next_offset is not None:
            assert part.text.endswith("\n")
        pieces.append(part.text)
        offset = part.next_offset
    assert "".join(pieces) == text


@given(texts, st.integers(-10, 300), st.integers(0, 100))
def test_a_slice_may_start_anywhere(text: str, offset: int, size: int) -> None:
    part = read_from(text, offset, size)
    ((start, end),) = part.shown
    assert max(0, min(offset, part.total_bytes)) - 3 <= start <= max(0, offset)
    assert part.text.encode() == text.encode()[start:end]


@given(texts, st.integers(-1, 20), st.integers(0, 200))
def test_the_last_lines(text: str, count: int, size: int) -> None:
    data = text.encode()
    part = last_lines(text, count, size)
    ((start, end),) = part.shown
    asked = b"".join(data.splitlines(keepends=True)[-count:]) if count > 0 else b""
    assert end == len(data)
    assert part.text.encode() == data[start:]
    assert end - start <= max(4, size)
    assert asked.endswith(data[start:])
    assert part.next_offset == (None if end - start == len(asked) else len(data) - len(asked))


def test_no_part_is_longer_than_the_ceiling() -> None:
    text = "x" * 79 + "\n"
    text *= 10_000
    assert len(read_from(text, 0, 10**9).text) <= MAX_PART_BYTES
    assert len(last_lines(text, 10**9, 10**9).text) <= MAX_PART_BYTES
    assert len(window(text, 10**9, 10**9).text) <= MAX_PART_BYTES + 100
    (shown, *_) = window(text).shown
    assert shown == (0, 8160)
    assert re.search(r"\n\[left out here: \d+ bytes, \d+ lines\]\n", window(text).text)


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_is_accepted(text: str) -> None:
    for part in (window(text, 5, 5), read_from(text, 3, 5), last_lines(text, 2, 5)):
        part.text.encode()
