"""When to ask for a result: soon at first, then less and less often.

The figures come from a search with `benchmarks/polling.py`: within 43 polls for a command of ten
minutes, however the dice fall, and an answer that is late by at most 30 s there and by a third of
the command's own time before. For commands whose length nobody knows, a pause in proportion to
the time that has passed gives the least relative lateness for a number of polls.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Final

_CALL_SECONDS: Final = 10.0
"""What one more call is worth to a caller: one that can wait so long pauses as long as it ran."""
_LEAST_WAIT_SECONDS: Final = 2.0
_PAUSE_MAX_SECONDS: Final = 60.0
_PAUSE_MAX_SHARE: Final = 0.25
_PAUSE_LIMIT_SECONDS: Final = 900.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """The pause before each poll, in seconds.

    Attributes:
        first: pause before the first poll; most commands have ended by then.
        shortest: the least pause after that.
        longest: the greatest pause, before `jitter`.
        growth: the pause as a share of the time that has passed, so that an answer is late by
            at most about this share of the command's own time.
        jitter: the share by which a pause may be longer or shorter, so that commands that were
            started together are not asked for together.
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
            # A longest pause that is set below the shortest rules: it is the operator's word.
            pause = min(self.longest, max(self.shortest, elapsed * self.growth))
        return pause * (1 + self.jitter * (2 * self.dice.random() - 1))

    def suggest(self, elapsed: float, waited: float) -> tuple[int, str]:
        """When a caller whose wait has ended should ask again.

        The less a caller can wait in one call, the longer it should pause between calls: else a
        job of four minutes would cost it dozens of calls. Up to four minutes the pause is at most
        a minute, later a quarter of the time that has passed.

        Args:
            elapsed: for how long the command has run.
            waited: for how long this call has waited.

        Returns:
            Whole seconds, and the reason in a few words.
        """
        wanted = elapsed * _CALL_SECONDS / max(waited, _LEAST_WAIT_SECONDS)
        bound = max(_PAUSE_MAX_SECONDS, elapsed * _PAUSE_MAX_SHARE)
        seconds = max(1, round(min(wanted, bound, _PAUSE_LIMIT_SECONDS)))
        if seconds <= elapsed:
            return seconds, f"most commands that ran for {elapsed:.0f} s run for {seconds} s more"
        return seconds, f"a call waits for {waited:.0f} s here, so asking seldom saves calls"
