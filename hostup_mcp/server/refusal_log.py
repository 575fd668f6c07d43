"""Logs a line for each refused command, at a bounded rate."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hostup_mcp.output.clean import clean
from hostup_mcp.output.redact import redact

# Per principal, so that one with many refusals does not hide another's.
_BURST: Final = 20.0
_PER_SECOND: Final = 0.5
_LONGEST: Final = 500
_LONGEST_NAME: Final = 100

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float
    unlogged: int = 0


class RefusalLog:
    """Logs refusals: principal, VPS, code, policy; at level info also the redacted command."""

    def __init__(self, secret: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        """Start with no refusals.

        Args:
            secret: HostUp's key, which is removed from every line.
            clock: monotonic time in seconds.
        """
        self._secret = secret
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def note(
        self, principal: str, vps_id: object, command: object, code: str, policy: str = ""
    ) -> None:
        """Log one refusal. VPS and command are the caller's raw arguments, of any type."""
        bucket = self._bucket(principal)
        if bucket.left < 1:
            if not bucket.unlogged:
                _logger.warning(
                    "principal %s: further refusals are counted, not logged", _text(principal)
                )
            bucket.unlogged += 1
            return
        bucket.left -= 1
        more = f"; {bucket.unlogged} more were not logged" if bucket.unlogged else ""
        bucket.unlogged = 0
        shown = ""
        if _logger.isEnabledFor(logging.INFO):
            # Redact first: cutting or escaping could hide part of a secret from the rules.
            text = redact(clean(_given(command)).text, self._secret).text
            shown = f" command={_text(text, _LONGEST)}"
        _logger.warning(
            "refused: principal=%s vps=%s code=%s policy=%s%s%s",
            *map(_text, (principal, _given(vps_id), code, policy)),
            shown,
            more,
        )

    def _bucket(self, principal: str) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.setdefault(principal, _Bucket(_BURST, now))
        bucket.left = min(_BURST, bucket.left + (now - bucket.at) * _PER_SECOND)
        bucket.at = now
        return bucket


def _given(value: object) -> str:
    return value if isinstance(value, str) else ""


def _text(text: str, longest: int = _LONGEST_NAME) -> str:
    """The text as one quoted line of printable ASCII; other characters are escaped."""
    cut = text if len(text) <= longest else text[:longest] + "…"
    return json.dumps(cut).replace("\x7f", "\\u007f")
