"""Rewrites a text outside the grammar, with one thing mended.

A rewrite never leaves out what decides what a command does: a variable, negation, condition or
loop. If that cannot be kept, there is no rewrite.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from hostup_mcp.suggestions.printed_bytes import same_bytes
from hostup_mcp.suggestions.wrappers import matters_not

Kind = Literal["same", "quoted", "changed", "literal"]


@dataclass(frozen=True, slots=True)
class Mended:
    """A mended text.

    Attributes:
        text: the new text.
        kind: `same` if a shell reads both alike. `quoted` if characters that a shell would expand
            are now plain text, which is right for a program that expects text there. `literal` if
            that was a variable; then nothing may be changed any further. Else `changed`.
    """

    text: str
    kind: Kind


# Commands run as root in the folder /, so the values of these are known.
_KNOWN: Final = {"HOME": "/root", "PWD": "/", "USER": "root", "LOGNAME": "root", "UID": "0"}
_SINGLE = re.compile(r"'[^']*'?")
_VARIABLE = re.compile(rf"\$(?:\{{({'|'.join(_KNOWN)})\}}|({'|'.join(_KNOWN)})(?![A-Za-z0-9_]))")
_HOME_OF = re.compile(r"~([A-Za-z_][A-Za-z0-9_-]*)?(?=[/\s]|$)")
_SUBSTITUTION = re.compile(r"\$\((?!\()([^()]*)\)|`([^`]*)`|<\(([^()]*)\)")
_BRACES = re.compile(r"([^{}\s'\"\\$]*)\{([^{}\s'\"\\$]*,[^{}\s'\"\\$]*)\}([^\s'\"\\$]*)")
_TESTED = re.compile(r"\[\[? +-[efdLhs] +(/[^\s'\"]*) +\]\]?\s*")
_TIME = re.compile(r"[ \t]*(?:-p[ \t]+)?")
_DASHES = re.compile("(?<!\\S)[\u2012-\u2015\u2212](?=[A-Za-z]{4}|([A-Za-z]))")
_TYPOGRAPHIC: Final = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019", "'"),
        **dict.fromkeys("\u201c\u201d", '"'),
        **dict.fromkeys("\ufeff\u200b", ""),
        "\u00a0": " ",
    }
)
# The reserved word that is also a program, which runs another.
_TRANSPARENT: Final = frozenset({"time"})
_MOST_WORDS: Final = 8


def rewrite_text(text: str, code: str, offset: int, length: int) -> Iterator[Mended]:
    """Texts with another part in the place that the refusal names, likeliest first."""
    fault = TextFault(text, offset, length)
    for mended in _BY_CODE.get(code, _nothing)(fault):
        stripped = mended.text.strip()
        if stripped and stripped != text.strip():
            yield Mended(stripped, mended.kind)


def _nothing(_fault: TextFault) -> Iterator[Mended]:
    yield from ()


# ------------------------------------------------------------------ what a shell would expand


def _quoted(fault: TextFault) -> Iterator[Mended]:
    start, end = fault.word()
    word = fault.text[start:end]
    if len(word) > 1 and word[0] == word[-1] == '"' and not set(word[1:-1]) & set("\"\\'`"):
        word = word[1:-1]
    if word and not set(word) & set("'\"\\"):
        yield Mended(f"{fault.text[:start]}'{word}'{fault.text[end:]}", "quoted")


def _variable(fault: TextFault) -> Iterator[Mended]:
    unquoted = _SINGLE.sub(lambda found: "q" * len(found.group()), fault.text)
    parts: list[str] = []
    at = 0
    for found in _VARIABLE.finditer(unquoted):
        parts += [fault.text[at : found.start()], _KNOWN[found[1] or found[2]]]
        at = found.end()
    yield Mended("".join([*parts, fault.text[at:]]), "changed")
    yield from (replace(mended, kind="literal") for mended in _quoted(fault))


def _tilde(fault: TextFault) -> Iterator[Mended]:
    start, _ = fault.word()
    if start == fault.offset and (found := _HOME_OF.match(fault.text, start)):
        home = f"/home/{found[1]}" if found[1] else "/root"
        yield Mended(fault.before + home + fault.text[found.end() :], "changed")
    yield from _quoted(fault)


def _substitution(fault: TextFault) -> Iterator[Mended]:
    # The inner command alone, to be run first.
    for found in _SUBSTITUTION.finditer(fault.text):
        yield Mended(next(part for part in found.groups() if part is not None), "changed")


def _brace(fault: TextFault) -> Iterator[Mended]:
    start, end = fault.word()
    found = _BRACES.fullmatch(fault.text[start:end])
    expanded: list[Mended] = []
    if found and found[2].count(",") < _MOST_WORDS:
        words = " ".join(found[1] + middle + found[3] for middle in found[2].split(","))
        expanded = [Mended(fault.text[:start] + words + fault.text[end:], "changed")]
    # In a path the shell would expand it; elsewhere it may be for the program.
    yield from expanded if found and "/" in found[1] else ()
    yield from _quoted(fault)
    yield from () if found and "/" in found[1] else expanded


def _bracket(fault: TextFault) -> Iterator[Mended]:
    start, end = fault.stage()
    stage = fault.text[start:end]
    if not stage.lstrip().startswith("["):
        yield from _quoted(fault)
    elif found := _TESTED.fullmatch(stage.strip()):
        joined = " " if fault.text[:start].strip() else ""
        yield Mended(f"{fault.text[:start]}{joined}stat {found[1]} {fault.text[end:]}", "changed")


def _parenthesis(fault: TextFault) -> Iterator[Mended]:
    text = fault.text.strip()
    if text.startswith("(") and text.endswith(")") and text.count("(") == text.count(")") == 1:
        yield Mended(text[1:-1], "changed")
    yield Mended(re.sub(r"(?<=\s)([()])(?=\s|$)", r"'\1'", fault.text), "quoted")


# ------------------------------------------------------------------ operators and redirections


def _background(fault: TextFault) -> Iterator[Mended]:
    before, after = fault.before.rstrip(), fault.after.lstrip()
    yield Mended(f"{before}; {after}" if after else before, "changed")


def _operator(fault: TextFault) -> Iterator[Mended]:
    yield Mended(fault.before + {"|&": "2>&1 |"}.get(fault.token, ";") + fault.after, "changed")


def _command_missing(fault: TextFault) -> Iterator[Mended]:
    yield Mended(fault.text.strip(" \t\n|&;"), "changed")


def _redirection(fault: TextFault) -> Iterator[Mended]:
    found = re.fullmatch(r"0?<\s*(/[^\s<>&()'\"]+)", fault.token)
    if found:
        start, end = fault.stage()
        first, rest = fault.text[start : fault.offset].strip(), fault.text[fault.offset :]
        rest = rest[fault.length : end - fault.offset].strip()
        stage = " ".join(part for part in (first, rest) if part)
        before, after = fault.text[:start], fault.text[end:]
        yield Mended(f"{before} {stage} {found[1]} {after}", "changed")
        if not stage.startswith("cat"):
            yield Mended(f"{before} cat {found[1]} | {stage} {after}", "changed")
        return
    target = fault.token.lstrip("0123456789&<>| \t")
    used = re.search(rf"(?<!\S){re.escape(target)}(?!\S)", f"{fault.before} {fault.after}")
    if target and not used:
        yield Mended(fault.before.rstrip() + " " + fault.after.lstrip(), "changed")


def _assignment(fault: TextFault) -> Iterator[Mended]:
    if matters_not(fault.token) and fault.after.strip():
        yield Mended(fault.before + fault.after.lstrip(), "changed")


def _reserved_word(fault: TextFault) -> Iterator[Mended]:
    if fault.token in _TRANSPARENT:
        yield Mended(fault.before + _TIME.sub("", fault.after, count=1), "changed")


# ------------------------------------------------------------------ characters and quotes


def _comment(fault: TextFault) -> Iterator[Mended]:
    yield Mended(fault.before, "changed")


def _control_character(fault: TextFault) -> Iterator[Mended]:
    yield Mended(f"{fault.before} {fault.after}", "changed")


def _line_break(fault: TextFault) -> Iterator[Mended]:
    joined = re.sub(r"\\\r?\n", " ", fault.text)
    if any("\n" in found.group() for found in QUOTES.finditer(joined)):
        return
    lines = [line.strip() for line in joined.splitlines()]
    kept = [line for line in lines if line and not line.startswith("#")]
    if any(re.search(r"(?<!\S)#", masked(line)) for line in kept):
        return
    together = kept[0] if kept else ""
    for line in kept[1:]:
        together += (" " if together.endswith(("|", "&", ";")) else "; ") + line
    yield Mended(together, "changed")


def _non_ascii(fault: TextFault) -> Iterator[Mended]:
    plain = fault.text.translate(_TYPOGRAPHIC)
    # Long words are usually long options.
    likely = _DASHES.sub(lambda found: "-" if found[1] else "--", plain)
    for mended in (likely, _DASHES.sub("-", plain), _DASHES.sub("--", plain)):
        yield Mended(mended, "changed")
    yield from _as_bytes(fault)


def _as_bytes(fault: TextFault) -> Iterator[Mended]:
    start, end = fault.stage()
    if bytes_said := same_bytes(fault.text[start:end].strip()):
        before, after = fault.text[:start].rstrip(), fault.text[end:].lstrip()
        yield Mended(f"{before} {bytes_said} {after}", "changed")


def _unclosed(fault: TextFault) -> Iterator[Mended]:
    yield Mended(fault.text.rstrip() + fault.token[:1], "changed")


def _command_word(fault: TextFault) -> Iterator[Mended]:
    plain = re.sub(r"['\"\\]", "", fault.token)
    if re.fullmatch(r"[A-Za-z0-9/][A-Za-z0-9/+._-]*", plain):
        yield Mended(fault.before + plain + fault.after, "same")


def _escape(fault: TextFault) -> Iterator[Mended]:
    escaped = fault.token[1:]
    if escaped.isalnum():
        yield Mended(fault.before + escaped + fault.after, "same")


_BY_CODE: Final[dict[str, Callable[[TextFault], Iterator[Mended]]]] = {
    "variable": _variable,
    "tilde": _tilde,
    "substitution": _substitution,
    "brace": _brace,
    "bracket": _bracket,
    **dict.fromkeys(("exclamation_mark", "leading_equals", "glob_refused"), _quoted),
    "parenthesis": _parenthesis,
    "background": _background,
    "operator_refused": _operator,
    "command_missing": _command_missing,
    **dict.fromkeys(("redirection_refused", "redirection_first"), _redirection),
    "assignment": _assignment,
    "reserved_word": _reserved_word,
    "comment": _comment,
    "control_character": _control_character,
    "line_break": _line_break,
    "non_ascii": _non_ascii,
    "unclosed_quote": _unclosed,
    "command_word": _command_word,
    "escape_refused": _escape,
}


# ------------------------------------------------------------------ positions of words


QUOTES = re.compile(r"""'[^']*'?|"(?:\\.|[^"\\])*"?|\\.""", re.DOTALL)
"""Matches each quoted or escaped part of a text."""


