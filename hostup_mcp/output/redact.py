"""Takes secrets out of a text before anyone is shown it, and counts them."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import re2

from hostup_mcp import own_key
from hostup_mcp.output.secret_rules import RULES, Rule
from hostup_mcp.output.secret_values import DOUBTFUL_MAX

if TYPE_CHECKING:
    from re2 import Match, Pattern, Set

OWN_KEY: Final = "hostup-key"

# Memory for the state machines of large patterns: with too little, RE2 is correct but slow.
_MAX_MEMORY: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text without secrets, and the number of secrets that each rule replaced."""

    text: str
    counts: Mapping[str, int]


def redact(text: str, secret: str = "") -> Redacted:
    """The text with `[redacted: RULE]` in the place of each secret.

    Args:
        text: a text that `clean` returned; in any other text, a secret may hide.
        secret: HostUp's key. If it has at least eight characters, it is found anywhere: plain,
            percent-encoded, in base64 or in hexadecimal, and across line ends.
    """
    data = text.encode("utf-8", "replace")
    counts: Counter[str] = Counter()
    if len(secret) >= own_key.SHORTEST:
        data = _without(data, Rule(OWN_KEY, (), own_key.pattern(secret)), counts)
    for rule in _possible(data):
        data = _without(data, rule, counts)
    return Redacted(data.decode("utf-8", "replace") if counts else text, dict(counts))


def _possible(data: bytes) -> Iterator[Rule]:
    """The rules with a hint that occurs in the text, in order."""
    hints, owners = _hints()
    found = {owners[hint] for hint in hints.Match(data) or ()}
    return (rule for number, rule in enumerate(RULES) if number in found)


def _without(data: bytes, rule: Rule, counts: Counter[str]) -> bytes:
    pattern = _compiled(rule.pattern)
    mark = f"[redacted: {rule.name}]".encode()
    pieces: list[bytes] = []
    done = at = 0
    while (found := pattern.search(data, at)) is not None:
        start, end = _place(found)
        judged = end if rule.judge is None else rule.judge(data, start, end)
        # A long value is never harmless, and searching inside it again would take too long.
        if judged > start or end - start > DOUBTFUL_MAX:
            end = judged if judged > start else end
            pieces += data[done:start], mark
            done = at = end
        else:
            at = max(start, at + 1)
    if not pieces:
        return data
    counts[rule.name] += len(pieces) // 2
    return b"".join((*pieces, data[done:]))


def _place(found: Match[bytes]) -> tuple[int, int]:
    return found.span(found.lastindex or 0)


@functools.cache
def _hints() -> tuple[Set, tuple[int, ...]]:
    options = re2.Options()
    options.case_sensitive = False
    options.max_mem = _MAX_MEMORY
    options.log_errors = False
    hints = re2.Set.SearchSet(options)
    owners: list[int] = []
    for number, rule in enumerate(RULES):
        for hint in rule.hints:
            hints.Add(re2.escape(hint))
            owners.append(number)
    hints.Compile()
    return hints, tuple(owners)


@functools.lru_cache(maxsize=len(RULES) + 4)
def _compiled(pattern: str) -> Pattern:
    options = re2.Options()
    options.max_mem = _MAX_MEMORY
    options.log_errors = False
    return re2.compile(pattern, options)
