"""Value types: what an option's value or an operand may look like."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from hostup_mcp.policy.mismatch import Mismatch, shown
from hostup_mcp.policy.values.backtracking import has_back_reference, is_slow, refers
from hostup_mcp.policy.values.definitions import (
    AnyType,
    Definition,
    ListType,
    OfType,
    TextType,
    TokensType,
)
from hostup_mcp.policy.values.paths import PathRules
from hostup_mcp.policy.values.patterns import (
    LONGEST_VALUE,
    MOST_WAYS_OF_A_PART,
    PatternError,
    compile_pattern,
)
from hostup_mcp.policy.values.regex_size import is_too_large

PATH_TYPES: Final = (
    "read", "tree", "meta", "walk", "opened", "file", "sysctl", "sysctl_pattern",
)  # fmt: skip
NAME_TYPES: Final = frozenset({"meta", "walk", "opened"})
"""Of paths, of which only names, sizes and owners are shown."""

_PATHS_IN_WORDS: Final = {
    "read": "an absolute path of a file that may be read",
    "tree": "an absolute path of a folder in which everything may be read",
    "meta": "any absolute path",
    "walk": "an absolute path of a folder, with the folders below it",
    "opened": "an absolute path that is safe to open: no FIFO, and no device but a disk",
    "file": "an absolute path of a file that may be read and has a name like a file's",
    "sysctl": "the name of a kernel setting, such as vm.swappiness",
    "sysctl_pattern": "a part of the names of kernel settings, such as net.core.rmem",
}


class DefinitionError(Exception):
    """A type is not well defined; the text says which and how."""


class ValueTypes:
    """Named types, and the check of a value against one.

    A name between slashes is a pattern written in place: `/json|short/`.
    """

    def __init__(self, definitions: Mapping[str, Definition], paths: PathRules) -> None:
        self._definitions = dict(definitions)
        self._paths = paths
        self._compiled: dict[str, re.Pattern[str]] = {}
        self._any_of: dict[str, tuple[str, ...]] = {}

    @property
    def paths(self) -> PathRules:
        """The rules behind the path types."""
        return self._paths

    def extended(self, more: Mapping[str, Definition]) -> ValueTypes:
        """These types and some more."""
        return ValueTypes({**self._definitions, **more}, self._paths)

    def names(self) -> tuple[str, ...]:
        """Every type that can be named."""
        return (*PATH_TYPES, *self._definitions)

    def definitions(self) -> dict[str, object]:
        """Every definition, as JSON has it."""
        return {
            name: definition if isinstance(definition, str) else definition.model_dump(mode="json")
            for name, definition in self._definitions.items()
        }

    def require(self, name: str) -> None:
        """See that a type, and every type it is made of, is there and well formed.

        Raises:
            DefinitionError: it is not.
        """
        self._require(name, (), set())

    def _require(self, name: str, above: tuple[str, ...], seen: set[str]) -> None:
        if name in above:
            raise DefinitionError(f"the type {name} refers to itself")
        if name in PATH_TYPES or name in seen:
            return
        seen.add(name)
        if not _is_inline(name) and name not in self._definitions:
            raise DefinitionError(f"there is no type {name}")
        definition = self._definition(name)
        try:
            if isinstance(definition, ListType):
                self._require_part(definition.list)
            _check_patterns(definition)
            for part in parts_of(definition):
                self._require(part, (*above, name), seen)
        except PatternError as error:
            raise DefinitionError(f"the type {name} has {error}") from None

    def _require_part(self, name: str) -> None:
        """See that a type can stand between the commas of a list."""
        for leaf in self._leaves(name):
            if leaf in PATH_TYPES or isinstance(self._definition(leaf), ListType):
                raise DefinitionError(f"{leaf} cannot be in a list: its values may have commas")
            definition = self._definition(leaf)
            if isinstance(definition, str):
                compile_pattern(definition, MOST_WAYS_OF_A_PART)

    def _definition(self, name: str) -> Definition:
        if _is_inline(name):
            return name[1:-1]
        try:
            return self._definitions[name]
        except KeyError:
            raise DefinitionError(f"there is no type {name}") from None

    def _leaves(self, name: str) -> tuple[str, ...]:
        """The types that a type is any of, each once; itself if it is none of that kind."""
        known = self._any_of.get(name)
        if known is None:
            found: dict[str, None] = {}
            todo, seen = [name], {name}
            while todo:
                one = todo.pop(0)
                definition = None if one in PATH_TYPES else self._definition(one)
                if isinstance(definition, AnyType):
                    todo += [part for part in definition.any if part not in seen]
                    seen.update(definition.any)
                else:
                    found[one] = None
            known = self._any_of[name] = tuple(found)
        return known

    def describe(self, name: str) -> str:
        """What a type accepts, in a few words."""
        if name in _PATHS_IN_WORDS:
            return _PATHS_IN_WORDS[name]
        definition = self._definition(name)
        if isinstance(definition, OfType):
            never = (f"{' '.join(words)} ({why})" for why, words in definition.never.items())
            return f"{definition.of}, but never {'; '.join(never)}"
        return self._in_words(definition)

    def _in_words(self, definition: Definition) -> str:
        match definition:
            case ListType():
                return f"up to {definition.max} {definition.list}, with commas between"
            case TextType():
                expression = definition.regex or definition.perl
                what = "a regular expression" if expression else "text"
                return f"{what} of up to {definition.text} characters"
            case AnyType():
                return " or ".join(definition.any)
            case TokensType():
                begins = f"beginning with {definition.prefix}, " if definition.prefix else ""
                return f"{begins}made of {' '.join(definition.tokens)}"
            case _:
                return str(definition)

    def check(
        self, name: str, value: str, *, is_glob: bool = False, attached: bool = False
    ) -> Mismatch | None:
        """Whether a value is of a type.

        Args:
            name: of the type.
            value: the text.
            is_glob: whether the shell expands it; only paths may be patterns.
            attached: whether it stands in one word with its option, so that a leading `-` cannot
                make an option of it.
        """
        if name in PATH_TYPES:
            return self._check_path(name, value, is_glob=is_glob)
        opens = "opened" in self._leaves(name)
        if is_glob and opens:
            return self._check_path("opened", value, is_glob=True)
        if is_glob:
            return Mismatch(
                "glob_refused",
                f"The pattern {shown(value)} is accepted only where a path is expected.",
                hint="Quote it if the program itself should read it.",
            )
        if self._fits(name, value, attached=attached):
            return None
        # A path says best what is wrong with it.
        return (
            self._check_path("opened", value, is_glob=False)
            if opens
            else self._mismatch(name, value)
        )

    def _check_path(self, name: str, value: str, *, is_glob: bool) -> Mismatch | None:
        paths = self._paths
        match name:
            case "meta":
                fault = paths.check_metadata(value, is_glob=is_glob)
            case "walk":
                fault = paths.check_walk(value, is_glob=is_glob)
            case "opened":
                fault = paths.check_opened(value, is_glob=is_glob)
            case "sysctl":
                fault = paths.settings.check_name(value, is_glob=is_glob)
            case "sysctl_pattern":
                fault = paths.settings.check_expression(value)
            case "file":
                fault = paths.check_file(value, is_glob=is_glob)
            case _:
                fault = paths.check_read(value, is_glob=is_glob, tree=name == "tree")
        return fault

    def _mismatch(self, name: str, value: str) -> Mismatch:
        definition = None if _is_inline(name) else self._definition(name)
        if isinstance(definition, OfType) and self._fits(definition.of, value, attached=False):
            return Mismatch(
                "value_refused",
                f"{shown(value)} is not accepted as @{name}: "
                f"it {definition.reason_against(value)}.",
                hint="Only a rule that names it can allow it.",
            )
        if isinstance(definition, OfType):
            name = definition.of
        if isinstance(definition, TextType) and (fault := _expression_fault(definition, value)):
            return fault
        kind = "" if _is_inline(name) else f"{name}: "
        return Mismatch(
            "value_refused", f"{shown(value)} is not accepted here ({kind}{self.describe(name)})."
        )

    def _fits(self, name: str, value: str, *, attached: bool) -> bool:
        return any(self._fits_leaf(leaf, value, attached=attached) for leaf in self._leaves(name))

    def _fits_leaf(self, name: str, value: str, *, attached: bool) -> bool:
        if name in PATH_TYPES:
            return self.check(name, value) is None
        match self._definition(name):
            case ListType(list=part_type, max=most):
                parts = value.split(",")
                return len(parts) <= most and all(
                    self._fits(part_type, part, attached=True) for part in parts
                )
            case OfType() as whole:
                fits = self._fits(whole.of, value, attached=attached)
                return fits and whole.reason_against(value) is None
            case TextType(text=most, dash=dash) as text:
                safe = attached or dash or value == "-" or not value.startswith("-")
                return safe and len(value) <= most and not _expression_fault(text, value)
            case TokensType(compiled=tokens, prefix=prefix):
                rest = value.removeprefix(prefix)
                fits = len(rest) == len(value) - len(prefix) and 0 < len(rest) <= LONGEST_VALUE
                return fits and _consume(tokens, rest)
            case definition:
                # An any is no leaf, so what is left is a pattern.
                return self._matches(name, str(definition), value)

    def _matches(self, name: str, pattern: str, value: str) -> bool:
        if len(value) > LONGEST_VALUE:
            return False
        compiled = self._compiled.get(name)
        if compiled is None:
            compiled = self._compiled[name] = compile_pattern(pattern)
        return bool(compiled.fullmatch(value))


def parts_of(definition: Definition) -> tuple[str, ...]:
    """The types that one is made of."""
    match definition:
        case ListType():
            return (definition.list,)
        case AnyType():
            return definition.any
        case OfType():
            return (definition.of,)
        case _:
            return ()


def _expression_fault(definition: TextType, value: str) -> Mismatch | None:
    """Whether an expression is one that a program may need very long for."""
    if definition.perl:
        if refers(value):
            return back_reference(value)
        if is_slow(value):
            return Mismatch(
                "slow_expression",
                f"{shown(value)} can fit a line in too many ways, and Perl's matcher tries each.",
                hint="Use fewer * and +, and never one inside another; grep -E has no such limit.",
            )
    elif definition.regex:
        if has_back_reference(value):
            return back_reference(value)
    else:
        return None
    if is_too_large(value):
        return Mismatch(
            "value_refused",
            f"{shown(value)} becomes too large when its repeats are written out.",
            hint="Use fewer repeats, or repeat a smaller part.",
        )
    return None


def back_reference(value: str) -> Mismatch:
    """The refusal of an expression that refers to one of its own groups."""
    return Mismatch(
        "backreference",
        f"{shown(value)} refers back to one of its groups, which can take a matcher hours.",
        hint="Write out what the group would match; a backslash before a digit is not accepted in "
        "an expression.",
    )


def _check_patterns(definition: Definition) -> None:
    match definition:
        case str():
            compile_pattern(definition)
        case TokensType():
            if any(token.fullmatch("") for token in definition.compiled):
                raise PatternError("a token that can be empty")
        case _:
            pass


def _consume(tokens: tuple[re.Pattern[str], ...], value: str) -> bool:
    position = 0
    while position < len(value):
        for token in tokens:
            found = token.match(value, position)
            if found and found.end() > position:
                position = found.end()
                break
        else:
            return False
    return True


def _is_inline(name: str) -> bool:
    return len(name) > 2 and name[0] == name[-1] == "/"
