"""Text that can travel: what a JSON-RPC message must not carry is replaced.

A later version also cleans escape sequences, invisible characters and secrets; see
docs/architecture.md.
"""

from __future__ import annotations

import re

_SURROGATE = re.compile(r"[\ud800-\udfff]")


def encodable(text: str) -> str:
    """The text with every lone surrogate replaced by U+FFFD.

    A lone surrogate cannot be encoded as UTF-8; one in a message ends an MCP stdio server.
    """
    return _SURROGATE.sub("\ufffd", text)


def one_line(text: str, limit: int = 200) -> str:
    """The text on one line without control characters, at most `limit` characters long."""
    flat = "".join(c if c.isprintable() else " " for c in encodable(text))
    flat = " ".join(flat.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
