"""Frozen data from TOML files, and fields that are written there in a shorter form."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict


def split_words(value: object) -> object:
    """Give the words of a string, which the file has with blanks between."""
    return value.split() if isinstance(value, str) else value


def split_keys(value: object) -> object:
    """Give each synonym an entry: `{"-n --lines": T}` to `{"-n": T, "--lines": T}`."""
    if not isinstance(value, Mapping):
        return value
    table = cast("Mapping[str, object]", value)
    return {name: kind for names, kind in table.items() for name in names.split()}


Words = Annotated[tuple[str, ...], BeforeValidator(split_words)]
"""In the file one string, with blanks between."""

Typed = Annotated[dict[str, str], BeforeValidator(split_keys)]
"""Option to value type; in the file, synonyms share an entry."""


class Model(BaseModel):
    """Frozen data without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))
