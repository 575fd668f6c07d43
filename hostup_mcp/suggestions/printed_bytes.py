"""Knows what `echo` and `printf` would print, and the accepted command that prints the same."""

from __future__ import annotations

import re
import shlex

_ESCAPE = re.compile(r"\\([0-7]{1,3}|.)", re.DOTALL)
_SIMPLE = {"n": "\n", "t": "\t", "\\": "\\", '"': '"', "'": "'"}
_CONVERSION = re.compile(r"%%|%s|%d")
_NUMBER = re.compile(r"0|-?[1-9]\d{0,17}")
_PLAIN = re.compile(r"[ -\[\]-~]*")


def same_bytes(command: str) -> str | None:
    """An allowed command that prints what this one prints; None if that is not certain.

    Args:
        command: one `echo` or `printf`, in any characters.
    """
    try:
        words = shlex.split(command)
        printed = _printed(words)
        raw = printed.encode() if printed else b""
    except ValueError:
        return None
    if not raw or b"%" in raw:
        return None
    text = raw.decode("latin-1")
    line = text.removesuffix("\n")
    if text != line and _PLAIN.fullmatch(line) and line[:1] not in {"", "-"}:
        return shlex.join(["echo", line])
    return f"printf {shlex.quote(_octal(text))}"


def _printed(words: list[str]) -> str | None:
    match words:
        case ["echo", "-n", *rest] if rest and not _has_backslash(rest):
            return " ".join(rest)
        case ["echo", first, *rest] if first[:1] != "-" and not _has_backslash([first, *rest]):
            return " ".join([first, *rest]) + "\n"
        case ["printf", form, *values] if form[:1] != "-":
            return _formatted(form, values)
        case _:
            return None


def _has_backslash(words: list[str]) -> bool:
    return any("\\" in word for word in words)


def _formatted(form: str, values: list[str]) -> str | None:
    """The text that printf prints: it uses the format again until no value is left."""
    signs = [sign for sign in _CONVERSION.findall(form) if sign != "%%"]
    slots = len(signs)
    if "%" in _CONVERSION.sub("", form) or (values and not slots):
        return None
    parts: list[str] = []
    left = list(values)
    while True:
        taken, left = left[:slots], left[slots:]
        parts.append(_once(form, [*taken, *[""] * (slots - len(taken))]))
        if not left:
            return "".join(parts)


def _once(form: str, values: list[str]) -> str:
    following = iter(values)
    pieces = _CONVERSION.split(form)
    signs = _CONVERSION.findall(form)
    said = _unescaped(pieces[0])
    for sign, piece in zip(signs, pieces[1:], strict=True):
        value = "%" if sign == "%%" else next(following)
        if sign == "%d" and not _NUMBER.fullmatch(value):
            raise ValueError(value)
        said += value + _unescaped(piece)
    return said


def _unescaped(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        what = found[1]
        if what[0] in "01234567" and what.isdigit():
            code = int(what, 8)
            if code > 0x7F:
                raise ValueError(what)  # a single byte that is not a character
            return chr(code)
        if what not in _SIMPLE:
            raise ValueError(what)
        return _SIMPLE[what]

    return _ESCAPE.sub(one, text)


def _octal(text: str) -> str:
    """The text as a printf format, with at least one octal escape in it."""
    done = "".join(
        "\\n" if c == "\n" else "\\\\" if c == "\\" else c if " " <= c <= "~" else f"\\{ord(c):03o}"
        for c in text
    )
    if not re.search(r"\\[0-3][0-7]{2}", done):
        done = f"\\{ord(text[0]):03o}" + done[2 if text[0] in "\n\\" else 1 :]
    return done
