"""Windows, cleaning, schedule and logs: small pieces, each with its property."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostup_mcp import logs
from hostup_mcp.execution.schedule import Schedule
from hostup_mcp.output.clean import encodable, encodable_json, one_line
from hostup_mcp.output.window import window

any_text = st.text(st.characters(exclude_categories=()))


@given(any_text, st.integers(2, 200))
def test_a_window_is_head_and_tail_and_counts_what_is_missing(text: str, size: int) -> None:
    shown = window(text, size)
    if len(text) <= size:
        assert shown == text
        return
    head, _, rest = shown.partition("\n[left out here: ")
    note, _, tail = rest.partition("]\n")
    assert text.startswith(head)
    assert text.endswith(tail)
    assert f"of {len(text)} characters in all" in note
    assert len(head) + len(tail) <= size


def test_a_window_is_cut_at_line_ends_and_its_counts_are_exact() -> None:
    text = "".join(f"line {n}\n" for n in range(1000))
    shown = window(text, 100)
    lines = shown.splitlines()
    (at,) = (n for n, line in enumerate(lines) if line.startswith("["))
    kept = [line for n, line in enumerate(lines) if n != at]
    assert all(line in text.splitlines() for line in kept)
    missing = 1000 - len(kept)
    assert f"{missing} line ends, of {len(text)} characters in all" in lines[at]


@given(any_text)
def test_whatever_is_shown_can_be_encoded(text: str) -> None:
    encodable(text).encode()
    flat = one_line(text, 50)
    flat.encode()
    assert len(flat) <= 50
    assert flat.isprintable()


@given(any_text)
def test_json_is_made_encodable_all_through(text: str) -> None:
    value = encodable_json({"a": [text, (text, 1, 2.5, None, True)], text: "x"})
    json.dumps(value, ensure_ascii=False).encode()
    with pytest.raises(TypeError):
        encodable_json({"a": object()})


@given(st.integers(1, 1000), st.floats(0, 10_000))
def test_the_pauses_grow_with_the_time_and_have_their_limits(polls: int, elapsed: float) -> None:
    schedule = Schedule()
    pause = schedule.pause(polls, elapsed)
    assert schedule.shortest <= pause <= schedule.longest
    assert schedule.pause(polls, elapsed + 1) >= pause
    assert schedule.pause(0, elapsed) == schedule.first
    assert 2 <= schedule.suggest(elapsed) <= 60


def test_the_key_is_kept_out_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        logs.configure("debug", "hk_secret_1")
        try:
            int("hk_secret_1 in a traceback")
        except ValueError:
            logging.getLogger("x").exception("say %s", "hk_secret_1")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    out, err = capsys.readouterr()
    assert out == ""
    assert "hk_secret_1" not in err
    assert err.count("[redacted]") == 3
