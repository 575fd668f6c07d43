"""What is accepted cannot exhaust the server: real programs stay within what is counted for them.

The bounds are for lines of 32 characters or more, so the texts here have such lines.
"""

from __future__ import annotations

import itertools
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostup_mcp.policy.judge import ApprovedCommand, Refusal
from hostup_mcp.policy.preset import Preset, program_name
from hostup_mcp.policy.programs.growth import MOST, MOST_KEPT, Flow, added_by
from hostup_mcp.policy.shell.grammar import parse
from hostup_mcp.policy.shell.tree import CommandLine, Stage
from hostup_mcp.policy.values.backtracking import has_back_reference, is_slow, refers
from hostup_mcp.policy.values.regex_size import is_too_large, shortest
from tests.conftest import missing
from tests.runner_harness import POLICY
from tests.test_awk_and_sed import SCRIPTS, programs

PRESET = Preset("diagnostics")
FILE = "/var/log/syslog"
CHANCE = random.Random(5)  # noqa: S311
TEXT = b"".join(
    " ".join(CHANCE.choices(("abba", "b", "cde", "error", "x,y", "10.0.0.1", "a=b"), k=14)).encode()
    + b"\n"
    for _ in range(40)
)
EXAMPLES = settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
ENDS_IN = 20


def stage_of(command: str) -> Stage:
    line = parse(command)
    assert isinstance(line, CommandLine), command
    return line.stages[0]


def flow_of(stages: Sequence[Stage]) -> Flow:
    flow = Flow()
    for stage in stages:
        command = PRESET.commands[program_name(stage.words[0].text)]
        flow = added_by(command, stage.words[1:], PRESET.types).after(flow)
    return flow


def output(argv: Sequence[str], feed: bytes) -> bytes:
    """What a program makes of a text; the file that is named stands for its input."""
    if not shutil.which(argv[0]):
        missing(argv[0])
    words = [word for word in argv if word != FILE]
    words += ["-"] * (len(argv) - len(words)) if argv.count(FILE) == 1 else []
    done = subprocess.run(
        words, input=feed, capture_output=True, timeout=ENDS_IN, check=False, env={"LC_ALL": "C"}
    )
    return done.stdout


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def judge(command: str) -> ApprovedCommand | Refusal:
    return POLICY.judge(command)


def code_of(command: str) -> str:
    decided = judge(command)
    return decided.code if isinstance(decided, Refusal) else ""


# ---------------------------------------------------------------- growth, against real programs

STAGES = (
    "cat -n", "cat -A", "cat -v", "cat -E", "cat -bT", "nl", "nl -w 40", "nl -b a -w9", "fold -w 1",
    "fold -w 7", "fold -s -w 20", "uniq -c", "tr ' ' '\\n'", "tr a-z '\\n'", "cut -b 1-",
    "cut -d ' ' -f 1- --output-delimiter=abcdefgh", "cut -d, -f1,2 --output-delimiter ' -> '",
    "grep -n .", "grep -nb .", "grep -o .", "grep -no .", "grep -onb error",
    "grep -oE 'b+|cde'",
    "grep -H a", "grep -oH error", "grep -nT a", "rev", "sort", "tac", "sort -rn", "head -n 20",
    "sed 's/./&&/g'", "sed 's/x*/-/g'", "sed -n 'p;p;='", "sed 's/b/ccc/g;s/c/bb/g'",
    "sed -E 's/(.*)/\\1 \\1/;s/^/> /'", "sed 's/ /\\n/g'", "sed 's/a/b/2p'", "sed '1,5p;$p'",
    "awk '{print $1, $2}'", "awk '{print $0 $0}'", "awk '{print NR, $0}'", "awk '1;1'",
    "awk '{printf \"%-30s|%5d|\\n\", $1, NR}'", "awk '{n += n + 1; print n}'", "awk '/a/, /b/'",
    "awk '{print sprintf(\"%s %s\", $0, $NF), length}'",
    "awk 'BEGIN {OFS = \"----\"} {print $1, $2}'",
    "awk 'BEGIN {print \"x\"} {print $1; print $2} END {print NR}'",
    "mawk '{print $NF, $0, FILENAME}'",
)  # fmt: skip


