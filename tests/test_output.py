"""Text that can travel, and logs: small pieces, each with its property."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostup_mcp import logs
from hostup_mcp.output.clean import encodable, encodable_json, one_line

any_text = st.text(st.characters(exclude_categories=()))


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
