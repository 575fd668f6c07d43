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

# Of each principal, so that one that is refused all the time does not hide another.
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
    """Notes refusals: who, where, why, and at level info the command without known secrets."""

    def __init__(self, secret: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing was refused yet.

        Args:
            secret: HostUp's key, which no line holds.
            clock: seconds from any moment on.
        """
        self._secret = secret
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def note(
        self, principal: str, vps_id: object, command: object, code: str, policy: str = ""
    ) -> None:
        """Log one refusal; VPS and command are what the caller gave, whatever it is."""
        bucket = self._bucket(principal)
        if bucket.left < 1:
            if not bucket.unlogged:
                _logger.warning("more refusals of principal %s are counted only", _text(principal))
            bucket.unlogged += 1
            return
        bucket.left -= 1
        more = f"; {bucket.unlogged} more were not logged" if bucket.unlogged else ""
        bucket.unlogged = 0
        shown = ""
        if _logger.isEnabledFor(logging.INFO):
            # Secrets are looked for before anything is cut off or escaped.
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
    """On one line of printable ASCII: quoted, with everything else escaped."""
    cut = text if len(text) <= longest else text[:longest] + "…"
    return json.dumps(cut).replace("\x7f", "\\u007f")
