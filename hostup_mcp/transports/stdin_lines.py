"""stdin as lines of a bounded length, while nothing else can read it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from io import BufferedReader, TextIOWrapper
from typing import Final

import anyio

LONGEST: Final = 4 * 1024 * 1024
"""Characters of a line; our longest arguments, escaped, are far below."""

_STDIN: Final = 0

_logger = logging.getLogger(__name__)


@contextmanager
def stdin_lines(ended: Callable[[], None]) -> Generator[anyio.AsyncFile[str] | None]:
    """The file that messages are read from, while the block runs.

    File descriptor 0 points at nothing meanwhile, so that no child reads what is meant for us.

    Args:
        ended: called at the end of stdin, in the thread that reads.

    Yields:
        The file for the SDK's `stdio_server`; None where descriptors cannot be moved (Windows), for
        which the SDK has a way of its own.
    """
    if sys.platform == "win32":
        yield None
        return
    private = os.dup(_STDIN)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, _STDIN)
    os.close(nothing)
    try:
        # Not closed: a thread may still be reading when the block has ended.
        yield anyio.wrap_file(_BoundedLines(os.fdopen(private, "rb", closefd=False), ended))
    finally:
        os.dup2(private, _STDIN)


class _BoundedLines(TextIOWrapper):
    """Text that leaves out lines over the limit; a line without end would fill the memory."""

    def __init__(self, raw: BufferedReader, ended: Callable[[], None]) -> None:
        super().__init__(raw, encoding="utf-8", errors="replace", newline="\n")
        self._ended = ended

    def readline(self, _size: int = -1, /) -> str:
        """The next line that is not too long; empty at the end."""
        while True:
            line = super().readline(LONGEST)
            if len(line) < LONGEST or line.endswith("\n"):
                if not line:
                    self._ended()
                return line
            _logger.warning("a line of over %d characters on stdin was left out", LONGEST)
            while line and not line.endswith("\n"):
                line = super().readline(LONGEST)
