"""HostUp's key found in a text, in whatever form it was written there."""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import re2

if TYPE_CHECKING:
    from re2 import Pattern

SHORTEST: Final = 8
"""A shorter key would be found in ordinary words."""

# By a shell's backslash, or by what wraps long lines; or a character that was escaped.
_LINE_BREAK: Final = r"\\?(?:\r?\n[ \t]*)?"
# In the two alphabets of base64.
_BASE64_SIGNS: Final = {"+": "[+-]", "/": "[/_]"}
# Room for the state machines of large patterns: with too little, RE2 is right but slow.
_MAX_MEMORY: Final = 64 << 20
# What is not seen, or not seen as it is; spaces and line ends stay.
_UNSEEN: Final = re.compile(r"[^\t\n -~]+")


def without(text: str, secret: str, mark: str) -> str:
    """The text with a mark in the place of the key; all else stays as it is.

    Where characters that are not ASCII hide the key, the text comes back without them.
    """
    if len(secret) < SHORTEST:
        return text
    pattern = _compiled(secret)
    changed, count = _replaced(pattern, text, mark)
    if not text.isascii() or not text.isprintable():
        seen, hidden = _replaced(pattern, _UNSEEN.sub("", changed), mark)
        if hidden:
            return seen
    return changed if count else text


def _replaced(pattern: Pattern, text: str, mark: str) -> tuple[str, int]:
    data, count = pattern.subn(mark.encode(), text.encode("utf-8", "replace"))
    return (data.decode("utf-8", "replace"), count) if count else (text, 0)


@functools.lru_cache(maxsize=4)
def _compiled(secret: str) -> Pattern:
    options = re2.Options()
    options.max_mem = _MAX_MEMORY
    options.log_errors = False
    return re2.compile(pattern(secret), options)


@functools.lru_cache(maxsize=4)
def pattern(secret: str) -> str:
    """An RE2 pattern for the key in all the forms it may have been written in."""
    raw = secret.encode("utf-8", "replace")
    forms = [_over_lines(_plain_or_escaped(character) for character in secret)]
    digits = f"[ :]?{_LINE_BREAK}".join(_over_lines(f"{byte:02x}") for byte in raw)
    forms.append(f"(?i:{digits})")
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw).decode()
        # Only the characters that the neighbours of the key have no part in.
        core = encoded[(before * 8 + 5) // 6 : (before + len(raw)) * 8 // 6]
        forms.append(_over_lines(_BASE64_SIGNS.get(sign, sign) for sign in core))
        forms[-1] += "[A-Za-z0-9+/_-]?={0,2}"
    return "|".join(forms)


def _over_lines(pieces: Iterable[str]) -> str:
    """The pieces one after the other, also where lines were broken between them."""
    return _LINE_BREAK.join(pieces)


def _plain_or_escaped(character: str) -> str:
    """A character as it is, or as a URL, JSON or HTML may write it."""
    raw, code = character.encode("utf-8", "replace"), ord(character)
    percent = _over_lines("".join(f"%{byte:02x}" for byte in raw))
    plain = re2.escape(raw.decode())
    escaped = rf"(?i:{percent}|\\u{code:04x}|&#0*{code};|&#x0*{code:x};)"
    return f"(?:{plain}|{escaped}{'|[+]' if character == ' ' else ''})"
