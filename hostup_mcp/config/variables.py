"""Variables of the environment that are meant for this program and that nobody reads.

One that is written a little wrong would be passed over, and the server would start with another
policy than the one that was set.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import Final

# A cluster gives each container variables of its own for every service, such as one named
# `hostup-mcp` (Kubernetes, "Environment variables" of a Service).
_OF_A_SERVICE: Final = re.compile(r".*_(?:SERVICE_(?:HOST|PORT)(?:_.*)?|PORT(?:_[0-9]+_.*)?)")
_OTHER_NAMES: Final = (
    (re.compile(r"HOSTUP_(?:MCP_)?CONFIG(?:_?(?:FILE|PATH))?"), "HOSTUP_MCP_CONFIG"),
    (re.compile(r"HOSTUP_(?:MCP_)?(?:POLICY_?)?PRESET"), "HOSTUP_MCP__POLICY__PRESET"),
    (re.compile(r"HOSTUP_(?:MCP_)?(?:POLICY_?)?NETWORK"), "HOSTUP_MCP__POLICY__NETWORK"),
    (re.compile(r"HOSTUP_(?:MCP_)?POLICY"), "HOSTUP_MCP__POLICY__PRESET"),
)


def meant_by(name: str, known: AbstractSet[str]) -> str:
    """The variable that this one is a misspelling of; empty if it is none.

    Args:
        name: of any variable.
        known: those that are read.
    """
    plain = _plain(name)
    if name in known or not plain.startswith("HOSTUP_") or _OF_A_SERVICE.fullmatch(plain):
        return ""
    spelled = next((other for other in sorted(known) if _plain(other) == plain), "")
    others = (meant for pattern, meant in _OTHER_NAMES if pattern.fullmatch(plain))
    return spelled or next(others, "")


def _plain(name: str) -> str:
    """Without the differences that are easily missed: letter case, dashes, how many underscores."""
    return re.sub(r"[_.-]+", "_", name.upper()).strip("_")