@pytest.mark.parametrize("command", STAGES)
def test_no_stage_makes_more_than_is_counted(command: str) -> None:
    assert isinstance(judge(command), ApprovedCommand), code_of(command)
    stage = stage_of(command)
    made = output(stage.argv, TEXT)
    assert made
    assert len(made) <= flow_of([stage]).characters * len(TEXT) + 400


PIECES = (
    *STAGES, "sed 's/.*/&&&&&/'", "sed 's/.*/&&&&&&&&&&/'", "sed 's/./&&&&&&&&&&/g'",
    "awk '{print $0 $0 $0 $0 $0 $0}'", "awk '{printf \"%900s\\n\", $1}'", "nl -w 99",
    "awk '{printf \"%d%d%d%d\", \"1e308\", \"1e308\", \"1e308\", \"1e308\"}'", "fold -w 1",
)  # fmt: skip


def test_no_pipe_that_is_accepted_makes_more_than_the_limit() -> None:
    chance = random.Random(17)  # noqa: S311
    seen: Counter[bool] = Counter()
    for _ in range(400):
        commands = chance.choices(PIECES, k=chance.randint(2, 4))
        accepted = isinstance(judge(" | ".join(commands)), ApprovedCommand)
        seen[accepted] += 1
        if not accepted:
            continue
        feed = TEXT
        for command in commands:
            limit = MOST_KEPT if command.startswith(("sort", "tac")) else MOST
            assert len(feed) <= limit * len(TEXT) + 2000, (commands, command)
            feed = output(stage_of(command).argv, feed)
        assert len(feed) <= MOST * len(TEXT) + 2000, commands
    assert min(seen[True], seen[False]) > 50


OLD = ("a", "b*", ".", ".*", "[a-e]", "e\\|x", "abba", "x*", "^", "$", "\\(a\\)b", " ")
NEW = ("", "&", "&&", "& &", "x", "xyz", "\\1", "\\1\\1", "a\\nb", "&\\n", "\\&")


def substitute(old: str, new: str, flags: str) -> str:
    return f"s/{old}/{new if '(' in old else new.replace('1', '0')}/{flags}"


SUBSTITUTE = st.builds(
    substitute,
    st.sampled_from(OLD),
    st.sampled_from(NEW),
    st.sampled_from(("", "g", "p", "2", "gp", "g", "I")),
)
GROWING = st.lists(
    SUBSTITUTE | st.sampled_from(("p", "=", "1,9p", "$!p", "/a/p")), min_size=1, max_size=3
)


@EXAMPLES
@given(script=GROWING.map(";".join) | SCRIPTS)
def test_no_sed_script_makes_more_than_is_counted(script: str) -> None:
    stage = stage_of(f"sed {quoted(script)}")
    made = output(stage.argv, TEXT)
    assert len(made) <= flow_of([stage]).characters * len(TEXT) + 400, script


@EXAMPLES
@given(program=programs("; ").filter(lambda text: not text.startswith("-")))
def test_no_awk_program_makes_more_than_is_counted(program: str) -> None:
    stage = stage_of(f"awk {quoted(program)}")
    counted = flow_of([stage]).characters * len(TEXT) + 4000
    for awk in ("gawk", "mawk"):
        assert len(output((awk, *stage.argv[1:]), TEXT)) <= counted, program


EXPRESSIONS = st.recursive(
    st.sampled_from(("a", "b", ".", "[ab]", "abba", "e", " ", "\\.")),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("({0[0]}|{0[1]})".format),
        inner.map("({})".format),
        st.tuples(inner, st.sampled_from(("*", "+", "?", "{2}", "{1,3}", "{0,2}"))).map(
            lambda two: f"({two[0]}){two[1]}"
        ),
    ),
    max_leaves=6,
)


