"""Fills the templates of the data files, `equivalents` and `instead`, with the words of an argv."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Final

from hostup_mcp.policy.models import Command, Getopt, OptionSet, Subcommands
from hostup_mcp.suggestions.wrappers import Argv

# With one of these codes no single word is wrong, so any word may be the one to replace.
_FORM_CODES: Final = frozenset({"usage_refused", "value_missing"})
# Options of container verbs that have a value; the word after one is not a container.
_TAKES_VALUE: Final = re.compile(r"-[uwe]|--(?:user|workdir|env|env-file|time|timeout|signal)")
# Places in a template of `instead` that take all words after the replaced one.
_CONSUMED: Final = frozenset({"{0}", "{1}"})


def filled(form: str, argv: Argv) -> Iterator[Argv]:
    """A template of `equivalents` with the operands of this argv, if it has enough of them."""
    operands = [word for word in argv[1:] if word[:1] not in {"-", "+", "@", ""}]
    places = {
        "{}": operands,
        "{*}": list(argv[1:]),
        "{1}": operands[:1],
        "{-1}": operands[-1:],
        "{0}": [argv[0].rpartition("/")[2]],
    }
    words: list[str] = []
    for part in form.split():
        before, brace, rest = part.partition("{")
        values = places[brace + rest] if brace else [part]
        if not values:
            return
        words += [before + value for value in values] if brace else values
    yield tuple(words)


def instead_of(command: Command, argv: Argv, code: str, index: int) -> Iterator[Argv]:
    """The argv with a refused word replaced as the program's entry (`instead`) says."""
    places = range(1, len(argv)) if code in _FORM_CODES and not index else (index,)
    for names, text in command.instead.items():
        forms = [shlex.split(form) for form in text.split(" or ")]
        for name in names.split():
            for at in places:
                for form in forms if at else ():
                    yield from _in_place(command, argv, at, name, form)


def _in_place(
    command: Command, argv: Argv, at: int, name: str, form: Sequence[str]
) -> Iterator[Argv]:
    word, left = argv[at], ""
    is_cluster = re.fullmatch("-[A-Za-z]", name) and re.fullmatch("-[A-Za-z0-9]{2,}", word)
    if is_cluster and name[1] in word:
        left = word.replace(name[1], "", 1)
    elif word != name and not (name.startswith("--") and word.startswith(f"{name}=")):
        return
    kept = [left] if left else []
    before, after = argv[:at], argv[at + 1 :]
    if _CONSUMED & set(form):
        operand = _container(after)
        if operand or "{1}" not in form:
            yield (*before, *_consume(form, operand))
    elif form[0].startswith("-") and _has_option(command, (*before, *kept, *after), form[0]):
        yield (*before, *kept, *after)
    else:
        yield (*before, *form, *kept, *after)


def _consume(form: Sequence[str], operand: str) -> Iterator[str]:
    for part in form:
        if part == "{1}":
            yield operand
        elif part != "{0}":
            yield part


def _container(words: Sequence[str]) -> str:
    """The first word that is neither an option nor the value of one."""
    previous = ""
    for word in words:
        is_value = _TAKES_VALUE.fullmatch(previous) or (previous == "-t" and word.isdigit())
        if not word.startswith("-") and not is_value:
            return word
        previous = word
    return ""


def _has_option(command: Command, argv: Argv, option: str) -> bool:
    """Whether the argv already has the option, or another one with the same kind of value."""
    kinds: dict[str, str] = {}
    specs: list[object] = [command]
    if isinstance(command, Subcommands):
        kinds |= command.options
        specs += [command.subcommand[word] for word in argv if word in command.subcommand]
    for spec in specs:
        if isinstance(spec, OptionSet):
            kinds |= {**spec.following, **spec.options}
    same = {name for name, kind in kinds.items() if kind == kinds.get(option)} | {option}
    numeric = isinstance(command, Getopt) and command.numeric
    return any(
        word.partition("=")[0] in same
        or (word[:2] in same and not word.startswith("--"))
        or (numeric and re.fullmatch(r"-\d+", word))
        for word in argv[1:]
    )
