"""Rate-limit headers, in the documented form and in every other that may come."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostup_mcp.hostup.pacing import parse_rate_limit

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "retry_after"),
    [
        ({}, None),
        ({"retry-after": "30"}, 30),
        ({"retry-after": " 30 "}, 30),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "Tue, 24 Nov 2026 12:01:00 GMT"}, 60),
        ({"retry-after": "Tue, 24 Nov 2026 11:00:00 GMT"}, 0),
        ({"retry-after": "Tue, 24 Nov 2026 12:01:00"}, 60),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1e3"}, None),
        ({"retry-after": "soon"}, None),
        ({"x-ratelimit-reset": "2026-11-24T12:00:45.000Z"}, 45),
        ({"x-ratelimit-reset": "2026-11-24T12:00:45"}, 45),
        ({"x-ratelimit-reset": "2026-11-24T13:00:45+01:00"}, 45),
        ({"retry-after": "7", "x-ratelimit-reset": "2026-11-24T12:00:45Z"}, 7),
        ({"retry-after": "soon", "x-ratelimit-reset": "2026-11-24T12:00:45Z"}, 45),
        ({"x-ratelimit-reset": "1790000000"}, None),
        ({"retry-after": "Mon, 01 Jan 2024 00:00:00 +99999999999999"}, None),
        ({"retry-after": "Mon, 01 Jan 0001 00:00:00 +2359"}, 0),
        ({"x-ratelimit-reset": "0001-01-01T00:00:00+23:59"}, 0),
        ({"x-ratelimit-reset": "9999-12-31T23:59:59-23:59"}, 251606865539),
    ],
)
def test_when_to_try_again(headers: dict[str, str], retry_after: float | None) -> None:
    assert parse_rate_limit(headers, NOW).retry_after == retry_after


def test_the_counts() -> None:
    limit = parse_rate_limit({"x-ratelimit-limit": "100", "x-ratelimit-remaining": "x"}, NOW)
    assert (limit.limit, limit.remaining, limit.reset_at) == (100, None, None)


dates = st.from_regex(
    r"[A-Z][a-z]{2}, \d{1,2} (Jan|Feb|Dec) \d{1,5} \d\d:\d\d:\d\d [+-]?(GMT|\d{1,20})",
    fullmatch=True,
)
times = st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d([+-]\d\d:\d\d)?", fullmatch=True)


@given(st.dictionaries(
    st.sampled_from(["retry-after", "x-ratelimit-reset", "x-ratelimit-limit"]),
    st.text() | dates | times,
))  # fmt: skip
def test_no_header_can_raise_or_ask_for_the_past(headers: dict[str, str]) -> None:
    retry_after = parse_rate_limit(headers, NOW).retry_after
    assert retry_after is None or retry_after >= 0