def is_one_command(text: str) -> bool:
    """Whether a text is a single command: no operator and no line break outside quotes."""
    return not re.search(r"[|&;\n]", masked(text.strip()))


def masked(text: str) -> str:
    """The text with plain characters for all quoted or escaped parts; its length stays the same."""
    return QUOTES.sub(lambda found: "q" * len(found.group()), text)


def _span(text: str, offset: int, ends: str) -> tuple[int, int]:
    plain = masked(text)
    start = end = offset
    while start > 0 and plain[start - 1] not in ends:
        start -= 1
    while end < len(plain) and plain[end] not in ends:
        end += 1
    return start, end


@dataclass(frozen=True, slots=True)
class TextFault:
    """A text, and the token in it that is at fault."""

    text: str
    offset: int
    length: int

    @property
    def before(self) -> str:
        """The text before the token."""
        return self.text[: self.offset]

    @property
    def token(self) -> str:
        """The token."""
        return self.text[self.offset : self.offset + self.length]

    @property
    def after(self) -> str:
        """The text after the token."""
        return self.text[self.offset + self.length :]

    def word(self) -> tuple[int, int]:
        """The start and the end of the word that contains the token."""
        return _span(self.text, self.offset, " \t\n|&;<>")

    def stage(self) -> tuple[int, int]:
        """The start and the end of the stage that contains the token."""
        return _span(self.text, self.offset, "|&;\n")
