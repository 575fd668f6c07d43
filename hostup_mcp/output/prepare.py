"""Prepares a stream of a command to be shown: repaired, cleaned, without secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hostup_mcp.output.clean import clean, without_marks
from hostup_mcp.output.mojibake import repair
from hostup_mcp.output.redact import redact


@dataclass(frozen=True, slots=True)
class Prepared:
    """A text fit to be shown, and what was done to it.

    Attributes:
        text: what is shown; windows and searches work on this.
        counts: what was changed, by kind: those of `clean`, and `redacted:RULE` for each rule.
        repaired: whether its double encoding was undone.
    """

    text: str
    counts: Mapping[str, int]
    repaired: bool


def prepare(text: str, secret: str) -> Prepared:
    """The text as it is shown; `secret` is HostUp's key.

    An encoding hides everything and a control character may stand inside a secret, so secrets are
    looked for last, in the text as it will be read.
    """
    repaired = repair(text)
    cleaned = clean(text if repaired is None else repaired)
    redacted = redact(cleaned.text, secret)
    secrets = dict(redacted.counts)
    text = redacted.text
    if cleaned.counts.keys() & {"controls", "invisible", "surrogates"}:
        # A secret with such a character inside is still one. It is found in the text without the
        # marks, and then that text is shown: the counts still tell of the marks.
        more = redact(without_marks(text), secret)
        if more.counts:
            text = more.text
            for rule, count in more.counts.items():
                secrets[rule] = secrets.get(rule, 0) + count
    counts = dict(cleaned.counts)
    counts.update({f"redacted:{rule}": count for rule, count in secrets.items()})
    return Prepared(text, counts, repaired is not None)
