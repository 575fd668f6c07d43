"""Prepares a stream of a command to be shown: repaired, cleaned, without secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hostup_mcp.output.clean import clean, without_marks
from hostup_mcp.output.mojibake import repair
from hostup_mcp.output.redact import redact


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared text, and what was changed in it.

    Attributes:
        text: the prepared text. Windows and searches use this one.
        counts: the number of changes by kind: those of `clean`, and `redacted:RULE` for each rule.
        repaired: whether its double encoding was undone.
    """

    text: str
    counts: Mapping[str, int]
    repaired: bool


def prepare(text: str, secret: str) -> Prepared:
    """Prepare a text; `secret` is HostUp's key.

    Secrets are redacted last, in the text that will be shown: before, a double encoding or a
    control character could hide one.
    """
    repaired = repair(text)
    cleaned = clean(text if repaired is None else repaired)
    redacted = redact(cleaned.text, secret)
    secrets = dict(redacted.counts)
    text = redacted.text
    if cleaned.counts.keys() & {"controls", "invisible", "surrogates"}:
        # A secret may have such a character inside. Without the marks it is found, and then the
        # text without them is shown; the counts still include the marks.
        more = redact(without_marks(text), secret)
        if more.counts:
            text = more.text
            for rule, count in more.counts.items():
                secrets[rule] = secrets.get(rule, 0) + count
    counts = dict(cleaned.counts)
    counts.update({f"redacted:{rule}": count for rule, count in secrets.items()})
    return Prepared(text, counts, repaired is not None)
