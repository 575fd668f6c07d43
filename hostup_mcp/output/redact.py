"""Replaces the secrets in a text before it is shown, and counts them."""

from __future__ import annotations

import base64
import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import re2

from hostup_mcp.output.secret_rules import RULES, Rule
from hostup_mcp.output.secret_values import DOUBTFUL_MAX

if TYPE_CHECKING:
    from re2 import Match, Pattern, Set

OWN_KEY: Final = "hostup-key"

# A shorter key would be found in ordinary words.
_KEY_MIN: Final = 8
# A line break from a shell's backslash or from wrapped lines; or the backslash of an escape.
_LINE_BREAK: Final = r"\\?(?:\r?\n[ \t]*)?"
# The signs that differ between the two alphabets of base64.
_BASE64_SIGNS: Final = {"+": "[+-]", "/": "[/_]"}
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
    if len(secret) >= _KEY_MIN:
        data = _without(data, Rule(OWN_KEY, (), _own_key(secret)), counts)
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


@functools.lru_cache(maxsize=4)
def _own_key(secret: str) -> str:
    """A pattern for the key in all the forms in which it may be written."""
    raw = secret.encode("utf-8", "replace")
    forms = [_over_lines(_percent_or_plain(character) for character in secret)]
    digits = f"[ :]?{_LINE_BREAK}".join(_over_lines(f"{byte:02x}") for byte in raw)
    forms.append(f"(?i:{digits})")
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw).decode()
        # Only the characters that do not depend on the bytes around the key.
        core = encoded[(before * 8 + 5) // 6 : (before + len(raw)) * 8 // 6]
        forms.append(_over_lines(_BASE64_SIGNS.get(sign, sign) for sign in core))
        forms[-1] += "[A-Za-z0-9+/_-]?={0,2}"
    return "|".join(forms)


def _over_lines(pieces: Iterable[str]) -> str:
    """A pattern for the pieces in sequence, with an optional line break between any two."""
    return _LINE_BREAK.join(pieces)


def _percent_or_plain(character: str) -> str:
    raw = character.encode("utf-8", "replace")
    percent = _over_lines("".join(f"%{byte:02x}" for byte in raw))
    plain = re2.escape(raw.decode())
    return f"(?:{plain}|(?i:{percent}){'|[+]' if character == ' ' else ''})"
