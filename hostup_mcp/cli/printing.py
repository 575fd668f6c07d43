"""Prints what the commands have to say, also where stdout or stderr takes nothing.

When Python exits, it flushes both again. If that fails, the exit code is 120. So this module
reports and discards output that cannot be written.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, TextIO, cast

import click

# A word that a person thinks of, such as a name with a typing error, or what says nothing.
_PLAIN_WORD: Final = re.compile(r"-{0,2}[A-Za-z][A-Za-z_-]{0,30}[0-9]{0,2}|[0-9]{1,6}|.{0,5}")


@contextmanager
def printing() -> Generator[None]:
    """Report a stdout that cannot be written; if its reader is gone, end the command quietly."""
    _require_stdout()
    with _reporting():
        yield
        sys.stdout.flush()


class Command(click.Command):
    """A command whose `--help` is printed with the same care as all other output."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: object,
    ) -> click.Context:
        """The context; `--help` prints and ends here."""
        with _helping(args):
            return super().make_context(info_name, args, parent, **extra)


class Group(click.Group):
    """A group of such commands, itself one."""

    command_class = Command
    group_class = type

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: object,
    ) -> click.Context:
        """The context; `--help` and `--version` print and end here."""
        with _helping(args):
            return super().make_context(info_name, args, parent, **extra)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is named, and its arguments."""
        with _hiding(args):
            return super().resolve_command(ctx, args)

    def main(self, *args: Any, **extra: Any) -> Any:  # noqa: ANN401 - as click has it
        """Run the command, and discard output that cannot be written."""
        try:
            return super().main(*args, **extra)
        finally:
            for name in ("stdout", "stderr"):
                _flush_or_discard(_stream(name))


@contextmanager
def _helping(args: list[str]) -> Generator[None]:
    """Like `printing`, but only help needs a stdout: a server reports a closed one itself."""
    if any(arg in {"-h", "--help", "--version"} for arg in args):
        _require_stdout()
    with _reporting(), _hiding(args):
        yield


@contextmanager
def _hiding(args: list[str]) -> Generator[None]:
    """Tell what is wrong with the words of a command line without them: one may be a secret."""
    words = {part for word in args for part in (word, word.partition("=")[2])}
    try:
        yield
    except click.UsageError as error:
        said = told = error.format_message()
        # The longest first: a shorter one may be a part of it.
        for word in sorted(words, key=len, reverse=True):
            if not _PLAIN_WORD.fullmatch(word):
                told = told.replace(word, "(not shown)")
        if told == said:
            raise
        raise click.UsageError(told, error.ctx) from None


@contextmanager
def _reporting() -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.EPIPE:
            raise click.ClickException(f"stdout cannot be written ({error.strerror}).") from None
        raise


def _require_stdout() -> None:
    if _stream("stdout") is None:
        raise click.ClickException("stdout cannot be written (it is closed).")


def _stream(name: str) -> TextIO | None:
    """The stream; None if its descriptor is closed, despite the types of `sys`."""
    return cast("TextIO | None", getattr(sys, name))


def _flush_or_discard(stream: TextIO | None) -> None:
    """Write what is left; if that fails, discard it, so that Python's last flush does not fail."""
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        except (OSError, ValueError):
            pass  # a stream without a descriptor, as in a test
        finally:
            os.close(nowhere)
