"""Reads the data of suggestions: equivalents of programs, and programs that only run another."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Final

from hostup_mcp.policy.toml_fields import Model, Typed, Words

_FILE: Final = Path(__file__).with_name("substitutes.toml")


class Wrapper(Model):
    """How the words of a program that runs another one are told from that one's.

    Attributes:
        flags: options without a value that change nothing of the command.
        options: options with a value, likewise, each with the values that it may have; any where
            none is named.
        operands: how many words of its own come before the command.
        assignments: whether words such as `LANG=C` may stand there.
    """

    flags: Words = ()
    options: Typed = {}
    operands: int = 0
    assignments: bool = False


class Shells(Model):
    """Shells that run a text: `sh -c TEXT`."""

    names: Words


class Substitutes(Model):
    """All data of the suggestions.

    Attributes:
        equivalents: for a program that is not allowed, what to write instead; `{}` stands for its
            operands, `{1}` for the first.
        wrapper: by name, the programs that only run another one.
        shells: the programs that run a text.
    """

    equivalents: dict[str, tuple[str, ...]]
    wrapper: dict[str, Wrapper]
    shells: Shells


@cache
def substitutes() -> Substitutes:
    """The data, from the file beside this module."""
    return Substitutes.model_validate(tomllib.loads(_FILE.read_text("utf-8")))
