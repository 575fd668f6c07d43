"""No crafted text keeps a regular expression, or the whole verdict, busy for long.

What would never end is stopped after a generous time of the processor's: a limit, not a measure.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import pkgutil
import re
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hostup_mcp.policy
import hostup_mcp.suggestions
from hostup_mcp.policy.preset import Preset, preset_data
from hostup_mcp.policy.values.definitions import TokensType
from hostup_mcp.policy.values.path_patterns import PathPattern
from hostup_mcp.policy.values.patterns import LONGEST_VALUE, PatternError, compile_pattern
from tests.runner_harness import POLICY

LIMIT = 20.0
"""Seconds of the processor; what is slow for good reason takes a hundredth."""
LENGTHS = (LONGEST_VALUE, 4096)


class Stuck(Exception):
    """The limit was reached."""


@contextmanager
def limited(what: str, seconds: float = LIMIT) -> Generator[None]:
    """Stop what goes on inside after so much time of the processor; a match stops for it too."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Stuck(what)

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def adversaries(pattern: str, lengths: tuple[int, ...]) -> Iterator[str]:
    """Long repeats of what a pattern could know, most with a wrong end."""
    known = [*dict.fromkeys(re.sub(r"\\d", "0", re.sub(r"\\s", " ", pattern)) + "aZ0-9 ")]
    known = known[:: max(1, len(known) // 24)]
    seeds = [*known, *(f"{a}{b}" for a, b in itertools.pairwise(known))]
    seeds += [f"{a}{b}" for a in known[:5] for b in known[-5:]]
    literal = re.sub(r"[\\^$*+?(){}|]|\[.*?\]", "", pattern)[:64]
    seeds += [literal or "a", *re.split(r"[|()]", literal)[:8]]
    for length in lengths:
        for seed in seeds:
            whole = (seed * (length // max(1, len(seed)) + 1))[:length]
            yield whole
            yield f"{whole[:-1]}\x7f"
        yield f"-{'9' * (length // 2)}{'a' * (length // 2 - 2)}!"


def try_all(compiled: re.Pattern[str], lengths: tuple[int, ...] = LENGTHS) -> None:
    with limited(compiled.pattern):
        for text in adversaries(compiled.pattern, lengths):
            compiled.fullmatch(text)
            compiled.match(text)


# ---------------------------------------------------------------- the patterns that are there


def texts_in(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for item in cast("dict[str, object]", value).values():
                yield from texts_in(item)
        case list() | tuple():
            for item in cast("list[object]", value):
                yield from texts_in(item)
        case _:
            pass


def preset_patterns() -> dict[str, re.Pattern[str]]:
    """Every pattern of the presets' value types, named or written in place."""
    data = preset_data()
    found: list[str] = []
    for definition in data.types.values():
        if isinstance(definition, TokensType):
            found += definition.tokens
        elif isinstance(definition, str):
            found.append(definition)
    for command in data.command.values():
        inline = [t for t in texts_in(command.model_dump()) if re.fullmatch(r"/.+/", t)]
        found += [text[1:-1] for text in inline]
    return {pattern: compile_pattern(pattern) for pattern in found}


def module_patterns() -> dict[str, re.Pattern[str]]:
    """Every expression that modules of the policy and the suggestions compile, in place too."""
    found: dict[str, re.Pattern[str]] = {}
    rooms = (hostup_mcp.policy, hostup_mcp.suggestions)
    for info in (
        i for room in rooms for i in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")
    ):
        module = importlib.import_module(info.name)
        short = info.name.rpartition(".")[2]
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern):
                found[f"{short}.{name}"] = value
        tree = ast.parse(Path(str(module.__file__)).read_text("utf-8"))
        for node in ast.walk(tree):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="re"), attr=name),
                    args=[ast.Constant(value=str(pattern)), *_],
                ) if name != "compile":
                    found[f"{short}:{node.lineno}"] = re.compile(pattern)
                case _:
                    pass
    return found


def test_no_pattern_of_the_presets_gets_stuck() -> None:
    patterns = preset_patterns()
    assert len(patterns) > 80
    assert {r"\d{1,9}", "json|short"} & {*patterns}
    for compiled in patterns.values():
        try_all(compiled)


def test_no_expression_of_the_policys_own_gets_stuck() -> None:
    patterns = module_patterns()
    assert {"awk._FORMAT", "sed._FLAGS", "delimited._BRACKET", "emit._BARE"} <= {*patterns}
    assert len(patterns) > 30
    for compiled in patterns.values():
        try_all(compiled)
        with limited(compiled.pattern):
            for text in adversaries(compiled.pattern, (LONGEST_VALUE,)):
                compiled.search(text)


def test_no_path_pattern_gets_stuck() -> None:
    texts = {text for block in preset_data().path for text in (*block.allow, *block.deny)}
    assert len(texts) > 150
    for text in texts:
        try_all(PathPattern(text).expression)


def test_no_value_keeps_a_type_busy() -> None:
    types = Preset("diagnostics").types
    names = [name for name in types.names() if name not in {"read", "tree", "meta"}]
    for name in names:
        with limited(name):
            for seed in (
                "a",
                "0",
                ",",
                "a,",
                "1-",
                "%",
                "\\n",
                "{{ .",
                "${a",
                "[0",
                "%-9",
                "-",
                ":80",
            ):
                for length in LENGTHS:
                    types.check(name, (seed * length)[:length])
                    types.check(name, f"{(seed * length)[: length - 1]}!")


# ---------------------------------------------------------------- patterns of an operator's own

CATASTROPHES = (
    "(a|a)*", "(a*)*", "(a+)+", "(a|ab)*c", "(a?){64}", "([a-z]+)*x", r"(\d+)*!", "(a|b|ab)+",
    "a*a*a*", r"(\d{1,3}\.?)+x", "(a{0,9}){9}", "((a|b){0,9}){9}", "(x+x+)+y", "(a|[a-c])+",
    "(.*)(.*)(.*)x", ".*.*.*x", r"([A-Za-z]+[0-9]*)+", "(a*b*)*c", "(a?a?){20}", "(a|aa)+",
    "a{0,400}a{0,400}a{0,400}b", "(a{1,2}){30}b", "((((a?)?)?)?){30}", "(ab?){40}", "(a|b|c)*",
    "(.*.*)?.*x",
)  # fmt: skip


@pytest.mark.parametrize("pattern", CATASTROPHES)
def test_a_pattern_that_could_get_stuck_is_refused(pattern: str) -> None:
    with limited(pattern), pytest.raises(PatternError, match="several ways"):
        compile_pattern(pattern)


def test_the_limit_stops_a_match_that_is_stuck() -> None:
    with pytest.raises(Stuck, match="the name"), limited("the name", 0.2):
        re.compile("(a|aa)+$").match("a" * 64 + "b")


# Each accepted, and as slow as one of its kind gets.
HEAVY = (
    "a*a*", ".*.*b", ".{0,500}.{0,500}(a|b){0,1}a{400}",
    ".{0,700}.{0,700}", ".{0,700}.{0,700}a{300}", "(a|b){0,17}", "[ab]{0,480}a*c",
    "(a|a){17}b{9}c", "((a|a|a){11}|b)c", "(aa|a){18}c", "(a{0,70}){3}b", "a*[a-z]{0,480}[^b]",
    "((a?)?){9}.{0,9}b",
)  # fmt: skip


@pytest.mark.parametrize("pattern", HEAVY)
def test_the_slowest_that_are_accepted_end(pattern: str) -> None:
    compiled = compile_pattern(pattern)
    with limited(pattern):
        for text in ("a" * LONGEST_VALUE, "a" * (LONGEST_VALUE - 1) + "!", "ab" * 512):
            compiled.fullmatch(text)


ATOMS = st.sampled_from(
    ("a", "b", "ab", ".", "[ab]", "[a-z0-9]", "[^b]", r"\d", r"\.", "-", "(a|ab)", "(a|a)", "(b|)")
)
COUNTS = st.sampled_from(
    ("", "", "", "?", "*", "+", "{2}", "{0,3}", "{1,40}", "{0,400}", "{9}", "{0,1024}")
)


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}|{two[1]})"),
        st.tuples(inner.map("({})".format), COUNTS).map("".join),
    )