@EXAMPLES
@given(expression=EXPRESSIONS)
def test_no_match_is_shorter_than_is_counted(expression: str) -> None:
    matches = output(("grep", "-oE", "-e", expression), TEXT).splitlines()
    assert all(len(match) >= shortest(expression) for match in matches)


@pytest.mark.parametrize(
    ("expression", "least"),
    [("from [0-9.]+ port", 11), ("a|bcd", 1), ("\\(ab\\|c\\)de", 3), ("(ab|c)de", 3), ("x*", 0),
     ("[0-9]{1,3}\\.", 2), ("^$", 0), ("a\\{3\\}", 3), ("(a", 0), ("\\<a", 1)],
)  # fmt: skip
def test_the_shortest_match(expression: str, least: int) -> None:
    assert shortest(expression) == least


# ---------------------------------------------------------------- the refusals


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("sed 's/.*/&&&&&&/;s/.*/&&&&&&/' /etc/hosts", "output_growth"),
        ("sed 's/.*/&&&&/' /etc/hosts | sed 's/.*/&&&&&/'", "output_growth"),
        ("sed 's/.*/&&&&/' /etc/hosts ; sed 's/.*/&&&&&/' /etc/hosts", ""),
        ("sed 's/.*/&&&&&&&&&&&&&&/' /etc/hosts", ""),
        ("sed 's/.*/&&&&&&&&&&&&&&/' /etc/hosts | sort", "output_growth"),
        ("column -t /etc/hosts", ""),
        ("column -t /etc/hosts | head", ""),
        ("column -t /etc/hosts | sort", "output_growth"),
        ("cat /etc/hosts /etc//hosts /etc/./hosts", ""),
        ("cat" + " /etc/hosts" * 13 + " | sort", "output_growth"),
        ("find /" + " -print" * 17, "output_growth"),
        ("find / -ls -printf '%p %p %p'", ""),
        ("nl -w 999 /etc/hosts", "value_refused"),
        ("grep -E '(a)\\1' /etc/hosts", "backreference"),
        ("sed 's/\\(a\\)\\1/b/' /etc/hosts", "backreference"),
        ("awk '/(a)\\1/' /etc/hosts", "backreference"),
        ("sed 's/\\(a\\)/\\1\\1/' /etc/hosts", ""),
        ("grep -P '(a+)+b' /etc/hosts", "slow_expression"),
        ("grep -P -e '(a+)+b' /etc/hosts", "slow_expression"),
        ("grep -e '(a+)+b' -iP /etc/hosts", "slow_expression"),
        ("grep -E '(a+)+b' /etc/hosts", ""),
        ("journalctl -g '(a+)+b'", "slow_expression"),
        ("ls -d /*/*", ""),
        ("ls -d /*/*/*", "pattern_too_wide"),
        ("ls -d /usr/*/*/*", "pattern_too_wide"),
        ("ls -d /usr/share/*/*/*", ""),
        ("ls -d /proc/1/*/*/*", "pattern_too_wide"),
        ("ls -d /proc/*/fd/*", ""),
        ("ls -d /proc/*/root/etc/*", "pattern_too_wide"),
        ("ls -d /usr/share/*/*/* /usr/lib/*/*/*", "too_many_patterns"),
        ("ls -d /usr/share/*/*/* /usr/lib/*/*", ""),
    ],
)
def test_each_bound_has_its_code(command: str, code: str) -> None:
    assert code_of(command) == code


@pytest.mark.parametrize(
    "expression",
    ["(a+)+b", "(a|a)*b", "([a-z]|[0-9])+q", ".{0,40}.{0,40}[q%]", "(.*)*x", "(a?){30}a{30}", "a**",
     "(?x)a b", "(?(1)a)", "(*NO_JIT)a", "(a", "a)", "[[.a.]]", "\\Qa*\\E", "(?|a|b)", "[a",
     "x{1,200}{1,200}"],
)  # fmt: skip
def test_slow_or_unclear_expressions_of_perls(expression: str) -> None:
    assert is_slow(expression)


