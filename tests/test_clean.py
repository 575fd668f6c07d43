"""Cleaning and repair: what hides or acts is gone or visible, everything else is untouched."""

from __future__ import annotations

import re
import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hostup_mcp.output.clean import clean, without_marks
from hostup_mcp.output.mojibake import repair

NOTHING_ELSE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u206f\u3164\ufe0f\ufeff\uffa0\ud800-\udfff\U000e0000-\U000e0fff]"
)

any_text = st.text(st.characters(exclude_categories=()))
pieces = st.sampled_from(
    [
        *("\x1b", "\x1b[", "\x1b]", "\x1bP", "\x1b\\", "\x1b(B", "\x1b[0m", "\x1b[2K", "\x1b[K"),
        *("\x1b[1G", "\x9b", "\x9d", "\x9c", "\x07", "\r", "\n", "\r\n", "\b", "_", "\x00" * 9),
        *("m", "12;3", "a", "é", "\u200b", "\u202e", "\ud800", "\udc00", "\udc02", "<U+0007>"),
    ]
)
hostile_text = st.lists(pieces, max_size=40).map("".join) | any_text


@given(hostile_text)
@example("\x1b\x9b0m[31m")
def test_a_cleaned_text_holds_nothing_that_acts_or_hides(text: str) -> None:
    cleaned = clean(text)
    assert not NOTHING_ELSE.search(cleaned.text)
    assert "Cf" not in {unicodedata.category(c) for c in cleaned.text}
    cleaned.text.encode()
    assert all(count > 0 for count in cleaned.counts.values())
    again = clean(cleaned.text)
    assert again.text is cleaned.text
    assert again.counts == {}


@given(st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Cn", "Zl", "Zp", "Mn", "Lo"))))
def test_a_text_without_anything_to_clean_is_returned_as_it_is(text: str) -> None:
    assert clean(text).text is text


@pytest.mark.parametrize(
    ("text", "shown", "escapes"),
    [
        ("a\x1b[1;31mred\x1b[0m\n", "ared\n", 2),
        ("\x1b[?25l\x1b[>4;2mx", "x", 2),
        ("a\x9b31mb", "ab", 1),
        ("\x1b]0;title\x07x", "x", 1),
        ("\x1b]8;;https://example.com\x1b\\link\x1b]8;;\x1b\\", "link", 2),
        ("\x1b]52;c;c2VjcmV0\x07x", "x", 1),
        ("\x9d0;title\x9cx", "x", 1),
        ("\x1bP1$r0m\x1b\\x", "x", 1),
        ("\x1b_apc\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\\x1bktitle\x1b\\x", "x", 4),
        ("\x1b(B\x1b)0\x1b#8\x1b%G\x1b7\x1bM\x1bcx", "x", 7),
        ("\x1b]P0123456x", "x", 1),
        # What does not end loses its start only.
        ("\x1b]0;never\nnext", "0;never\nnext", 1),
        ("\x1bPnever\nnext", "never\nnext", 1),
        ("\x1b[12\nnext", "\nnext", 1),
        ("\x1b[" + "1" * 300 + "m", "1" * 44 + "m", 1),
        ("\x1b]" + "a" * 10_000 + "\x07", "a" * 10_000 + "<U+0007>", 1),
    ],
)
def test_escape_sequences_are_removed(text: str, shown: str, escapes: int) -> None:
    cleaned = clean(text)
    assert cleaned.text == shown
    assert cleaned.counts["escapes"] == escapes


def test_pieces_of_double_encoded_text_are_no_escape_sequences() -> None:
    text = "ě said ” and “".encode().decode("latin-1") + " →"
    assert "escapes" not in clean(text).counts
    assert without_marks(clean(text).text).endswith(" →")


@pytest.mark.parametrize(
    ("text", "shown", "counts"),
    [
        ("bell\x07", "bell<U+0007>", {"controls": 1}),
        ("\x1b", "<U+001B>", {"controls": 1}),
        ("a\x7fb\x85", "a<U+007F>b<U+0085>", {"controls": 2}),
        ("\x00" * 4096, "<U+0000 x4096>", {"controls": 4096}),
        ("\x00a", "<U+0000>a", {"controls": 1}),
        ("a\u202eb\u2066", "a<U+202E>b<U+2066>", {"invisible": 2}),
        ("a\u200b\ufeff\U000e0041", "a<U+200B><U+FEFF><U+E0041>", {"invisible": 3}),
        ("\u2764\ufe0f", "\u2764<U+FE0F>", {"invisible": 1}),
        ("\ud83d\ude00", "\ufffd\ufffd", {"surrogates": 2}),
        ("N\bNA\bA_\bx_\b_+\bo", "NAx_o", {"overstrikes": 5}),
        ("-\b\\\b|", "-<U+0008>\\<U+0008>|", {"controls": 2}),
        ("".join(map(chr, (*range(13), *range(14, 32)))), None, {"controls": 29}),
    ],
)
def test_what_was_changed_is_counted(text: str, shown: str | None, counts: dict[str, int]) -> None:
    cleaned = clean(text)
    assert shown is None or cleaned.text == shown
    assert cleaned.counts == counts


def test_every_format_character_of_unicode_is_made_visible() -> None:
    formats = [c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) == "Cf"]
    assert {"\u0600", "\u06dd", "\U000110bd", "\U00013430", "\U00013438"} <= {*formats}
    assert clean("".join(formats)).text == "".join(f"<U+{ord(c):04X}>" for c in formats)
    for character in formats:
        assert clean(f"a{character}b").text == f"a<U+{ord(character):04X}>b"


