"""Logging: to stderr only, and never with the API key or another secret in it."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable


class _RedactingFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._secrets: list[str] = []

    def hide(self, secrets: Iterable[str]) -> None:
        """Replace these from now on; empty ones count for nothing."""
        forms = set(self._secrets)
        for secret in filter(None, secrets):
            # A library may log it as a repr or as JSON, where some characters are escaped.
            forms |= {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1]}
        self._secrets = sorted(forms, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """The finished line, traceback and all, without the secret."""
        line = super().format(record)
        for secret in self._secrets:
            line = line.replace(secret, "[redacted]")
        return line


_formatter = _RedactingFormatter()

# They log whole messages, which hold commands and their output: at level debug, and where a
# message cannot be parsed, with the traceback.
_TALKATIVE = ("mcp.server.sse", "sse_starlette")

# What uvicorn warns of whenever a client, with no token needed, sends what it cannot use. The
# client is told so; a log that strangers can fill is for debugging only.
_OF_STRANGERS = (
    "Invalid HTTP request received.",
    "Unsupported upgrade request.",
    "No supported WebSocket library detected.",
)


def _unless_of_strangers(record: logging.LogRecord) -> bool:
    is_debugging = logging.getLogger().level <= logging.DEBUG
    return is_debugging or not record.getMessage().startswith(_OF_STRANGERS)


def _without_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = None
    return True


def configure(level: str, secret: str) -> None:
    """Send all logging to stderr.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        secret: replaced wherever it would be written; may be empty.
    """
    _formatter.hide([secret])
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _TALKATIVE:
        talkative = logging.getLogger(name)
        talkative.setLevel(max(root.level, logging.INFO))
        talkative.addFilter(_without_traceback)
    logging.getLogger("uvicorn.error").addFilter(_unless_of_strangers)


def hide(secrets: Iterable[str]) -> None:
    """Replace these secrets too wherever they would be written."""
    _formatter.hide(secrets)
