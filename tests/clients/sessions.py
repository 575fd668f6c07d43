"""What every client's session comes to, whoever the client is and whatever the transport."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any

TOOLS = ["list_vps", "vps_exec", "vps_exec_result"]


def check(seen: Mapping[str, Any], progress: Sequence[str], *, sees_progress: bool = True) -> None:
    """It listed the tools, ran a command, came back from a long one, and read its result later.

    Args:
        seen: the names of the tools; the structured results of a short command, of a long one at
            first, and of the same one later.
        progress: the messages that came while it waited.
        sees_progress: whether this client shows progress at all.
    """
    assert seen["tools"] == TOOLS
    assert (seen["short"]["status"], seen["short"]["exit_code"]) == ("completed", 0)
    assert seen["short"]["stdout"].startswith(f"{platform.system()} {platform.node()} ")
    assert seen["long"]["status"] == "running"
    exec_id = seen["long"]["exec_id"]
    assert seen["later"]["exec_id"] == exec_id
    assert (seen["later"]["status"], seen["later"]["exit_code"]) == ("completed", 0)
    assert seen["later"]["stdout"].strip()
    waited = [message for message in progress if exec_id in message and "running as pid" in message]
    assert bool(waited) == sees_progress
