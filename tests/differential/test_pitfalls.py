"""Where shells are known to disagree: each case is refused, or runs the same in all of them."""

from __future__ import annotations

from collections import Counter

import pytest

from hostup_mcp.policy.shell.emit import emit_checked
from hostup_mcp.policy.shell.grammar import parse
from hostup_mcp.policy.shell.tree import CommandLine, SyntaxRefusal
from tests.conftest import missing
from tests.differential.campaign import problem
from tests.differential.oracle import predict
from tests.differential.shells import SHELLS, Runner, installed
from tests.differential.world import FILES, World

REFUSED = {
    r"c1 $'\x41'": "variable",
    "c1 \"$'x'\"": "variable",
    'c1 $"x"': "variable",
    "c1 |& d1": "operator_refused",
    "c1 & d1": "background",
    "c1 {a,b}": "brace",
    "c1 {a,-exec}": "brace",
    "c1 {}": "brace",
    "c1 { }": "brace",
    "{ c1; }": "brace",
    "c1 [[ a || d1": "bracket",
    "[[ a || d1": "bracket",
    "c1 ~": "tilde",
    "c1 ~+": "tilde",
    "c1 ~-": "tilde",
    "c1 a=~": "tilde",
    "c1 a:~": "tilde",
    "c1 x\\": "escape_refused",
    "c1 \\": "escape_refused",
    "c1 -\\exec": "escape_refused",
    "alias c1=d1\nc1": "line_break",
    "c1 a\nd1": "line_break",
    "c1 \\\nd1": "line_break",
    "c1 -de\\\nlete": "line_break",
    "c1 \\\r\nd1": "control_character",
    "c1 a\rb": "control_character",
    "c1\x0bd1": "control_character",
    "c1\x0cd1": "control_character",
    "c1 \x1b[31m": "control_character",
    "c1 '\x00'": "control_character",
    "\ufeffc1": "non_ascii",
    "c1\u2003d1": "non_ascii",
    "c1\u3000d1": "non_ascii",
    "c1 '\u4ebd0' '; d1 #'": "non_ascii",
    "; c1": "command_missing",
    "c1 ||; d1": "command_missing",
    "c1 ||": "command_missing",
    "c1 | | d1": "command_missing",
    "c1 ;; d1": "operator_refused",
    "c1 =d1": "leading_equals",
    'c1 ="x"': "leading_equals",
    "time c1": "reserved_word",
    "coproc c1": "reserved_word",
    "then c1": "reserved_word",
    "noglob c1": "reserved_word",
    "a[0]=b c1": "bracket",
    "1=2 c1": "command_word",
    "a=b c1": "assignment",
    "a+=b c1": "assignment",
    "'c1' a": "command_word",
    "c\\1 a": "escape_refused",
    "! c1": "negation",
    "c1 | ! d1": "negation",
    "c1 #d1": "comment",
    "c1 !d1": "exclamation_mark",
    "c1 `d1`": "substitution",
    'c1 "$(d1)"': "substitution",
    "c1 <(d1)": "substitution",
    "c1 <<E": "here_document",
    "c1 > f1": "redirection_refused",
    "c1 &> f1": "redirection_refused",
    "c1 >/dev/null2": "redirection_refused",
    "c1 >&1": "redirection_refused",
    "c1 2>&-": "redirection_refused",
    "c1 *": "glob_refused",
    f"c1 {FILES}/.*": "glob_refused",
    f"c1 {FILES}/**/inner": "glob_refused",
    f"c1 {FILES}/../files/*": "glob_refused",
    f"c1 {FILES}//*": "glob_refused",
    f"c1 {FILES}/'*'*": "glob_refused",
    f"c1 {FILES}/[a-z]*": "bracket",
}

