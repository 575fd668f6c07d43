"""Logging: to stderr only, and never with the API key in it."""

from __future__ import annotations

import json
import logging
import sys


class _RedactingFormatter(logging.Formatter):
    def __init__(self, secret: str) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        # A library may log it as a repr or as JSON, where some characters are escaped.
        forms = {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1]} if secret else set[str]()
        self._secrets = sorted(forms, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """The finished line, traceback and all, without the secret."""
        line = super().format(record)
        for secret in self._secrets:
            line = line.replace(secret, "[redacted]")
        return line


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