PATTERNS = st.recursive(st.tuples(ATOMS, COUNTS).map("".join), grown, max_leaves=8)


@settings(max_examples=150)
@given(pattern=PATTERNS)
def match_if_accepted(pattern: str, seen: dict[bool, int]) -> None:
    with limited(pattern):
        try:
            compiled = compile_pattern(pattern)
        except PatternError:
            seen[False] += 1
            return
    seen[True] += 1
    with limited(pattern):
        for seed in ("a", "b", "ab", "aab", "0", ".", "a-"):
            whole = (seed * LONGEST_VALUE)[:LONGEST_VALUE]
            compiled.fullmatch(whole)
            compiled.fullmatch(f"{whole[:-1]}!")


def test_whatever_pattern_is_accepted_ends() -> None:
    seen = {True: 0, False: 0}
    match_if_accepted(seen=seen)
    assert seen[True] > 40
    assert seen[False] > 40


# ---------------------------------------------------------------- the verdict as a whole

LONG = (
    "awk '{}'", "awk '/{}/'", "awk '{{print {}}}'", "awk '{{printf \"{}\"}}'", "sed 's/{}/b/'",
    "sed '{}'", "sed -n '/{}/p'", "ls {}", "ls /var/log/{}", "cat /var/log/{}", "cat /proc/{}",
    "grep -r {} /etc/", "find / -name '{}'", "find / -printf '{}'", "ps -eo {}", "ss '{}'",
    "printf '{}'", "{}", "df {}", "docker ps --format '{}'", "dpkg-query -W -f='{}'",
    "cut -f {} /etc/passwd", "journalctl {}",
)  # fmt: skip
REPEATED = (
    "a", "*", "/*", "**/", "?", "a*", "(", "!", "-", "\\", "\\/", "[", "[a]", "%", "%s", "\\101",
    ",", "1,", "a|", "| ls ", "; ls ", "{{.a}}", "$1", "$1+", '"a"', "&& a ", "\\[:a:", "= ",
    "pid,", "()", "\n", "'",
)  # fmt: skip


@pytest.mark.parametrize("form", LONG)
def test_no_text_keeps_the_verdict_busy(form: str) -> None:
    for piece in REPEATED:
        with limited(f"{form} {piece}"):
            for length in (240, 1000, 3900):
                POLICY.judge(form.format((piece * length)[:length]))
