"""Logging to stderr, without the API key or other secrets."""

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
        """Replace these secrets from now on; empty ones are ignored."""
        forms = set(self._secrets)
        for secret in filter(None, secrets):
            # A library may log it as a repr or as JSON, with some characters escaped.
            forms |= {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1]}
        self._secrets = sorted(forms, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """The whole line with its traceback, without the secrets."""
        line = super().format(record)
        for secret in self._secrets:
            line = line.replace(secret, "[redacted]")
        return line


_formatter = _RedactingFormatter()

# At level debug, and in the traceback of a message that cannot be parsed, these log whole messages
# with commands and their output.
_TALKATIVE = ("mcp.server.sse", "sse_starlette")

# Uvicorn's warnings about requests that it cannot use. A client needs no token to cause them, so
# they are logged only at level debug; otherwise strangers could fill the log.
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
        secret: replaced in every line; may be empty.
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
    """Replace these secrets in every line, too."""
    _formatter.hide(secrets)
