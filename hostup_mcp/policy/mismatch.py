"""Why an argv does not fit a rule."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The first word of an argv that a rule does not let through.

    Attributes:
        code: stable, one of those in docs/policy.md.
        message: one sentence that names the word and the rule.
        index: which word of the argv; 0 is the program.
        hint: one sentence on what to write instead; empty where there is only the general one.
        option: the option at fault, as it is written alone; empty where it is none.
    """

    code: str
    message: str
    index: int = 0
    hint: str = ""
    option: str = ""

    def at(self, index: int) -> Mismatch:
        """The same, of another word."""
        return replace(self, index=index)


def shown(text: str, limit: int = 80) -> str:
    """A word as it stands in a message: bounded, and an empty one visible."""
    if not text:
        return "''"
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def of_option(name: str, fault: Mismatch, index: int) -> Mismatch:
    """What is wrong with a value, told of the option whose value it is."""
    return Mismatch(fault.code, f"The value of {name}: {fault.message}", index, fault.hint, name)
