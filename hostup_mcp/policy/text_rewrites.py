"""What was meant by a command that is not in the grammar: its text with one thing mended."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]+)\}|([A-Za-z_]+))")
# Commands run as root in the folder /, so these are known.
_KNOWN: Final = {"HOME": "/root", "PWD": "/", "USER": "root", "LOGNAME": "root", "UID": "0"}
_ECHO = re.compile(r"echo +['\"]?([^'\"\\%|&;<>]*)['\"]?")
_TILDE = re.compile(r"(?<![^\s:=])~([A-Za-z_][A-Za-z0-9_-]*)?(?=[/\s]|$)")
_SUBSTITUTION = re.compile(r"\$\(([^()]*)\)|`([^`]*)`|<\(([^()]*)\)")
_TYPOGRAPHIC: Final = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019", "'"),
        **dict.fromkeys("\u201c\u201d", '"'),
        **dict.fromkeys("\u2013\u2212", "-"),
        **dict.fromkeys("\ufeff\u200b", ""),
        "\u2014": "--",
        "\u00a0": " ",
    }
)


def rewrite_text(text: str, code: str, offset: int, length: int) -> Iterator[str]:
    """Texts that differ from this one where the refusal of this code points, likeliest first."""
    before, token, after = text[:offset], text[offset : offset + length], text[offset + length :]
    if code in _CUT_OUT:
        yield f"{before}{_CUT_OUT[code]}{after}".strip()
    elif code in _BY_CODE:
        yield from _BY_CODE[code](text, before, token, after)
    elif code in _QUOTED:
        start = max(before.rfind(" "), before.rfind("\t")) + 1
        word = re.match(r"\S*", text[start:])
        end = start + (word.end() if word else 0)
        if "'" not in text[start:end]:
            yield f"{text[:start]}'{text[start:end]}'{text[end:]}"


def _variable(text: str, before: str, token: str, after: str) -> Iterator[str]:
    yield _VARIABLE.sub(lambda found: _KNOWN.get(found[1] or found[2], found[0]), text)
    if '"' not in text:
        yield from rewrite_text(text, "brace", len(before), len(token))
    yield f"{before}{after}"


def _tilde(text: str, _before: str, _token: str, _after: str) -> Iterator[str]:
    yield _TILDE.sub(lambda found: f"/home/{found[1]}" if found[1] else "/root", text)


def _substitution(text: str, _before: str, _token: str, _after: str) -> Iterator[str]:
    for found in _SUBSTITUTION.finditer(text):
        yield next(part for part in found.groups() if part is not None).strip()


def _background(_text: str, before: str, _token: str, after: str) -> Iterator[str]:
    yield f"{before.rstrip()}; {after.lstrip()}" if after.strip() else before.rstrip()


def _operator(_text: str, before: str, token: str, after: str) -> Iterator[str]:
    yield before + {"|&": "2>&1 |"}.get(token, ";") + after


def _command_missing(text: str, _before: str, _token: str, _after: str) -> Iterator[str]:
    yield text.strip(" \t\n|&;")


def _comment(_text: str, before: str, _token: str, _after: str) -> Iterator[str]:
    yield before


def _line_break(text: str, _before: str, _token: str, _after: str) -> Iterator[str]:
    joined = re.sub(r"\\\r?\n", " ", text)
    lines = [line.strip() for line in joined.splitlines()]
    yield "; ".join(line for line in lines if line and not line.startswith("#"))


def _non_ascii(text: str, _before: str, _token: str, _after: str) -> Iterator[str]:
    plain = text.translate(_TYPOGRAPHIC)
    yield plain
    if said := _ECHO.fullmatch(plain.strip()):
        raw = said[1].encode("utf-8", "replace")
        octal = "".join(chr(byte) if byte < 128 else f"\\{byte:03o}" for byte in raw)
        yield f"printf '{octal}\\n'"


def _unclosed(text: str, _before: str, token: str, _after: str) -> Iterator[str]:
    yield text + token[:1]


def _command_word(_text: str, before: str, token: str, after: str) -> Iterator[str]:
    yield before + token.replace("'", "").replace('"', "").replace("\\", "") + after


def _escape(_text: str, before: str, token: str, after: str) -> Iterator[str]:
    yield before + token[1:] + after


def _parenthesis(text: str, _before: str, _token: str, _after: str) -> Iterator[str]:
    yield re.sub(r"(?<=\s)([()])(?=\s|$)", r"'\1'", text)


_CUT_OUT: Final = {
    "control_character": " ",
    **dict.fromkeys(("assignment", "negation", "reserved_word"), ""),
    **dict.fromkeys(("redirection_refused", "redirection_first", "here_document"), ""),
}
_QUOTED: Final = frozenset(
    {"brace", "bracket", "exclamation_mark", "leading_equals", "glob_refused"}
)
_BY_CODE: Final[dict[str, Callable[[str, str, str, str], Iterator[str]]]] = {
    "variable": _variable,
    "tilde": _tilde,
    "substitution": _substitution,
    "background": _background,
    "operator_refused": _operator,
    "command_missing": _command_missing,
    "comment": _comment,
    "line_break": _line_break,
    "non_ascii": _non_ascii,
    "unclosed_quote": _unclosed,
    "command_word": _command_word,
    "escape_refused": _escape,
    "parenthesis": _parenthesis,
}
