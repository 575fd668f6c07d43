"""Further traits of a program in the data: whether it is a script, its lookups, growth, needs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator

from hostup_mcp.policy.toml_fields import Model, Typed, Words, split_keys


class Script(Model):
    """What may be given to a program that is a script, on any system, of whatever interpreter.

    Attributes:
        words: how it treats what it is given, by its source. `whole`: hands its words on
            unchanged, and reads them no second time. `quoted`: puts them between single quotes
            in a text that it gives to `eval`. `expanded`: puts them bare into the text of a
            command, so that `*`, `?` and `~` may become names of files, and nothing else may
            stand. `plain`: in any other way, so that only plain words and no patterns may stand.
        hint: one sentence on what to write in place of a word that it could misread.
    """

    words: Literal["plain", "expanded", "quoted", "whole"] = "plain"
    hint: str = ""


class Lookups(Model):
    """When a program asks a name server, or sends anything else to the network.

    Without `when` and `unless` it always may.

    Attributes:
        when: options, and first operands, without which it does not.
        unless: options that keep it from that.
        leading: whether those count before the first operand only.
        alone: options with which it does not, where nothing else stands.
        always: options with which it does, whatever keeps it from that otherwise.
        values: options whose value is asked for unless it is of this type.
        operand: type of the operands that are not asked for.
        filter: likewise of all operands together, with `~~` before and `~` after each.
    """

    when: Words = ()
    unless: Words = ()
    leading: bool = False
    alone: Words = ()
    always: Words = ()
    values: Typed = {}
    operand: str = ""
    filter: str = ""


class Need(Model):
    """Values of an option that another option must stand beside.

    Attributes:
        values: type of the values concerned.
        option: which must stand, anywhere.
        add: that option with a value, to be offered.
    """

    values: str
    option: str
    add: str


Needs = Annotated[dict[str, Need], BeforeValidator(split_keys)]
"""Option to need; in the file, synonyms share an entry."""


class Growth(Model):
    """What a program adds to what it reads; growth.py adds it up.

    Attributes:
        given: options of which one must be given for it; none for always.
        times: characters made of each.
        line: characters added to each line.
        breaks: line ends added for each character.
        value: options whose value says how much, a number or by its length.
        by: what that value is: characters added to each `line`, the `length` that a character
            becomes, after how many characters a line ends (`break`), or the `format` of what is
            printed of each operand. Of `grep`: a line for each
            `match`, and the file's `name` before each line. Or a number of lines that are kept:
            the `last` ones, of `tail` and before a match, or all but the last (`rest`).
        pads: whether lines become as long as the longest.
        keeps: whether all of it is kept until the end.
    """

    given: Words = ()
    times: int = 1
    line: int = 0
    breaks: int = 0
    value: Words = ()
    by: Literal["", "line", "length", "break", "format", "match", "name", "last", "rest"] = ""
    pads: bool = False
    keeps: bool = False
