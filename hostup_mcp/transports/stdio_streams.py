"""stdin and stdout while they carry MCP: nothing else reads the one or writes to the other."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from io import BufferedReader, BufferedWriter, TextIOWrapper
from typing import Final

import anyio
import anyio.from_thread

from hostup_mcp.server.delivery import Receipts

LONGEST_LINE: Final = 4 * 1024 * 1024
"""Characters of a line on stdin; our longest arguments, escaped, are far below."""

_STDIN: Final = 0
_STDOUT: Final = 1
_STDERR: Final = 2

_logger = logging.getLogger(__name__)

_Stream = anyio.AsyncFile[str]


@contextmanager
def stdio_streams(
    stdin_ended: Callable[[], None], receipts: Receipts
) -> Generator[tuple[_Stream | None, _Stream | None]]:
    """Keep stdin and stdout for MCP while the block runs.

    Meanwhile file descriptor 0 reads nothing, so a child process cannot take a message. File
    descriptor 1 writes to stderr, so a stray print, or a child's output, cannot reach the client.

    Args:
        stdin_ended: called at the end of stdin, in the thread that reads.
        receipts: told what was written and flushed.

    Yields:
        stdin and stdout for the SDK's `stdio_server`. Both are None on Windows, where descriptors
        cannot be moved like this; the SDK then does it in its own way.
    """
    if sys.platform == "win32":
        yield None, None
        return
    with _stdin(stdin_ended) as stdin, _stdout(receipts) as stdout:
        yield stdin, stdout


@contextmanager
def _stdin(ended: Callable[[], None]) -> Generator[_Stream]:
    private = os.dup(_STDIN)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, _STDIN)
    os.close(nothing)
    try:
        # closefd=False: a thread may still read after the block has ended.
        yield anyio.wrap_file(_BoundedLines(os.fdopen(private, "rb", closefd=False), ended))
    finally:
        os.dup2(private, _STDIN)


@contextmanager
def _stdout(receipts: Receipts) -> Generator[_Stream]:
    private = os.dup(_STDOUT)
    try:
        os.dup2(_STDERR, _STDOUT)
    except OSError:  # stderr is closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
    try:
        # closefd=False: a thread may still write after the block has ended.
        yield anyio.wrap_file(_ReportedWrites(os.fdopen(private, "wb", closefd=False), receipts))
    finally:
        os.dup2(private, _STDOUT)


class _BoundedLines(TextIOWrapper):
    """A text file that skips lines over the limit, so that none of them fills the memory."""

    def __init__(self, raw: BufferedReader, ended: Callable[[], None]) -> None:
        super().__init__(raw, encoding="utf-8", errors="replace", newline="\n")
        self._ended = ended

    def readline(self, _size: int = -1, /) -> str:
        """The next line within the limit; empty at the end."""
        while True:
            line = super().readline(LONGEST_LINE)
            if len(line) < LONGEST_LINE or line.endswith("\n"):
                if not line:
                    self._ended()
                return line
            _logger.warning("a line of over %d characters on stdin was skipped", LONGEST_LINE)
            while line and not line.endswith("\n"):
                line = super().readline(LONGEST_LINE)


class _ReportedWrites(TextIOWrapper):
    """A text file that reports what was flushed. anyio writes to it from worker threads."""

    def __init__(self, raw: BufferedWriter, receipts: Receipts) -> None:
        super().__init__(raw, encoding="utf-8", newline="\n")
        self._receipts = receipts
        self._unflushed = ""

    def write(self, text: str, /) -> int:
        """Write, and remember the text until it is flushed."""
        self._unflushed += text
        return super().write(text)

    def flush(self) -> None:
        """Flush, and report what was flushed."""
        super().flush()
        flushed, self._unflushed = self._unflushed, ""
        if flushed and self._receipts.is_waiting:
            anyio.from_thread.run_sync(self._receipts.went_out, flushed.encode())
