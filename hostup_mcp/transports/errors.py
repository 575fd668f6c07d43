"""Why serving cannot begin, or cannot go on."""

from __future__ import annotations


class ServeError(Exception):
    """`code`, one sentence on what is wrong, one on what to do."""

    def __init__(self, code: str, message: str, advice: str) -> None:
        super().__init__(f"{message} {advice}")
        self.code = code
        self.message = message
        self.advice = advice


class StdoutFailed(ServeError):
    """stdout takes nothing more, for a reason other than a client that has gone."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            "stdout_failed",
            f"Answers cannot be written to stdout ({reason}).",
            "Check what stdout is connected to.",
        )