@pytest.mark.parametrize(
    "expression",
    ["from \\K[0-9.]+", "(?<=sshd).*?from \\d+", "\\d+\\.\\d+\\.\\d+\\.\\d+",
     "(\\d{1,3}\\.){3}\\d{1,3}",
     "error|fail(ed|ure)?|panic", "\\bfoo\\b.*\\bbar\\b.*baz", "([a-z]+ )*end", "(?i)oom.*kill",
     '^\\S+ \\S+ \\S+ \\[([^\\]]+)\\] "(GET|POST) ([^ "]+)[^"]*" (5\\d\\d)',
     "[[:alpha:]]+=\\w+", ""],
)  # fmt: skip
def test_expressions_of_perls_that_people_type(expression: str) -> None:
    assert not is_slow(expression)
    assert not refers(expression)


def test_an_accepted_expression_of_perls_ends_soon() -> None:
    text = (b"a" * 25 + b"0 error from nginx abab " * 4 + b"\n") * 300
    atoms = ("a", ".*", "[a-z]+", "\\d?", "(a|b)", "(ab)*", ".{0,9}", " ", "(a*b)+", "\\w*?", "x")
    chance, seen = random.Random(3), 0  # noqa: S311
    for _ in range(150):
        expression = "".join(chance.choices(atoms, k=chance.randint(2, 6)))
        if is_slow(expression):
            continue
        seen += 1
        # A matcher that is stuck says so: that it met its limit.
        done = subprocess.run(
            ["grep", "-cP", "-e", expression], input=text, capture_output=True, timeout=ENDS_IN,
            check=False,
        )  # fmt: skip
        assert done.returncode < 2, (expression, done.stderr)
    assert seen > 40


@pytest.mark.parametrize(
    ("expression", "large"),
    [(".*e.{40}[a-e]", True), (".*e" + "." * 40, True), ("(.|e)*e.{40}", True),
     ("(e.{40}|.)*", True),
     (".*e\\(..\\)\\{20\\}", True), ("[[:space:]a-z]*e.{30}", True),
     (".{0,40}timeout.{0,40}", False),
     (".*\\.\\(log\\|gz\\)$", False), ("id=[0-9]+ hash=[0-9a-f]{32}", False), (".*e.{20}", False),
     ("[^ ]* [^ ]* \\[[^]]*\\] \"[^\"]*\" [0-9]*", False)],
)  # fmt: skip
def test_what_may_stand_behind_an_endless_repeat(expression: str, large: bool) -> None:
    assert is_too_large(expression) == large


def test_a_back_reference_is_seen_wherever_it_stands() -> None:
    for before, digit in itertools.product(("", "(a)", "[a\\]", "\\\\"), "123456789"):
        assert has_back_reference(f"{before}\\{digit}")
    assert not has_back_reference("a\\.b\\0")


@pytest.mark.parametrize(
    ("stage", "keeps"),
    [
        ("tail -n 10000", True),
        ("tail -c 10M", True),
        ("tail -123456", True),
        ("tail -n 9999", False),
        ("tail -n +20000", False),
        ("tail", False),
        ("head -n -10000", True),
        ("head -c -1G", True),
        ("head -n 99999", False),
        ("head -n -5", False),
        ("grep -B 99999 x", True),
        ("grep -C99999 x", True),
        ("grep -99999 x", True),
        ("grep -A 99999 x", False),
        ("grep -5 x", False),
        ("zgrep -B 99999 x", True),
        ("diff - /etc/hosts", True),
        ("tr -d '\\n'", True),
        ("awk '{printf \"%s\", $1}'", True),
        ("awk '{print $1}'", False),
        ("uniq -c", False),
    ],
)
def test_what_could_keep_all_of_its_input_is_counted_as_that(stage: str, keeps: bool) -> None:
    command = stage_of(stage)
    entry = PRESET.commands[program_name(command.words[0].text)]
    assert added_by(entry, command.words[1:], PRESET.types).keeps is keeps
    refusal = POLICY.judge(f"column -t {FILE} | {stage}")
    code = refusal.code if isinstance(refusal, Refusal) else ""
    assert code == ("output_growth" if keeps else "")
