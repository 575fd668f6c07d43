"""The error of a server that cannot start, or cannot go on."""

from __future__ import annotations


class ServeError(Exception):
    """A `code`; a `message`, which says what is wrong; an `advice`, which says what to do."""

    def __init__(self, code: str, message: str, advice: str) -> None:
        super().__init__(f"{message} {advice}")
        self.code = code
        self.message = message
        self.advice = advice


class StdoutFailed(ServeError):
    """stdout cannot be written, and not because the client has left."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            "stdout_failed",
            f"Answers cannot be written to stdout ({reason}).",
            "Check what stdout is connected to.",
        )
