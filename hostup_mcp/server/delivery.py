"""Notes which answers went out: a result counts as told once its bytes have left.

A call that has made its answer does not know whether a client is still there to take it, so a
transport says what it wrote. What never went out stays unread in the journal, and the same order,
when it comes again, is answered with it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

_MOST_EXPECTED: Final = 1000
_IS_ANSWER: Final = b'"result"'
"""Progress carries the handle too; only an answer has this key, since inside text it is escaped."""


class Receipts:
    """Answers that are on their way. Used from the event loop only."""

    def __init__(self) -> None:
        self._expected: OrderedDict[bytes, Callable[[], None]] = OrderedDict()

    @property
    def is_waiting(self) -> bool:
        """Whether any answer is on its way."""
        return bool(self._expected)

    def expect(self, exec_id: str, then: Callable[[], None]) -> None:
        """An answer with this handle is about to go out.

        Args:
            exec_id: the handle that stands in the answer.
            then: called once, when that has gone out. Never, if it does not, or if a thousand
                others were expected since.
        """
        self._expected[exec_id.encode()] = then
        if len(self._expected) > _MOST_EXPECTED:
            self._expected.popitem(last=False)

    def went_out(self, data: bytes) -> None:
        """These bytes, with one whole message or more, were written to a client that is there."""
        if not self._expected or _IS_ANSWER not in data:
            return
        for handle in [handle for handle in self._expected if handle in data]:
            self._expected.pop(handle)()
