"""Notes which answers went out: a result counts as told once its bytes have left.

When an answer is ready, the tool call cannot see whether the client is still connected. So the
transport reports what it wrote. A result that was never written stays unread in the journal, and a
duplicate of its command is answered with it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

_MOST_EXPECTED: Final = 1000
_IS_ANSWER: Final = b'"result"'
"""Only an answer has this key: progress has the exec_id without it, and texts escape the quotes."""


class Receipts:
    """Answers that wait to be sent. Used from the event loop only."""

    def __init__(self) -> None:
        self._expected: OrderedDict[bytes, Callable[[], None]] = OrderedDict()

    @property
    def is_waiting(self) -> bool:
        """Whether any answer waits to be sent."""
        return bool(self._expected)

    def expect(self, exec_id: str, then: Callable[[], None]) -> None:
        """Watch for the answer with this exec_id.

        Args:
            exec_id: the id that the answer contains.
            then: called once, when the answer was sent. Never called if it is not sent, or if
                1,000 more answers were expected after it.
        """
        self._expected[exec_id.encode()] = then
        if len(self._expected) > _MOST_EXPECTED:
            self._expected.popitem(last=False)

    def went_out(self, data: bytes) -> None:
        """Note that these bytes, one or more whole messages, were written to a connected client."""
        if not self._expected or _IS_ANSWER not in data:
            return
        for handle in [handle for handle in self._expected if handle in data]:
            self._expected.pop(handle)()