@pytest.mark.parametrize(
    ("text", "shown", "lines"),
    [
        ("50%\r100%\n", "100%\n", 1),
        ("100%\r50%\n", "50%%\n", 1),
        ("abcdef\r12\rX", "X2cdef", 1),
        ("10%\r20%\r", "20%", 1),
        ("a\rb\nc\rd\ne\n", "b\nd\ne\n", 2),
        ("one\r\ntwo\r\n", "one\ntwo\n", 0),
        ("one\r\r\ntwo\n", "one\ntwo\n", 0),
        ("10%\r20%\r\nx", "20%\nx", 1),
        ("a long line\r\x1b[Kok\n", "ok\n", 1),
        ("a long line\x1b[2K\rok\n", "ok\n", 1),
        ("a long line\x1b[1G\x1b[0Kok\n", "ok\n", 1),
        ("abc\r\x1b[2K\n", "\n", 1),
        ("ab\x1b[2Kcd\rX", "X cd", 1),
        ("åäö\rab", "abö", 1),
    ],
)
def test_a_line_written_over_is_shown_as_it_stood_at_last(
    text: str, shown: str, lines: int
) -> None:
    cleaned = clean(text)
    assert cleaned.text == shown
    assert cleaned.counts.get("progress_lines", 0) == lines


@given(st.lists(st.text("abc", max_size=6), min_size=1, max_size=8))
def test_folding_overwrites_from_the_left(parts: list[str]) -> None:
    screen: list[str] = []
    for part in parts:
        screen[: len(part)] = part
    assert clean("\r".join(parts)).text == "".join(screen)


@given(any_text)
def test_double_encoding_is_undone(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    twice = text.encode().decode("latin-1")
    assert repair(twice) == (None if text.isascii() else text)


@given(st.text(st.characters(max_codepoint=0xFF), min_size=1))
def test_a_latin_1_text_that_is_no_utf_8_is_left_alone(text: str) -> None:
    repaired = repair(text)
    try:
        proper = text.encode("latin-1").decode()
    except UnicodeDecodeError:
        # Cut at an end, at most, with something whole in between.
        assert repaired is None or not repaired.isascii()
        assert repair(f"word {text} word") is None
    else:
        assert repaired == (None if proper.isascii() else proper)


@given(any_text)
def test_a_text_with_any_other_character_is_left_alone(text: str) -> None:
    assert repair(text + "→") is None


@given(st.text("åäö€😀", min_size=3), st.integers(0, 3), st.integers(0, 3))
def test_a_double_encoded_text_cut_inside_a_character_is_repaired(
    text: str, start: int, end: int
) -> None:
    raw = text.encode()
    cut = raw[start : len(raw) - end].decode("latin-1")
    proper = raw[start : len(raw) - end].decode("utf-8", "ignore")
    repaired = repair(cut)
    if proper:
        assert repaired is not None
        assert proper in repaired
        assert len(repaired) - len(proper) <= 6


@pytest.mark.parametrize("text", ["", "plain", "åäö", "café", "naïve café ®", "§ 5"])
def test_ordinary_latin_1_is_not_repaired(text: str) -> None:
    assert repair(text) is None
