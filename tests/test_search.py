"""Searching an output: what grep would show, with exact counts, in bounded room and time."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostup_mcp.output.search import PatternError, grep

ROOM = 60_000
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


@given(texts, st.integers(0, 3), st.integers(0, 60))
def test_what_had_no_room_is_counted(text: str, context: int, room: int) -> None:
    whole, found = grep(text, "a", context, ROOM), grep(text, "a", context, room)
    assert len(found.text.encode()) <= room
    assert whole.text.startswith(found.text)
    assert found.matching_lines == whole.matching_lines
    assert found.shown_lines == len(re.findall("^[0-9]+:", found.text, re.MULTILINE))
    if found.next_offset is None:
        assert found.shown_lines == found.matching_lines
    else:
        rest = text.encode()[found.next_offset :].decode()
        assert grep(rest, "a", 0, ROOM).matching_lines == found.matching_lines - found.shown_lines


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
    with pytest.raises(PatternError) as raised:
        grep("text", pattern, 0, ROOM)
    message = str(raised.value)
    assert message.endswith(".")
    assert len(message) < 300
    message.encode()


def test_what_makes_other_engines_slow_does_not_here() -> None:
    text = ("a" * 2000 + "!\n") * 500
    assert grep(text, "^(a+)+$", 0, ROOM).matching_lines == 0
    assert grep(text, "(a|aa)+!", 0, ROOM).matching_lines == 500


@given(st.text(st.characters(exclude_categories=())), st.text(st.characters(exclude_categories=())))
def test_any_text_is_accepted(text: str, pattern: str) -> None:
    try:
        found = grep(text, pattern, 1, 200)
    except PatternError:
        return
    found.text.encode()
    assert found.shown_lines <= found.matching_lines <= found.total_lines
