"""Value types: what an option's value or an operand may look like."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from hostup_mcp.policy.misfit import Misfit, shown
from hostup_mcp.policy.paths import PathRules
from hostup_mcp.policy.patterns import LONGEST_VALUE, PatternError, compile_pattern

PATH_TYPES: Final = ("read", "tree", "meta")


class _Type(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))


class ListType(_Type):
    """Values of one type with commas between."""

    list: str
    max: Annotated[int, Field(ge=1, le=256)] = 16


class TokensType(_Type):
    """Any sequence of patterns; each time, the first that fits is taken, and never given back."""

    tokens: tuple[str, ...]

    @cached_property
    def compiled(self) -> tuple[re.Pattern[str], ...]:
        """The patterns, ready."""
        return tuple(compile_pattern(token) for token in self.tokens)


class AnyType(_Type):
    """Any of some types."""

    any: tuple[str, ...]


class TextType(_Type):
    """Printable text which the program uses only as data."""

    text: Annotated[int, Field(ge=1, le=LONGEST_VALUE)]
    dash: bool = False


Definition = str | ListType | TokensType | AnyType | TextType
"""A string is a pattern."""


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
        self._require(name, ())

    def _require(self, name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise DefinitionError(f"the type {name} is made of itself")
        if name in PATH_TYPES:
            return
        if not _is_inline(name) and name not in self._definitions:
            raise DefinitionError(f"there is no type {name}")
        definition = name[1:-1] if _is_inline(name) else self._definitions[name]
        try:
            for part in _parts(definition):
                self._require(part, (*above, name))
        except PatternError as error:
            raise DefinitionError(f"the type {name} has {error}") from None

    def describe(self, name: str) -> str:
        """What a type accepts, in a few words."""
        if _is_inline(name):
            return name[1:-1]
        definition = self._definitions.get(name, "")
        match definition:
            case ListType():
                return f"up to {definition.max} {definition.list}, with commas between"
            case TextType():
                return f"text of up to {definition.text} characters"
            case AnyType():
                return " or ".join(definition.any)
            case TokensType():
                return f"made of {' '.join(definition.tokens)}"
            case str():
                return definition or "a path"

    def check(
        self, name: str, value: str, *, is_glob: bool = False, attached: bool = False
    ) -> Misfit | None:
        """Whether a value is of a type.

        Args:
            name: of the type.
            value: the text.
            is_glob: whether the shell expands it; only paths may be patterns.
            attached: whether it stands in one word with its option, so that a leading `-` cannot
                make an option of it.
        """
        if name in PATH_TYPES:
            if name == "meta":
                return self._paths.check_metadata(value, is_glob=is_glob)
            return self._paths.check_read(value, is_glob=is_glob, tree=name == "tree")
        if is_glob:
            return Misfit(
                "glob_refused",
                f"The pattern {shown(value)} stands where no path is expected.",
                hint="Quote it if the program itself is to read it.",
            )
        return None if self._fits(name, value, attached=attached) else self._misfit(name, value)

    def _misfit(self, name: str, value: str) -> Misfit:
        kind = "" if _is_inline(name) else f"{name}: "
        return Misfit(
            "value_refused", f"{shown(value)} is not accepted here ({kind}{self.describe(name)})."
        )

    def _fits(self, name: str, value: str, *, attached: bool) -> bool:
        if name in PATH_TYPES:
            return self.check(name, value) is None
        definition = name[1:-1] if _is_inline(name) else self._definitions[name]
        match definition:
            case str():
                fits = self._matches(name, definition, value)
            case ListType():
                parts = value.split(",")
                fits = len(parts) <= definition.max and all(
                    self._fits(definition.list, part, attached=True) for part in parts
                )
            case AnyType():
                fits = any(self._fits(one, value, attached=attached) for one in definition.any)
            case TextType():
                safe = attached or definition.dash or value == "-" or not value.startswith("-")
                fits = safe and len(value) <= definition.text
            case TokensType():
                fits = 0 < len(value) <= LONGEST_VALUE and _consume(definition.compiled, value)
        return fits

    def _matches(self, name: str, pattern: str, value: str) -> bool:
        if len(value) > LONGEST_VALUE:
            return False
        compiled = self._compiled.get(name)
        if compiled is None:
            compiled = self._compiled[name] = compile_pattern(pattern)
        return bool(compiled.fullmatch(value))


def _parts(definition: Definition) -> tuple[str, ...]:
    """The types that one is made of, once its own patterns are seen to be good."""
    match definition:
        case str():
            compile_pattern(definition)
        case TokensType():
            if any(token.fullmatch("") for token in definition.compiled):
                raise PatternError("a token that can be empty")
        case ListType():
            return (definition.list,)
        case AnyType():
            return definition.any
        case TextType():
            pass
    return ()


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
