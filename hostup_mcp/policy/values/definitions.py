"""How a value type is written in a file: a pattern, or a table of one of five forms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated

from pydantic import BeforeValidator, Discriminator, Field, Tag

from hostup_mcp.policy.toml_fields import Model, split_words
from hostup_mcp.policy.values.patterns import LONGEST_VALUE, MOST_WAYS_OF_A_PART, compile_pattern


class ListType(Model):
    """Values of one type with commas between."""

    list: str
    max: Annotated[int, Field(ge=1, le=256)] = 16


class TokensType(Model):
    """A fixed beginning, if any, and a sequence of patterns.

    Each time, the first pattern that fits is taken, and never given back.
    """

    prefix: str = ""
    tokens: Annotated[tuple[str, ...], Field(min_length=1, max_length=32)]

    @cached_property
    def compiled(self) -> tuple[re.Pattern[str], ...]:
        """The patterns, ready."""
        return tuple(compile_pattern(token, MOST_WAYS_OF_A_PART) for token in self.tokens)


class AnyType(Model):
    """Any of some types."""

    any: Annotated[tuple[str, ...], Field(min_length=1, max_length=32)]


class TextType(Model):
    """Printable text which the program uses only as data.

    Attributes:
        text: the most characters.
        dash: whether it may begin with `-`, where that is safe.
        regex: whether it is a regular expression, which must not become too large, nor refer back.
        perl: whether it is one of Perl's, which must not be slow either.
    """

    text: Annotated[int, Field(ge=1, le=LONGEST_VALUE)]
    dash: bool = False
    regex: bool = False
    perl: bool = False


class OfType(Model):
    """A type without some of its values.

    Attributes:
        of: the type.
        suffix: an ending that makes no difference.
        never: what is left out, by the reason, which completes "NAME ...": words that may begin or
            end with `*`. Letter case makes no difference, nor does what follows an `@`.
    """

    of: str
    suffix: str = ""
    never: dict[
        str,
        Annotated[
            tuple[Annotated[str, Field(pattern=r"^([*][^*]+|[^*]+[*]?)$")], ...],
            BeforeValidator(split_words),
        ],
    ]

    def reason_against(self, value: str) -> str | None:
        """Why a value is left out; None if it is not."""
        text = value.casefold()
        while self.suffix and text.endswith(self.suffix):
            text = text.removesuffix(self.suffix)
        names = (text, text.partition("@")[0])
        for why, left_out in self.never.items():
            if any(_is_like(name, word) for word in left_out for name in names):
                return why
        return None


def _is_like(name: str, word: str) -> bool:
    if word.startswith("*"):
        return name.endswith(word[1:])
    return name.startswith(word[:-1]) if word.endswith("*") else name == word


def _form(value: object) -> str | None:
    """Which form of a definition a value has; None for none."""
    if isinstance(value, str):
        return "pattern"
    if isinstance(value, Mapping):
        names = [name for name in ("list", "tokens", "any", "text", "of") if name in value]
        return names[0] if names else None
    return type(value).__name__.removesuffix("Type").lower()


Definition = Annotated[
    Annotated[str, Tag("pattern")]
    | Annotated[ListType, Tag("list")]
    | Annotated[TokensType, Tag("tokens")]
    | Annotated[AnyType, Tag("any")]
    | Annotated[TextType, Tag("text")]
    | Annotated[OfType, Tag("of")],
    Discriminator(
        _form,
        custom_error_type="definition",
        custom_error_message="a type is a pattern, or a table with list, tokens, any, text or of",
    ),
]
"""A string is a pattern."""
