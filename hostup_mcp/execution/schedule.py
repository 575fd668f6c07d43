"""Says when to poll: soon at first, then less and less often, and for how long.

The figures come from a search with `benchmarks/polling.py`. A command of ten minutes takes at most
43 polls, however the dice fall, and its answer is at most 30 s late; a shorter command's answer is
late by at most a third of the command's own time. For commands whose length nobody knows, a pause
in proportion to the time that has passed gives the least relative lateness for a number of polls.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Final

from hostup_mcp.hostup.errors import RateLimited

_CALL_SECONDS: Final = 10.0
"""A caller whose calls wait so long pauses between them for as long as the command has run."""
_LEAST_WAIT_SECONDS: Final = 2.0
_PAUSE_MAX_SECONDS: Final = 60.0
_PAUSE_MAX_SHARE: Final = 0.25
_PAUSE_LIMIT_SECONDS: Final = 900.0
_RATE_LIMIT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """How long to go on, in seconds.

    Attributes:
        lost_after: how long HostUp must deny a started command, without a break, before its
            result counts as lost.
        retry_after_longest: the longest `Retry-After` that a poll obeys.
        start: how long a start that certainly did not arrive is retried.
        reap: how long after its start a command is polled for that nobody waits for.
    """

    lost_after: float = 15.0
    retry_after_longest: float = 900.0
    start: float = 30.0
    reap: float = 86_400.0


def rate_limit_pause(error: RateLimited, *, zero_is_unsaid: bool = False) -> float:
    """Seconds to wait after a 429: what HostUp asks for, or 5 if it asks for nothing.

    Args:
        error: the 429.
        zero_is_unsaid: whether asking for 0 s counts as asking for nothing.
    """
    asked = error.rate_limit.retry_after if error.rate_limit else None
    if asked is None or (zero_is_unsaid and asked == 0):
        return _RATE_LIMIT_SECONDS
    return asked


@dataclass(frozen=True, slots=True)
class Schedule:
    """The pause before each poll, in seconds.

    Attributes:
        first: the pause before the first poll; most commands have ended by then.
        shortest: the least pause after that.
        longest: the greatest pause, before `jitter`.
        growth: the pause as a share of the time that has passed. An answer is late by at most
            about this share of the command's own time.
        jitter: the share by which a pause may be longer or shorter, so that commands that started
            together are not polled together.
        dice: where the jitter comes from.
    """

    first: float = 0.022
    shortest: float = 0.15
    longest: float = 28.3
    growth: float = 0.32
    jitter: float = 0.05
    dice: Random = field(default_factory=Random, repr=False, compare=False)

    def pause(self, polls: int, elapsed: float) -> float:
        """Seconds until the next poll, after so many polls and so many seconds."""
        if polls == 0:
            pause = self.first
        else:
            # An operator may set `longest` below `shortest`: then `longest` holds.
            pause = min(self.longest, max(self.shortest, elapsed * self.growth))
        return pause * (1 + self.jitter * (2 * self.dice.random() - 1))

    def suggest(self, elapsed: float, waited: float) -> tuple[int, str]:
        """When a caller whose wait has ended should ask again.

        The shorter a caller's calls wait, the longer it should pause between them: else a command
        of four minutes would cost it dozens of calls. The pause is at most a minute, or a quarter
        of the time that has passed if that is more.

        Args:
            elapsed: seconds that the command has run.
            waited: seconds that this call has waited.

        Returns:
            Whole seconds, and the reason in a few words.
        """
        wanted = elapsed * _CALL_SECONDS / max(waited, _LEAST_WAIT_SECONDS)
        bound = max(_PAUSE_MAX_SECONDS, elapsed * _PAUSE_MAX_SHARE)
        seconds = max(1, round(min(wanted, bound, _PAUSE_LIMIT_SECONDS)))
        if seconds <= elapsed:
            return seconds, f"most commands that ran for {elapsed:.0f} s run for {seconds} s more"
        return seconds, f"a call waits only {waited:.0f} s here; a longer pause saves calls"