RUNS = {
    r"""c1 '$'"'"'\x41'"'" """: ["c1 $'\\x41'"],
    "c1 'a$'": ["c1 a$"],
    'c1 "a$"': ["c1 a$"],
    'c1 "$"x': ["c1 $x"],
    "c1 a &>/dev/null b": ["c1 a b"],
    "c1 &>/dev/null && c2": ["c1", "c2"],
    "d1 &>>/dev/null || c2": ["d1", "c2"],
    "c1 2&>/dev/null": ["c1 2"],
    "c1 2 >/dev/null": ["c1 2"],
    "c1 a2>/dev/null": ["c1 a2"],
    "c1 '2'>/dev/null": ["c1 2"],
    "c1 '|&' d1": ["c1 |& d1"],
    r"c1 '{a,b}' \{1..3\} '{' '}' '{}'": ["c1 {a,b} {1..3} { } {}"],
    "c1 '[[' a || d1": ["c1 [[ a"],
    "c1 '[[' a && d1 ']]'": ["c1 [[ a", "d1 ]]"],
    r"c1 '~' '~+' '~-' a='~' \~root": ["c1 ~ ~+ ~- a=~ ~root"],
    r"c1 'x\'": ["c1 x\\"],
    r'c1 "x\\"': ["c1 x\\"],
    r'c1 "\a\!"': [r"c1 \a\!"],
    r"c1 '\' \\ '\\'": [r"c1 \ \ \\"],
    "c1 a ;": ["c1 a"],
    r"c1 '=d1' \=x ''=x = ==": ["c1 =d1 =x =x = =="],
    "c1 a=b 1=2 a+=b A=": ["c1 a=b 1=2 a+=b A="],
    "c1 time coproc then if noglob": ["c1 time coproc then if noglob"],
    "c1 eval exec exit cd set .": ["c1 eval exec exit cd set ."],
    "c1 ! && c2 'a!' | c1": ["c1 !", "c2 a!", "c1"],
    r"c1 a#b '#' \#c": ["c1 a#b # #c"],
    "c1 ^a^b % , @ : + -": ["c1 ^a^b % , @ : + -"],
    "d1 && c1 || c2 ; c1 a": ["d1", "c2", "c1 a"],
    "c1 | d1 && c2": ["c1", "d1"],
    "d1 | c1 && c2": ["d1", "c1", "c2"],
    "c1 || d1 && c2": ["c1", "c2"],
    f"c1 {FILES}/none*": [f"c1 {FILES}/none*"],
    f"c1 {FILES}/-*": [f"c1 {FILES}/-- {FILES}/-exec {FILES}/-rf"],
    f"c1 {FILES}/sub/x*": [f"c1 {FILES}/sub/x$(d1)"],
    f"c1 '{FILES}/*'": [f"c1 {FILES}/*"],
}
"""To what is run, in which no argument has a blank."""

BLANKS = {
    "c1 '' \"\" ''\"\"": ("c1", "", "", ""),
    "c1 \\ -y x\\ y ' '": ("c1", " -y", "x y", " "),
    "c1 'a\tb' \"it's\" 'it'\\''s'": ("c1", "a\tb", "it's", "it's"),
    f"c1 {FILES}/a?b": ("c1", f"{FILES}/a b", f"{FILES}/a1b", f"{FILES}/a=b"),
    f"c1 {FILES}/line*": ("c1", f"{FILES}/line\nfeed"),
    f"c1 {FILES}/*/inner": (
        "c1", f"{FILES}/s b/inner", f"{FILES}/sub/inner", f"{FILES}/way/inner",
    ),
}  # fmt: skip
"""To the one argv that is run."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.build(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize(("text", "code"), REFUSED.items())
def test_what_shells_disagree_on_is_refused(text: str, code: str, world: World) -> None:
    refusal = parse(world.at_home(text))
    assert isinstance(refusal, SyntaxRefusal), refusal
    assert refusal.code == code


@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_accepted_runs_alike(shell: str, world: World) -> None:
    if not installed(shell):
        missing(shell)
    runner = Runner(world, shell)
    wanted = {text: [tuple(run.split(" ")) for run in runs] for text, runs in RUNS.items()}
    wanted |= {text: [argv] for text, argv in BLANKS.items()}
    for text, argvs in wanted.items():
        line = parse(world.at_home(text))
        assert isinstance(line, CommandLine), (text, line)
        runs = Counter(
            (world.program(name), *(world.at_home(argument) for argument in arguments))
            for name, *arguments in argvs
        )
        prediction = predict(line, world)
        assert prediction is not None
        assert prediction.runs == runs, text
        body = emit_checked(line)
        assert isinstance(body, str)
        assert not problem(prediction, runner.run(shell, body)), (text, body)
