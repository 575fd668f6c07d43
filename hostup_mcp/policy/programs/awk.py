"""`awk` programs that only choose lines and print parts of them.

    program   = rule { ";" rule }, where the ; may be left out after a }
    rule      = pattern | [ pattern ] "{" [ statement { ";" statement } ] "}"
    pattern   = "BEGIN" | "END" | condition [ "," condition ]
    condition = test { ( "&&" | "||" ) test }
    test      = [ "!" ] ( expression [ comparison expression ] | regular expression )
    statement = "print" [ items ] | "printf" string { "," expression }
              | name ( "++" | "+=" expression ) | ( "FS" | "OFS" ) "=" string
    items     = expression { [ "," ] expression }

Expressions are fields, numbers, plain strings, names, arithmetic and a few functions of text. There
is no redirection, no pipe, no getline, no system, no array and no assignment of text, so a program
can neither reach outside nor grow without bound.

Each program is read into tokens first, and every awk must read the same tokens. What a / does is
decided by the token before it: it divides after a number, a string, an expression, a ) or a name,
and begins an expression anywhere else. Behind a name awks could differ, so a program that divides
there has no / anywhere else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal

from hostup_mcp.policy.mismatch import Mismatch, shown
from hostup_mcp.policy.models import Awk, OptionSet
from hostup_mcp.policy.programs.awk_growth import Printed, ProgramGrowth
from hostup_mcp.policy.programs.delimited import end_of_expression
from hostup_mcp.policy.programs.getopt import check_options
from hostup_mcp.policy.shell.tree import Word
from hostup_mcp.policy.values.backtracking import has_back_reference
from hostup_mcp.policy.values.regex_size import is_too_large
from hostup_mcp.policy.values.types import ValueTypes, back_reference

_Kind = Literal["number", "string", "name", "regex", "sign", "end"]
_Token = tuple[_Kind, str]

_NUMBER = re.compile(r"\d{1,12}(\.\d{1,12})?")
_STRING = re.compile(r'"((?:[^"\\]|\\[nt"\\/])*)"')
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}")
_SIGN = re.compile(r"&&|\|\||==|!=|<=|>=|!~|\+\+|--|\+=|-=|[-+*%/,;(){}<>!~$=]")
_WORD = re.compile(r"[A-Za-z0-9_.]")
_FIELD = re.compile(r"\d{1,4}")
_KINDS: Final[tuple[tuple[_Kind, re.Pattern[str]], ...]] = (
    ("number", _NUMBER),
    ("string", _STRING),
    ("name", _NAME),
    ("sign", _SIGN),
)
_FORMAT = re.compile(r"(?:[^%]|%%|%[-+ 0]{0,3}\d{0,3}(?:\.\d{1,3})?[dsfgiuxXoeE])*")

_VARIABLES: Final = frozenset({"NR", "NF", "FNR", "FS", "OFS", "FILENAME"})
_FUNCTIONS: Final = frozenset({"length", "substr", "index", "tolower", "toupper", "int", "sprintf"})
_KEYWORDS: Final = frozenset(
    """
    BEGIN END BEGINFILE ENDFILE print printf getline system close fflush exit next nextfile
    return delete func function if else while for do switch case default break continue in
    eval include load namespace ENVIRON PROCINFO SYMTAB FUNCTAB ARGV ARGC ARGIND RS ORS RT
    IGNORECASE BINMODE LINT TEXTDOMAIN SUBSEP RSTART RLENGTH ERRNO FIELDWIDTHS FPAT CONVFMT
    OFMT sub gsub gensub match split asort asorti patsplit strtonum strftime systime mktime
    srand rand sin cos atan2 exp log sqrt and or xor compl lshift rshift isarray typeof
    mkbool bindtextdomain dcgettext dcngettext extension chr ord readfile writea reada fork
    wait waitpid stat fts inplace
    """.split()
)
_COMPARISONS: Final = frozenset({"==", "!=", "<", "<=", ">", ">="})
_MAX_DEPTH: Final = 16

_HINT: Final = (
    "For example: awk '{print $1, $5}', awk '$5 > 80 {print $6}', awk '/error/', "
    "awk '{s += $1} END {print s}'."
)


def check_awk(spec: Awk, words: Sequence[Word], types: ValueTypes) -> Mismatch | None:
    """Whether the words after `awk` are options, one program and files to read."""
    place = _program_index(spec, words)
    fault = check_options(OptionSet(options=spec.options), words[:place], types)
    if fault:
        return fault
    if place is None:
        return Mismatch("usage_refused", "A program is missing.", -1, _HINT)
    text = words[place].text
    if words[place].is_glob or not is_plain_program(text):
        return Mismatch(
            "program_refused",
            f"{shown(text)} is not an accepted program: write patterns, print, printf and sums.",
            place,
            _HINT,
        )
    if has_back_reference(text):
        return back_reference(text).at(place)
    # No options after the program: awk would take them, and their values, for files.
    files = OptionSet(operands=spec.operands, max=spec.max)
    fault = check_options(files, words[place + 1 :], types)
    return fault.at(fault.index + place + 1) if fault and fault.index >= 0 else fault


def is_plain_program(text: str) -> bool:
    """Whether a text is a program of the language above."""
    tokens = _tokens(text)
    if tokens is None:
        return False
    try:
        _Program(tokens).read()
    except _NotAccepted:
        return False
    return True


@lru_cache(maxsize=64)
def program_growth(text: str) -> ProgramGrowth | None:
    """What a program of the language above may print for each record; None for other texts."""
    tokens = _tokens(text)
    if tokens is None:
        return None
    program = _Program(tokens)
    try:
        program.read()
    except _NotAccepted:
        return None
    return program.printed.growth()


def _program_index(spec: Awk, words: Sequence[Word]) -> int | None:
    """Awk takes no options after its program, so the first other word is the program."""
    index = 0
    while index < len(words) and words[index].text.startswith("-"):
        index += 2 if words[index].text in spec.options else 1
    return index if index < len(words) else None


def _tokens(text: str) -> list[_Token] | None:
    """What every awk reads a program as; None where awks could differ, or for what is not known."""
    tokens: list[_Token] = []
    position, divides = 0, False
    while position < len(text):
        if text[position] == " ":
            position += 1
            continue
        found = _token_at(text, position, after=tokens)
        if found is None:
            return None
        token, position = found
        divides = divides or (token == ("sign", "/") and tokens[-1][0] == "name")
        tokens.append(token)
    # An awk that took a division for the start of an expression must find no other / to end it at.
    slashes = any(kind == "regex" or (kind == "string" and "/" in word) for kind, word in tokens)
    return None if divides and slashes else tokens


def _token_at(text: str, start: int, *, after: Sequence[_Token]) -> tuple[_Token, int] | None:
    """The token that begins here, and where it ends."""
    if text[start] == "/" and not _ends_operand(after):
        end = end_of_expression(text, start + 1, "/")
        return None if end is None else (("regex", text[start + 1 : end]), end + 1)
    for kind, pattern in _KINDS:
        found = pattern.match(text, start)
        if found is None:
            continue
        # 1e1system is a number and a name for awk; a string may be used as an expression.
        joined = kind in {"number", "name"} and _WORD.match(text, found.end())
        large = kind == "string" and is_too_large(found.group()[1:-1])
        return None if joined or large else ((kind, found.group()), found.end())
    return None


def _ends_operand(tokens: Sequence[_Token]) -> bool:
    """Whether what stands before can be divided, so that a / divides it."""
    if not tokens:
        return False
    kind, value = tokens[-1]
    return (
        kind in {"number", "string", "regex"}
        or (kind == "sign" and value == ")")
        or (kind == "name" and value not in _KEYWORDS)
    )


class _NotAccepted(Exception):
    """The tokens are no program of the language above."""


class _Program:
    def __init__(self, tokens: Sequence[_Token]) -> None:
        end: _Token = ("end", "")
        self._tokens: tuple[_Token, ...] = (*tokens, end)
        self._at = 0
        self._depth = 0
        self.printed = Printed()

    def read(self) -> None:
        """The whole program.

        Raises:
            _NotAccepted: it is not of the language.
        """
        self._rule()
        while self._kind() != "end":
            closed = self._tokens[self._at - 1] == ("sign", "}")
            if not self._take(";") and not closed:
                raise _NotAccepted
            self._rule()

    # -------------------------------------------------------------- rules and statements

    def _rule(self) -> None:
        value = self._value()
        if value in {"BEGIN", "END"} and self._kind() == "name":
            self._at += 1
            self.printed.once = True
            self._action()
            self.printed.once = False
            return
        if value != "{":
            self._condition()
            if self._take(","):
                self._condition()
        if self._value() == "{":
            self._action()
        else:
            self.printed.record()

    def _action(self) -> None:
        self._need("{")
        while not self._take("}"):
            if not self._take(";"):
                self._statement()
                if self._value() not in {";", "}"}:
                    raise _NotAccepted

    def _statement(self) -> None:
        kind, value = self._token()
        self._at += 1
        if kind != "name":
            raise _NotAccepted
        if value in {"print", "printf"}:
            self.printed.printing = True
            self._print() if value == "print" else self._printf()
            self.printed.printing = False
        elif value in {"FS", "OFS"}:
            self._need("=")
            if self._kind() != "string":
                raise _NotAccepted
            if value == "OFS":
                self.printed.separator = max(self.printed.separator, len(self._token()[1]))
            self._at += 1
        elif value in _KEYWORDS | _FUNCTIONS | _VARIABLES:
            raise _NotAccepted
        elif self._take("+="):
            self.printed.summed.add(value)
            self._expression()
        else:
            self._need("++")

    def _print(self) -> None:
        if self._value() in {";", "}", ""}:
            self.printed.record()
            return
        self.printed.line()
        while self._value() not in {";", "}", ""}:
            self._expression()
            if self._take(","):
                self.printed.comma()
                if self._value() in {";", "}", ""}:
                    raise _NotAccepted

    def _printf(self) -> None:
        parenthesis = self._take("(")
        self._format()
        while self._take(","):
            self._expression()
        if parenthesis:
            self._need(")")

    def _format(self) -> None:
        kind, value = self._token()
        if kind != "string" or not _FORMAT.fullmatch(value[1:-1]):
            raise _NotAccepted
        self.printed.text(value)
        self._at += 1

    # -------------------------------------------------------------- conditions and expressions

    def _condition(self) -> None:
        self._enter()
        self._test()
        while self._take("&&") or self._take("||"):
            self._test()
        self._depth -= 1

    def _test(self) -> None:
        while self._take("!"):
            self._enter()
        if self._kind() == "regex":
            self._at += 1
            return
        if self._value() == "(" and self._is_condition_group():
            self._need("(")
            self._condition()
            self._need(")")
            return
        self._expression()
        if self._take("~") or self._take("!~"):
            if self._kind() != "regex":
                raise _NotAccepted
            self._at += 1
        elif self._value() in _COMPARISONS:
            self._at += 1
            self._expression()

    def _is_condition_group(self) -> bool:
        """Whether the parenthesis ahead holds a condition rather than arithmetic."""
        depth = 0
        for kind, value in self._tokens[self._at :]:
            depth += (value == "(" and kind == "sign") - (value == ")" and kind == "sign")
            if kind == "regex" or (
                kind == "sign" and value in _COMPARISONS | {"&&", "||", "~", "!~", "!"}
            ):
                return True
            if depth == 0:
                return False
        raise _NotAccepted

    def _expression(self) -> None:
        self._enter()
        self._operand()
        while self._value() in {"+", "-", "*", "/", "%"} and self._kind() == "sign":
            self._at += 1
            self._operand()
        self._depth -= 1

    def _operand(self) -> None:
        kind, value = self._token()
        self._at += 1
        if kind in {"number", "string"}:
            self.printed.text(value)
            return
        if value == "$" and kind == "sign":
            self._field()
        elif value == "(" and kind == "sign":
            self._expression()
            self._need(")")
        elif value == "-" and kind == "sign":
            self._enter()
            self._operand()
            self._depth -= 1
        elif kind == "name" and value in _FUNCTIONS:
            self._call(value)
        elif kind != "name" or value in _KEYWORDS:
            raise _NotAccepted
        else:
            self.printed.name(value)

    def _field(self) -> None:
        # A field far out makes awk build all fields before it.
        kind, value = self._token()
        self._at += 1
        if kind == "number" and _FIELD.fullmatch(value):
            self.printed.field(str(int(value)))
            return
        self.printed.field("NF")
        if kind == "name" and value == "NF":
            return
        if (kind, value) != ("sign", "("):
            raise _NotAccepted
        if self._token() != ("name", "NF"):
            raise _NotAccepted
        self._at += 1
        if self._take("-"):
            kind, value = self._token()
            if kind != "number" or not _FIELD.fullmatch(value):
                raise _NotAccepted
            self._at += 1
        self._need(")")

    def _call(self, name: str) -> None:
        self.printed.name(name)
        if name == "length" and self._value() != "(":
            return
        self._need("(")
        if name == "sprintf":
            self._format()
        else:
            self._expression()
        while self._take(","):
            self._expression()
        self._need(")")

    # -------------------------------------------------------------- tokens

    def _token(self) -> _Token:
        return self._tokens[self._at]

    def _kind(self) -> _Kind:
        return self._tokens[self._at][0]

    def _value(self) -> str:
        kind, value = self._tokens[self._at]
        return f'"{value}' if kind in {"string", "regex"} else value

    def _take(self, sign: str) -> bool:
        if self._token() != ("sign", sign):
            return False
        self._at += 1
        return True

    def _need(self, sign: str) -> None:
        if not self._take(sign):
            raise _NotAccepted

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _NotAccepted
