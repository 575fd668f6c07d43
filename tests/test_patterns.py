"""What Python 3.11.2 gets wrong is not used: possessive quantifiers and atomic groups of `re`.

There they match too little or too much (CPython gh-100061, gh-106052), so that a secret is shown.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Protocol, cast

import pytest

import hostup_mcp
from hostup_mcp.output.clean import clean
from hostup_mcp.output.redact import redact
from hostup_mcp.policy.preset import preset_data
from hostup_mcp.policy.values.paths import PathPattern
from hostup_mcp.policy.values.patterns import PatternError, compile_pattern
from tests.test_redos import limited, preset_patterns

BROKEN = {"POSSESSIVE_REPEAT", "ATOMIC_GROUP"}
FUNCTIONS = {
    "compile",
    "match",
    "fullmatch",
    "search",
    "sub",
    "subn",
    "split",
    "findall",
    "finditer",
}
UNKNOWN = "x"
"""Stands for a part of a pattern that is only known when it is used."""


class _Parser(Protocol):
    """`re._parser`, which has no public name and no types."""

    def parse(self, pattern: str | bytes, flags: int = 0) -> object: ...


PARSER = cast("_Parser", importlib.import_module("re._parser"))


def operations(tree: object) -> Iterator[str]:
    """The names of all operations in a parsed pattern."""
    data: object = getattr(tree, "data", tree)
    if isinstance(data, list | tuple):
        for item in cast("list[object]", data):
            yield from operations(item)
    elif isinstance(data, int):
        yield str(getattr(data, "name", ""))


def broken(pattern: str | bytes, flags: int = 0) -> bool:
    return bool(BROKEN & {*operations(PARSER.parse(pattern, flags & ~re.DEBUG))})


def modules() -> Iterator[ModuleType]:
    for info in pkgutil.walk_packages(hostup_mcp.__path__, "hostup_mcp."):
        if info.name != "hostup_mcp.__main__":
            yield importlib.import_module(info.name)


def written_in(module: ModuleType) -> Iterator[tuple[str, str | bytes]]:
    """Every pattern that a module gives to `re`, with its place."""
    path = Path(str(module.__file__))
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="re"), attr=name), args=[first, *_]
            ) if name in FUNCTIONS:
                yield f"{path.name}:{node.lineno}", value_of(first, vars(module))
            case _:
                pass


def value_of(node: ast.expr, names: Mapping[str, object]) -> str | bytes:
    """What an expression of a module comes to, as far as its global names tell."""
    try:
        value: object = eval(compile(ast.Expression(node), "", "eval"), dict(names))  # noqa: S307
    except NameError:
        match node:
            case ast.JoinedStr(values=parts):
                return "".join(str(value_of(part, names)) for part in parts)
            case ast.FormattedValue(value=part):
                return str(value_of(part, names))
            case ast.BinOp(left=left, right=right):
                return str(value_of(left, names)) + str(value_of(right, names))
            case _:
                return UNKNOWN
    assert isinstance(value, str | bytes), ast.dump(node)
    return value


def test_the_search_for_them_finds_them() -> None:
    for pattern in ("a++", "(?:ab)*+", "a{1,9}+b", "(?>a|b)", "a?+", "(x(?:y|[z]++))"):
        assert broken(pattern), pattern
    for pattern in (r"a\++", "[*+]+", "a+?", "(?:a)+", "(?=a)", b"[+]+"):
        assert not broken(pattern), pattern
    assert value_of(ast.parse("f'{A}b{c}'", mode="eval").body, {"A": "a+"}) == "a+bx"


def test_no_pattern_of_a_module_uses_them() -> None:
    compiled = 0
    written: list[str] = []
    for module in modules():
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern):
                found = cast("re.Pattern[str]", value)
                assert not broken(found.pattern, found.flags), f"{module.__name__}.{name}"
                compiled += 1
        for place, pattern in written_in(module):
            assert not broken(pattern), place
            written.append(place)
    assert compiled > 60
    assert len(written) > 80
    assert {name.partition(":")[0] for name in written} >= {"terminal.py", "secret_values.py"}


def test_no_pattern_of_the_data_uses_them() -> None:
    patterns = [*preset_patterns().values()]
    patterns += [
        PathPattern(text).expression
        for block in preset_data().path
        for text in (*block.allow, *block.deny)
    ]
    assert len(patterns) > 200
    for compiled in patterns:
        assert not broken(compiled.pattern, compiled.flags), compiled.pattern


@pytest.mark.parametrize("pattern", ["a++", "a*+", "a?+", "a{1,2}+", "(?>a)", "(a|b)++", "[ab]*+"])
def test_no_pattern_of_an_operators_type_may_use_them(pattern: str) -> None:
    with pytest.raises(PatternError):
        compile_pattern(pattern)


def test_no_frozen_class_with_slots_says_itself_how_it_is_pickled() -> None:
    """`dataclass(slots=True)` of Python 3.11.2 replaces what it says."""
    names = {"__getstate__", "__setstate__"}
    for module in modules():
        tree = ast.parse(Path(str(module.__file__)).read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and "slots=True" in map_unparsed(node):
                methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
                assert not names & methods, f"{module.__name__}.{node.name}"


def map_unparsed(node: ast.ClassDef) -> str:
    return " ".join(map(ast.unparse, node.decorator_list))


# ---------------------------------------------------------------- and nothing takes long instead

MANY = 1 << 17
CLEANED = {
    "string that any character may begin": "a\x9d" * MANY,
    "the same, with a space": "a \x9d" * MANY,
    "string without an end": "\x1b]" * MANY,
    "long string without an end": ("\x1b]" + "a" * 9000) * 20,
    "long one-character string": ("a\x9d" + "b" * 9000) * 20,
    "palette": "\x1b]P0123456" * (MANY // 8),
    "control sequence": "\x1b[" * MANY,
    "one with many parameters": ("\x1b[" + "1" * 300) * 400,
    "one-character control sequence": "a\x9b1;" * MANY,
    "character sets": "\x1b     " * MANY,
}
REDACTED = {
    "separators": "password=a" + ";" * MANY + "x",
    "both separators": "password=a" + ",;" * MANY + "x",
    "quotes": "password=a" + "'a" * MANY,
    "names": "password=a" + (";" + "a" * 70) * 2000,
    "blanks after separators": "password=a" + ("," + "\t" * 9) * MANY,
    "blanks": "password: a" + " " * MANY + "b",
    "blanks before a comment": "password = a b" + " \t" * MANY + "x",
    "blanks after a token": "token = abc12345" + " " * MANY + "x",
    "a plain value": "password=" + "a" * MANY,
    "many": "password: x " * (MANY // 8),
}


@pytest.mark.parametrize("name", CLEANED)
def test_no_text_keeps_the_cleaning_busy(name: str) -> None:
    with limited(name):
        clean(CLEANED[name])


@pytest.mark.parametrize("name", REDACTED)
def test_no_text_keeps_the_redaction_busy(name: str) -> None:
    with limited(name):
        redact(REDACTED[name])


def test_cleaning_takes_twice_as_long_for_twice_as_much() -> None:
    def seconds(text: str) -> float:
        began = time.process_time()
        clean(text)
        return time.process_time() - began

    long = "a \x9d" * (4 * MANY)
    assert seconds(long) < 12 * seconds(long[: len(long) // 4]) + 0.5


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "DB_PASSWORD=hunter22,API_TOKEN=abc",
            "DB_PASSWORD=[redacted: password],API_TOKEN=abc",
        ),
        (
            "DB_PASSWORD=hunter22,API_TOKEN=abcd1234efgh",
            "DB_PASSWORD=[redacted: password],API_TOKEN=[redacted: secret]",
        ),
        ("GET /x?token=abc123&user=x HTTP/1.1", "GET /x?token=[redacted: secret]&user=x HTTP/1.1"),
        ("password=a;b'c,d;user=x", "password=[redacted: password];user=x"),
        ('{password=hunter22"} x', '{password=[redacted: password]"} x'),
        ("password=hunter22,;, next", "password=[redacted: password],;, next"),
        ("password=" + "a;" * 3000 + "b, user=x", "password=[redacted: password], user=x"),
        ("password=" + "é;" * 1500 + "b user=x", "password=[redacted: password] user=x"),
        ("\x1b[1;31mred\x1b[0m \x1b]0;t\x07x\x1b(By", "red xy"),
    ],
)
def test_where_a_value_ends_is_the_same_on_every_python(text: str, shown: str) -> None:
    assert redact(clean(text).text).text == shown
