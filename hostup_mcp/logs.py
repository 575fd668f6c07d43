"""Logging: to stderr only, and never with the API key in it."""

from __future__ import annotations

import logging
import sys


class _RedactingFormatter(logging.Formatter):
    def __init__(self, secret: str) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._secret = secret

    def format(self, record: logging.LogRecord) -> str:
        """The finished line, traceback and all, without the secret."""
        line = super().format(record)
        return line.replace(self._secret, "[redacted]") if self._secret else line


def configure(level: str, secret: str) -> None:
    """Send all logging to stderr.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        secret: replaced wherever it would be written; may be empty.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_RedactingFormatter(secret))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
