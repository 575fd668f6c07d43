"""Text that can travel: what a JSON-RPC message must not carry is replaced.

A later version also cleans escape sequences, invisible characters and secrets; see
docs/architecture.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import cast

from pydantic import JsonValue

_SURROGATE = re.compile(r"[\ud800-\udfff]")


def encodable(text: str) -> str:
    """The text with every lone surrogate replaced by U+FFFD.

    A lone surrogate cannot be encoded as UTF-8; one in a message ends an MCP stdio server.
    """
    return _SURROGATE.sub("\ufffd", text)


def encodable_json(value: object) -> JsonValue:
    """Plain data as JSON, with every text in it made `encodable`.

    Raises:
        TypeError: it holds something that JSON has no form for.
    """
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, Sequence):
        return [encodable_json(item) for item in cast("Sequence[object]", value)]
    if isinstance(value, Mapping):
        items = cast("Mapping[str, object]", value).items()
        return {encodable(name): encodable_json(item) for name, item in items}
    if value is None or isinstance(value, bool | int | float):
        return value
    raise TypeError(f"no JSON form for {type(value).__name__}")


def one_line(text: str, limit: int = 200) -> str:
    """The text on one line without control characters, at most `limit` characters long."""
    flat = "".join(c if c.isprintable() else " " for c in encodable(text))
    flat = " ".join(flat.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
