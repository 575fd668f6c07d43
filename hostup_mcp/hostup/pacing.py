"""Reads what HostUp's headers say about its rate limit.

Source: https://developer.hostup.se/errors/rate_limit_exceeded and /errors/rate_limited.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final


@dataclass(frozen=True, slots=True)
class RateLimit:
    """The rate-limit headers of one reply; a header that is absent or unreadable is None.

    Attributes:
        limit: `X-RateLimit-Limit`, requests per window.
        remaining: `X-RateLimit-Remaining`, requests left in this window.
        reset_at: `X-RateLimit-Reset`, when the window ends. The page gives an ISO timestamp.
        retry_after: seconds from now until a new attempt is welcome, never negative.
            From `Retry-After` (the page gives seconds; RFC 9110 also allows an HTTP date),
            else from `reset_at`.
    """

    limit: int | None
    remaining: int | None
    reset_at: datetime | None
    retry_after: float | None


UNTOLD: Final = RateLimit(limit=None, remaining=None, reset_at=None, retry_after=None)
"""For a reply without such headers, or whose headers are not available."""


def parse_rate_limit(headers: Mapping[str, str], now: datetime) -> RateLimit:
    """Read the rate-limit headers, tolerantly.

    Args:
        headers: reply headers with lower-case names.
        now: the current time, with time zone.
    """
    reset_at = _iso_time(headers.get("x-ratelimit-reset"))
    retry_after = _retry_after(headers.get("retry-after"), now)
    if retry_after is None and reset_at is not None:
        retry_after = max(0.0, (reset_at - now).total_seconds())
    return RateLimit(
        limit=_count(headers.get("x-ratelimit-limit")),
        remaining=_count(headers.get("x-ratelimit-remaining")),
        reset_at=reset_at,
        retry_after=retry_after,
    )


def _count(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None


def _iso_time(text: str | None) -> datetime | None:
    try:
        time = datetime.fromisoformat((text or "").strip())
    except (ValueError, OverflowError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _retry_after(text: str | None, now: datetime) -> float | None:
    seconds = _count(text)
    if seconds is not None:
        return float(seconds)
    try:
        date = parsedate_to_datetime((text or "").strip())
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        return max(0.0, (date - now).total_seconds())
    except (ValueError, OverflowError):
        return None
