"""When HostUp answered last."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from hostup_mcp.hostup.http import MAX_REPLY_BYTES, HttpTransport, Reply, Timeouts


class ContactTransport(HttpTransport):
    """HTTP to HostUp's origin that notes when a reply came.

    Attributes:
        last_reply_at: when the last reply was here whole, in seconds of the monotonic clock; None
            before the first. Any status counts.
    """

    def __init__(self, origin: str, timeouts: Timeouts) -> None:
        super().__init__(origin, timeouts)
        self.last_reply_at: float | None = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        query: Sequence[tuple[str, str]] = (),
        json_body: Mapping[str, str] | None = None,
        max_bytes: int = MAX_REPLY_BYTES,
    ) -> Reply:
        """As the transport does it, with the time noted."""
        reply = await super().request(
            method, path, headers=headers, query=query, json_body=json_body, max_bytes=max_bytes
        )
        self.last_reply_at = time.monotonic()
        return reply
