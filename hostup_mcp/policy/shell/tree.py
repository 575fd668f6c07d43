"""The syntax tree of a command: stages joined by operators, with words and redirections."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Operator = Literal["|", "&&", "||", ";"]
Redirection = Literal["2>&1", ">&2", ">/dev/null", "2>/dev/null", "</dev/null"]


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a command, as the program will get it.

    Two words are equal when they mean the same, wherever they stand.

    Attributes:
        text: what it means, without quotes and escapes; of a pattern, the pattern.
        is_glob: whether the shell expands it: it has an unquoted `*` or `?`.
        offset: where it stands in the command, in characters from 0.
        length: how many characters of the command it takes, quotes included.
    """

    text: str
    is_glob: bool = False
    offset: int = field(default=0, compare=False)
    length: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Stage:
    """One program with its arguments: at least one word, the first of which names it.

    Attributes:
        operator: what stands before it; None for the first stage.
        words: the argv.
        redirections: in the order in which the shell applies them.
    """

    operator: Operator | None
    words: tuple[Word, ...]
    redirections: tuple[Redirection, ...] = ()

    @property
    def argv(self) -> tuple[str, ...]:
        """The texts of the words."""
        return tuple(word.text for word in self.words)

    @property
    def globs(self) -> tuple[int, ...]:
        """Which words are patterns, by index."""
        return tuple(index for index, word in enumerate(self.words) if word.is_glob)


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A whole command: at least one stage."""

    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True)
class SyntaxRefusal:
    """Why a text is not in the grammar.

    Attributes:
        code: stable, one of those in docs/policy.md.
        message: one sentence that names the token and the rule.
        offset: where the token stands, in characters from 0.
        length: how many characters it has.
        hint: one sentence on what to write instead.
    """

    code: str
    message: str
    offset: int
    length: int
    hint: str
