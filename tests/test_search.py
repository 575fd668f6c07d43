"""Searching an output: what grep would show, with exact counts, in bounded room and time."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostup_mcp.output.line_search import LinePatternError, grep

ROOM = 60_000
ROOM_MIN = 64
texts = st.lists(st.text("abå ", max_size=5), max_size=30).map("\n".join)


def expected(text: str, pattern: str, context: int) -> str:
    """What `grep -n -C` prints, the slow way."""
    lines = text.removesuffix("\n").split("\n") if text else []
    matching = {number for number, line in enumerate(lines) if re.search(pattern, line)}
    shown = sorted(
        {
            near
            for number in matching
            for near in range(number - context, number + context + 1)
            if 0 <= near < len(lines)
        }
    )
    out: list[str] = []
    for place, number in enumerate(shown):
        if context and place and shown[place - 1] != number - 1:
            out.append("--\n")
        out.append(f"{number + 1}{':' if number in matching else '-'}{lines[number]}\n")
    return "".join(out)


@given(
    texts,
    st.sampled_from(["a", "^b", "å$", "^$", "", "a.*b", "[^a]", r"\s", "a|b "]),
    st.integers(0, 3),
)
def test_it_shows_what_grep_shows(text: str, pattern: str, context: int) -> None:
    found = grep(text, pattern, context, ROOM)
    assert found.text == expected(text, pattern, context)
    shown = re.findall("^[0-9]+:", found.text, re.MULTILINE)
    assert found.shown_lines == found.matching_lines == len(shown)
    assert found.next_offset is None


@given(texts, st.integers(0, 3), st.integers(0, 200))
def test_what_had_no_room_is_counted(text: str, context: int, room: int) -> None:
    whole, found = grep(text, "a", context, ROOM), grep(text, "a", context, room)
    assert len(found.text.encode()) <= max(room, ROOM_MIN)
    assert found.matching_lines == whole.matching_lines
    assert found.shown_lines == len(re.findall("^[0-9]+:", found.text, re.MULTILINE))
    if found.next_offset is None:
        assert found.shown_lines == found.matching_lines
    else:
        rest = text.encode()[found.next_offset :].decode()
        left_out = found.matching_lines - found.shown_lines
        assert grep(rest, "a", 0, ROOM).matching_lines == left_out
        assert grep(text, "a", 0, ROOM, found.next_offset).matching_lines == left_out


@given(
    st.lists(st.text("ab å", max_size=5) | st.sampled_from(["aö" * 800, "b" * 3000 + "a"])).map(
        "\n".join
    ),
    st.integers(0, 20),
    st.integers(0, 3000),
)
def test_who_follows_the_offset_sees_every_matching_line(
    text: str, context: int, room: int
) -> None:
    wanted = [n for n, line in enumerate(text.split("\n"), 1) if "a" in line]
    shown: list[int] = []
    offset: int | None = 0
    while offset is not None:
        found = grep(text, "a", context, room, offset)
        assert len(found.text.encode()) <= max(room, ROOM_MIN)
        page = re.findall("^([0-9]+):(.*)", found.text, re.MULTILINE)
        assert all("a" in line for _, line in page)
        shown += [int(number) for number, _ in page]
        assert found.next_offset is None or found.next_offset > offset
        offset = found.next_offset
    assert shown == wanted


def test_context_that_has_no_room_is_left_out_farthest_first() -> None:
    text = "z" * 900 + "\n" + "y" * 900 + "\nERROR here\n" + "x" * 900 + "\n"
    found = grep(text, "ERROR", 20, 1000)
    assert found.text == f"2-{'y' * 900}\n3:ERROR here\n"
    assert (found.shown_lines, found.next_offset) == (1, None)
    assert grep("b" * 900 + "needle" + "b" * 900, "needle", 5, 3).text == (
        "1:[…]" + "b" * 12 + "needle" + "b" * 33 + "[…]\n"
    )


def test_case_is_ignored_on_request() -> None:
    text = "Error\nerror\nfine\n"
    assert grep(text, "(?i)ERROR", 0, ROOM).text == "1:Error\n2:error\n"
    assert grep(text, "ERROR", 0, ROOM).matching_lines == 0


def test_a_long_line_is_cut_around_its_match() -> None:
    text = "å" * 3000 + "needle" + "ö" * 3000 + "\n" + "b" * 3000
    found = grep(text, "needle", 1, ROOM)
    first, second = found.text.splitlines()
    assert first.startswith("1:[…]å")
    assert first.endswith("ö[…]")
    assert "needle" in first
    assert second == f"2-{'b' * 1024}[…]"
    assert len(first.encode()) < 1100


@pytest.mark.parametrize(
    "pattern", ["(", "a)(b", r"(a)\1", "(?=a)", "[", "x{9999}", "\ud800", "a" * 1001]
)
def test_a_pattern_that_is_not_re2_is_explained(pattern: str) -> None:
    with pytest.raises(LinePatternError) as raised:
        grep("text", pattern, 0, ROOM)
    message = str(raised.value)
    assert message.endswith(".")
    assert len(message) < 300
    message.encode()


def test_what_makes_other_engines_slow_does_not_here() -> None:
    text = ("a" * 2000 + "!\n") * 500
    assert grep(text, "^(a+)+$", 0, ROOM).matching_lines == 0
    assert grep(text, "(a|aa)+!", 0, ROOM).matching_lines == 500


# Slow in RE2, whose work grows with the pattern as it is written out.
SLOW = ("(?:x|xx|x.x|(?:x.){300}){3}z", "(?:.?){1000}z", ".*x.{500}q.*", "(?:[xy]?.?){400}[^x-z]")


@pytest.mark.parametrize("pattern", SLOW)
@pytest.mark.parametrize("line", ["x" * (1 << 24), "xyxxy" * 20 + "\n", "xyxxxyyxyxyyyx" * 10_000])
def test_no_pattern_keeps_the_server_busy(pattern: str, line: str) -> None:
    text = line * ((1 << 24) // len(line))
    before = time.thread_time()
    try:
        grep(text, pattern, 100, ROOM)
    except LinePatternError as error:
        assert "too long" in str(error) or "took longer" in str(error)
    assert time.thread_time() - before < 5


def test_a_pattern_that_is_large_when_written_out_is_refused() -> None:
    for pattern in (r"\pL" * 330, "(?:" + "a.b|" * 200 + "){1000}", r"\pL{9}"):
        with pytest.raises(
            LinePatternError, match="too large once its repetitions are written out"
        ):
            grep("x", pattern, 0, ROOM)


def test_when_time_is_up_the_rest_is_not_counted() -> None:
    text = "x\n" * (1 << 23)
    found = grep(text, "x", 0, 2000)
    assert not found.counted_all
    assert found.shown_lines < found.matching_lines < 1 << 23
    assert found.next_offset is not None
    # Page by page one gets to the end all the same.
    last = grep(text, "x", 0, 2000, len(text) - 20)
    assert last.counted_all
    assert last.matching_lines == 10
    assert last.text.endswith(f"\n{1 << 23}:x\n")


@pytest.mark.parametrize("end", ["", "\n", "\nmore\n"])
def test_a_long_line_is_searched_in_pieces_that_overlap(end: str) -> None:
    # Written out a pattern of some thousand instructions: pieces of some ten thousand bytes.
    filler, large = "å" * 40_000, "|q.{800}"
    for before in (0, 1, 4321, 8000, 39_000):
        text = filler[:before] + "need" + "é" * 1000 + "le" + filler + end
        found = grep(f"first\n{text}", f"need.*le{large}", 0, ROOM)
        assert (found.matching_lines, found.text[:2]) == (1, "2:")
        assert "need" in found.text
        assert found.longest_match is not None
        assert 2_006 <= found.longest_match < 50_000
        # Only the line's own ends are ends.
        assert grep(text, f"^é|é${large}", 0, ROOM).matching_lines == 0
        assert grep(text, f"å${large}", 0, ROOM).matching_lines == 1
    short = grep("first\nneedle\n" * 10_000, f"needle{large}", 0, ROOM)
    assert short.matching_lines == 10_000
    assert short.longest_match is None


@pytest.mark.parametrize(
    ("pattern", "lines"),
    [
        (r"\Aa", "1 3"),
        (r"b\z", "1 2"),
        (r"\A\z", "4"),
        (r"(?i)\AB", "2"),
        (r"\Q\A\E", "5"),
        (r"\\A", "5"),
        (r"[\\]A\z", "5"),
        (r"\Q\A", "5"),
        (r"[[:alpha:]]\z", "1 2 3 5"),
    ],
)
def test_the_ends_of_the_text_are_those_of_the_line(pattern: str, lines: str) -> None:
    found = grep("ab\nbb\nac\n\n\\A\n", pattern, 0, ROOM)
    assert re.findall("^[0-9]+", found.text, re.MULTILINE) == lines.split()


@pytest.mark.parametrize("pattern", [r"a\Cb", "(?-m)^a", "(?i-sm:a$)"])
def test_what_reaches_over_line_ends_is_refused(pattern: str) -> None:
    with pytest.raises(LinePatternError, match=r"use a dot\.|leave out the flag -m\."):
        grep("a\nb", pattern, 0, ROOM)
    assert grep("?mm\n", "[(?-m]m", 0, ROOM).matching_lines == 1
    assert grep("A\n", "(?-i)A|(?s-U:b)", 0, ROOM).matching_lines == 1


@given(st.text(st.characters(exclude_categories=())), st.text(st.characters(exclude_categories=())))
def test_any_text_is_accepted(text: str, pattern: str) -> None:
    try:
        found = grep(text, pattern, 1, 200)
    except LinePatternError:
        return
    found.text.encode()
    assert found.shown_lines <= found.matching_lines <= found.total_lines
