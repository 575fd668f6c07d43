"""Reads the data of suggestions: equivalents of programs, and programs that only run another."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Final

from hostup_mcp.policy.toml_fields import Model, Typed, Words

_FILE: Final = Path(__file__).with_name("substitutes.toml")


class Wrapper(Model):
    """The words of a wrapper (a program that runs another one) that come before the command.

    Attributes:
        flags: options without a value that do not change what the command does.
        options: such options with a value, each with the values that it may have; empty for any.
        operands: how many operands of the wrapper come before the command.
        assignments: whether words such as `LANG=C` may come before the command.
    """

    flags: Words = ()
    options: Typed = {}
    operands: int = 0
    assignments: bool = False


class Shells(Model):
    """The shells that run a text: `sh -c TEXT`."""

    names: Words


class Substitutes(Model):
    """All data of the suggestions.

    Attributes:
        equivalents: what to write instead of a program that is not allowed; `{}` is replaced by its
            operands, `{1}` by the first.
        wrapper: the programs that only run another one, by name.
        shells: the programs that run a text.
    """

    equivalents: dict[str, tuple[str, ...]]
    wrapper: dict[str, Wrapper]
    shells: Shells


@cache
def substitutes() -> Substitutes:
    """The data, from the file beside this module."""
    return Substitutes.model_validate(tomllib.loads(_FILE.read_text("utf-8")))
