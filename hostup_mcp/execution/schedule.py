"""When to ask for a result: soon at first, then less and less often."""

from __future__ import annotations

from dataclasses import dataclass

_SUGGESTED_MIN_SECONDS = 2
_SUGGESTED_MAX_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Schedule:
    """The pause before each poll, in seconds.

    Attributes:
        first: pause before the first poll; most commands have ended by then.
        shortest: the least pause after that.
        longest: the greatest pause.
        growth: the pause as a share of the time that has passed, so that an answer is late by
            at most about this share of the command's own time.
    """

    first: float = 0.05
    shortest: float = 0.2
    longest: float = 15.0
    growth: float = 0.15

    def pause(self, polls: int, elapsed: float) -> float:
        """Seconds until the next poll, after so many polls and so many seconds."""
        if polls == 0:
            return self.first
        return min(self.longest, max(self.shortest, elapsed * self.growth))

    def suggest(self, elapsed: float) -> int:
        """Whole seconds after which a caller who stopped waiting may sensibly ask again."""
        return round(min(_SUGGESTED_MAX_SECONDS, max(_SUGGESTED_MIN_SECONDS, elapsed / 2)))
