"""stdout as the wire of MCP: nothing else reaches it, and what has left is told."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from io import BufferedWriter, TextIOWrapper
from typing import Final

import anyio
import anyio.from_thread

from hostup_mcp.receipts import Receipts

_STDOUT: Final = 1
_STDERR: Final = 2


@contextmanager
def stdout_wire(receipts: Receipts) -> Generator[anyio.AsyncFile[str] | None]:
    """The file that messages are written to, while the block runs.

    File descriptor 1 points at stderr meanwhile, so that a stray print, or a child's, goes there.

    Args:
        receipts: told what was written and flushed.

    Yields:
        The file for the SDK's `stdio_server`; None where descriptors cannot be moved (Windows), for
        which the SDK has a way of its own.
    """
    if sys.platform == "win32":
        yield None
        return
    private = os.dup(_STDOUT)
    try:
        os.dup2(_STDERR, _STDOUT)
    except OSError:  # stderr is closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
    try:
        # Not closed: a thread may still be writing when the block has ended.
        raw = os.fdopen(private, "wb", closefd=False)
        yield anyio.wrap_file(_Wire(raw, receipts))
    finally:
        os.dup2(private, _STDOUT)


class _Wire(TextIOWrapper):
    """A text file that tells what was flushed. Written to from worker threads of anyio."""

    def __init__(self, raw: BufferedWriter, receipts: Receipts) -> None:
        super().__init__(raw, encoding="utf-8", newline="\n")
        self._receipts = receipts
        self._unflushed = ""

    def write(self, text: str, /) -> int:
        """Write, and remember it until it is flushed."""
        self._unflushed += text
        return super().write(text)

    def flush(self) -> None:
        """Flush, and tell what has gone."""
        super().flush()
        gone, self._unflushed = self._unflushed, ""
        if gone and self._receipts.is_waiting:
            anyio.from_thread.run_sync(self._receipts.went_out, gone.encode())
