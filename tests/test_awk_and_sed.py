"""Accepted awk programs and sed scripts only read: real awks and a real sed say so.

gawk and mawk can list what they compiled a program to. That shows what a run might not reach.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hostup_mcp.policy.preset import Preset
from hostup_mcp.policy.shell.tree import Word
from tests.conftest import missing

MADE = "made"
"""The file that every hostile piece would make."""
LINES = b"one 2 /x: a=b\n\n10.0.0.1 - 500 error [;] \"q\" 'r'\n"
ENDS_IN = 20
"""Seconds; a program that takes longer does not end by itself."""
PRESET = Preset("diagnostics")
EXAMPLES = settings(
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# What a program may be compiled to, in gawk and in mawk.
GAWK_CODE = frozenset(
    """
    newfile no_op after_beginfile get_record rule line_range cond_pair push push_i push_lhs push_arg
    parens field_spec var_update var_assign jmp jmp_false and and_final or or_final not match
    match_rec nomatch equal notequal less leq greater geq plus plus_i minus minus_i times times_i
    quotient quotient_i mod mod_i unary_minus concat assign assign_plus assign_concat postincrement
    pop builtin K_print K_print_rec K_printf after_endfile atexit stop
    """.split()
)
MAWK_CODE = frozenset(
    """
    omain jmain exit0 ol ol_nr ol_gl ol_gl_nr range stop jz jnz ljz ljnz jmp test not pushs pushd
    pushi pusha pushint f_pushi f_pusha fe_pushi nf_pushi match0 match1 match2 eq neq lt lte gt gte
    add sub mul div mod uminus cat assign f_assign add_asg post_inc pop length substr index tolower
    toupper int sprintf print printf
    """.split()
)
FUNCTIONS = frozenset("length substr index tolower toupper int sprintf".split())


def run(*argv: str, cwd: Path, feed: bytes = LINES) -> tuple[str, str]:
    done = subprocess.run(
        argv, input=feed, cwd=cwd, capture_output=True, timeout=ENDS_IN, check=False
    )
    return done.stdout.decode("latin-1"), done.stderr.decode("latin-1")


def accepts(*words: str) -> bool:
    return PRESET.check([Word(word) for word in words]) is None


def listed(block: str) -> list[str]:
    """Texts with three blanks or a line's end between them."""
    return re.split(r"   |\n", block.strip())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for program in ("gawk", "mawk", "busybox", "sed"):
        if not shutil.which(program):
            missing(program)
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def mutated(texts: st.SearchStrategy[str], pieces: Sequence[str]) -> st.SearchStrategy[str]:
    def change(text: str, edits: list[tuple[float, int, str]]) -> str:
        for place, length, piece in edits:
            at = int(place * len(text))
            text = text[:at] + piece + text[at + length :]
        return text

    edit = st.tuples(st.floats(0, 1), st.integers(0, 2), st.sampled_from(pieces))
    return st.builds(change, texts, st.lists(edit, min_size=1, max_size=3))


# ---------------------------------------------------------------- awk programs

HOSTILE = (
    f'system("touch {MADE}")', f'print > "{MADE}"', f'print | "touch {MADE}"',
    f'"touch {MADE}" | getline', f'getline < "{MADE}"', f'printf "x" >> "{MADE}"',
    f'NR; system("touch {MADE}"); n', f'NR {{print > "{MADE}"}} n', 'close("x")', "ENVIRON",
)  # fmt: skip
ATOMS = ("$0", "$1", "$NF", "$(NF-1)", "2", "10.5", "NR", "NF", "FNR", "n", "total", "length")
STRINGS = ('"a"', '" "', '"\\t\\"q\\""', '"x;y{z}"', '"/; a/"', '"system(1)"', '"| sh"')
REGEXES = ("/error/", "/^a.*[0-9]+$/", "/[[:space:]]b?/", "/a|b/", "/n\\./", "/=/")
INNER = tuple(f"/{piece}/" for piece in HOSTILE)


def expressions(atoms: Sequence[str], operators: Sequence[str]) -> st.SearchStrategy[str]:
    def more(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.one_of(
            st.tuples(inner, st.sampled_from(operators), inner).map(" ".join),
            inner.map("({})".format),
            inner.map("- {}".format),
            inner.map("({}) / 2".format),
            inner.map("length({})".format),
            st.tuples(inner, inner).map(lambda two: f"index({two[0]}, {two[1]})"),
            inner.map("substr(tolower({}), 2)".format),
            inner.map('sprintf("%5.1f|%s%%", int({}), "x")'.format),
        )

    return st.recursive(st.sampled_from(atoms), more, max_leaves=5)


def rules(*, divides: bool) -> st.SearchStrategy[str]:
    """A rule of the language in awk.py; names are divided, or there are other slashes."""
    value = expressions(ATOMS, "+/%") if divides else expressions((*ATOMS, *STRINGS), "+-*%")
    compared = st.tuples(value, st.sampled_from(("==", "!=", "<", ">=", ">")), value).map(" ".join)
    tests = [value, compared, compared.map("({})".format), compared.map("! ({})".format)]
    if not divides:
        regex = st.sampled_from((*REGEXES, *INNER))
        tests += [regex, regex.map("! {}".format), st.tuples(value, regex).map(" ~ ".join)]
    joined = st.sampled_from((" && ", " || "))
    condition = st.builds(str.join, joined, st.lists(st.one_of(tests), min_size=1, max_size=2))
    pattern = condition | st.tuples(condition, condition).map(", ".join)
    statement = st.one_of(
        st.lists(value, max_size=3).map(lambda items: f"print {', '.join(items)}".strip()),
        value.map('printf "%-10s %d\\n", {}, NR'.format),
        value.map("total += {}".format),
        st.sampled_from(("n++", 'FS = ":"', 'OFS = "\\t"', "print $1 $2", "print n, n")),
    )
    action = st.lists(statement, max_size=3).map(lambda several: f"{{{'; '.join(several)}}}")
    named = st.tuples(st.sampled_from(("BEGIN", "END", "")), action).map(" ".join)
    return st.one_of(pattern, named, st.tuples(pattern, action).map(" ".join))


def programs(separator: str) -> st.SearchStrategy[str]:
    kinds = [
        st.lists(rules(divides=divides), min_size=1, max_size=3).map(separator.join)
        for divides in (False, True)
    ]
    return st.one_of(kinds)


AWK_PIECES = (
    *HOSTILE, *INNER, *ATOMS, *STRINGS, *REGEXES, *'/"\\{}();,!~$=<>|&+-*@[]', "", "", "", "; ",
    "/ ", " /", " 1", "&&", "BEGIN", "END", "print", "printf", "a[1]", "getline", "in", "\n",
)  # fmt: skip
# One after the other: what is no ; and no } ends no rule, and a / behind it may divide.
SHORT = ('"a"', "/error/", "$1 ~ /e/", "n == 1", "{n++}", "1", "n", *INNER[6:8])
AWK_ROWS = st.lists(st.sampled_from(SHORT), min_size=2, max_size=4).map(" ".join)
AWK_SOUP = st.lists(st.sampled_from(AWK_PIECES), min_size=1, max_size=6).map(" ".join)


def assert_only_reads(program: str, folder: Path) -> str:
    """Fails if an awk does more with a program than read; what gawk says against it."""
    file = folder.parent / "program"
    file.write_text(program)
    listing, said = run("gawk", "-D", "-f", str(file), cwd=folder, feed=b"dump\n")
    assert len(listing.splitlines()) > 9 or said, program
    for name, rest in re.findall(r"^\[.*\] Op_(\w+) *: (.*)", listing, re.MULTILINE):
        assert name in GAWK_CODE, (program, name)
        assert name != "builtin" or rest.split()[0] in FUNCTIONS, (program, rest)
        assert "redir_type" not in rest or 'redir_type = ""' in rest, (program, rest)
    compiled = run("mawk", "-W", "dump", program, cwd=folder)[0].partition("# regex")[0]
    for name, rest in re.findall(r"^\d+ \.\t(\w+)(.*)", compiled, re.MULTILINE):
        assert name in MAWK_CODE, (program, name)
        # A negative number before print says where its output goes.
        assert name != "pushint" or "-" not in rest, (program, "redirection")
    for awk in (("gawk", "--sandbox"), ("mawk",), ("busybox", "awk")):
        complaint = run(*awk, program, cwd=folder)[1]
        assert "sandbox" not in complaint, (program, complaint)
        assert not [*folder.iterdir()], (program, awk)
    return said


@EXAMPLES
@given(program=programs("; ").filter(lambda text: not text.startswith("-")))
def test_awk_programs_of_the_grammar_are_accepted_and_valid(program: str, folder: Path) -> None:
    assert accepts("awk", program)
    said = assert_only_reads(program, folder)
    assert not said or "division by zero" in said


@settings(EXAMPLES, max_examples=300)
@given(program=AWK_ROWS | AWK_SOUP | programs(" ") | mutated(programs("; "), AWK_PIECES))
def run_if_accepted(program: str, folder: Path, seen: Counter[bool]) -> None:
    accepted = accepts("awk", program)
    seen[accepted] += 1
    if accepted:
        assert_only_reads(program, folder)


def test_other_awk_programs_only_read_if_they_are_accepted(folder: Path) -> None:
    seen: Counter[bool] = Counter()
    run_if_accepted(folder=folder, seen=seen)
    assert seen[True] > 50
    assert seen[False] > 50


# Each piece as an action, as a pattern, and behind what ends no rule.
AS_PIECES = [
    form.format(piece)
    for piece in HOSTILE
    for form in (
        "{{{}}}", "BEGIN {{{}}}", '"a" /{}/ 1', "/a/ /{}/ 1", "! /a/ /{}/ 1", "1, /a/ /{}/ 1",
        "$1 ~ /a/ /{}/ 1", "n /{}/ 1", "(1) /{}/ 1", "n++ /{}/ 1", "{{print n /{}/ 1}}",
    )
]  # fmt: skip
HOSTILE_AWK = listed(r"""
/[/ {print "]/ {system(1)} #"}   /[/] {print "]/ {system(1)} #"}   /a[^]/ || system("x") /
/\/ {system("id")} /   /a\   /[[:alpha:]/ {system("id")} /]/   /[a/]/   "\" system("id")
1 / 2 " / " system("id") / 3   n / 1 ~ /b; system("id"); c/   {print n /2; print "/"}
@include "f"   @load "filefuncs"; 1   @f(1)   {f = "system"; @f(1)}   a::b   1 # x
function f() {}   function f(a) {return a} {print f(1)}   {while (1) n++}   {for (;;) n++}
{do n++; while (1)}   {getline}   {getline x}   {while (getline > 0) n++}   {"id" |& getline}
{a[$1]++}   {a[1] += 1}   {$1 = 2; print}   {x = "a"}   {x = x x "aa"}   {n += n n; n = 1}
{NR += 1}   {NF++}   {RS = ""}   {OFMT = "%s"}   {FS = OFS}   {delete a}   {exit}   {next}
{print ENVIRON["HOME"]}   {print PROCINFO[1]}   {print ARGV[1]}   {sub(/a/, "b")}
{gsub(/a/, "b"); print}   {print toupper(system("id"))}   {print length(system("id"))}
{printf "%9999d", 1}   {printf "%*d", 99999999, 1}   {printf "%.9999f", 1}   {printf $0}
{printf "%s" > "f"}   {print("a") > "f"}   {print "a" >> "f"}   {print > FILENAME}
{print sprintf("%9999d", 1)}   {print sprintf($0)}   {fflush()}   {fflush("f")}   {print 1 > 2}
{if (1) print}   {print a ? b : c}   1 ? 2 : 3   $1 in a   {print > "/dev/tcp/a/1"}
{print "x" | "sh"}   {print | "cat 1>&2"}   BEGIN   {print   {print }}   print   ;   {system "id"}
{print 1,}   {srand(); print rand()}   x = 1   !!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!1
{print "\x41"}   "\q"
""")
UNLISTED_AWK = ("", " ", "\n{print}", "1\nsystem(1)", "(" * 40 + "1" + ")" * 40)


@pytest.mark.parametrize("program", [*AS_PIECES, *HOSTILE_AWK, *UNLISTED_AWK])
def test_hostile_awk_programs_are_refused(program: str) -> None:
    for awk in ("awk", "gawk", "mawk"):
        assert not accepts(awk, program)


HOSTILE_AWK_WORDS = listed(r"""
-v n=1 {print}   -vn=1 {print}   --assign n=1 {print}   -f /etc/hosts   -f/etc/hosts
-F : -f /etc/hosts   -F -f /etc/hosts {print}   -i inplace {print}   -e {print}   -o {print}
--source {print}   -E /etc/hosts   -l filefuncs {print}   -d {print}   -D {print}   -p {print}
-W exec /etc/hosts   -We/etc/hosts   -Wdump {print}   -n {print}   -b {print}   {print} n=1
{print} /etc/hosts n=1   {print} /etc/shadow   {print} -f /etc/hosts   -- -f {print}
{print} -- -v   --version   -h   -S {print}   -F: -v n=1 {print}   -F:
""")


@pytest.mark.parametrize("words", HOSTILE_AWK_WORDS)
def test_hostile_awk_options_and_operands_are_refused(words: str) -> None:
    assert not accepts("awk", *words.split(" "))


# ---------------------------------------------------------------- sed scripts

SED_REGEXES = (
    "error", "^a.*[0-9]*$", "[[:space:]]", "\\(o\\)ne", "a\\.b", "[^;]*", "w made", "e touch made",
    ";w made", "a;e", "\\n", "}", "[wer]", "[a\\n]",
)  # fmt: skip
SED_NEW = ("", "b", "&&", "<&>", "x\\ty", "\\n", "w made", ";e touch made", "}", "%s", "$(x)")


def between(delimiter: str) -> st.SearchStrategy[str]:
    old, new = (
        st.sampled_from([text for text in texts if delimiter not in text])
        for texts in (SED_REGEXES, SED_NEW)
    )
    flags = st.sampled_from(("", "g", "p", "I", "2", "gp", "2p", "gI"))
    escaped = f"\\{delimiter}"
    ends = st.sampled_from(("", "", escaped)) if delimiter == "/" else st.just("")
    texts = st.tuples(ends, old), st.tuples(ends, new), st.tuples(flags)
    parts = st.tuples(*(text.map("".join) for text in texts))
    return parts.map(lambda three: delimiter.join(("s", *three)))


SED_SLASHED = tuple(f"/{regex}/" for regex in SED_REGEXES)
ADDRESS = st.sampled_from(("1", "2", "10", "$", "/a\\/b/", *SED_SLASHED))
ADDRESSES = st.one_of(
    st.just(""), ADDRESS, st.tuples(ADDRESS, ADDRESS).map(",".join), ADDRESS.map("{} !".format)
)
SED_COMMAND = st.one_of(
    st.tuples(ADDRESSES, st.sampled_from("pd=")),
    st.tuples(ADDRESSES, st.sampled_from("/|#,:@").flatmap(between)),
    st.tuples(ADDRESS, st.just("q")),
)
SCRIPTS = st.lists(SED_COMMAND.map("".join), min_size=1, max_size=3).map("; ".join)
SED_PIECES = (*listed(r"""
w made   e touch made   r /etc/hosts   W made   s/a/b/w made   s/o/touch made/e   a\   i x   c   :a
ba   ta   y/a/b/   n   N   D   h   x   l   z   F   {   }   0   1   /   \   \/   [   ]   [/]   |   #
,   !   ;   ~   +   I   M   s   p   q   s/   /e   /w made   &   ^   $   *   \n   @   :
"""), "", "", "", " ", "\n")  # fmt: skip
SED_SOUP = st.lists(st.sampled_from(SED_PIECES), min_size=1, max_size=6).map("".join)
SEDS = (("sed", "--sandbox"), ("busybox", "sed"), ("sed",))
"""The last one without a net: the folder must stay empty all the same."""


def assert_only_rewrites(script: str, folder: Path) -> str:
    """Fails if a sed does more with a script than rewrite; what GNU sed says against it."""
    complaints = [run(*sed, "-n", script, cwd=folder)[1] for sed in SEDS]
    assert not [*folder.iterdir()], script
    assert "sandbox" not in complaints[0], (script, complaints[0])
    return complaints[0]


@EXAMPLES
@given(script=SCRIPTS)
def test_sed_scripts_of_the_grammar_are_accepted_and_valid(script: str, folder: Path) -> None:
    assert accepts("sed", "-n", script)
    assert not assert_only_rewrites(script, folder)


@settings(EXAMPLES, max_examples=300)
@given(script=mutated(SCRIPTS, SED_PIECES) | mutated(SCRIPTS, SED_PIECES) | SED_SOUP)
def rewrite_if_accepted(script: str, folder: Path, seen: Counter[bool]) -> None:
    accepted = accepts("sed", "-n", script)
    seen[accepted] += 1
    if accepted:
        assert_only_rewrites(script, folder)


def test_other_sed_scripts_only_rewrite_if_they_are_accepted(folder: Path) -> None:
    seen: Counter[bool] = Counter()
    rewrite_if_accepted(folder=folder, seen=seen)
    assert seen[True] > 2
    assert seen[False] > 50


HOSTILE_SED = listed(r"""
w f   W f   r /etc/shadow   R f   e   e id   1e id   $w f   /a/w f   1,2w f   1!w f   s/a/b/w f
s/a/b/e   s/a/b/ge   s/a/b/gw f   s/a/b/m   s/a/b/M   s/a/b/pe   p;e   p;w f   p }e   {p}   {e}
p;{w f   }   s/a/b/}   :a;s/a/b/;ba   ba   t   T   b   :a   y/a/b/   a\   a x   i\   i x   c\
c x   1a x   n   N   D   P   G   H   g   h   x   l   L   F   z   Q   Q1   q1   p w f   pw f   d e
=e   0~3p   1~2p   1,+2p   1,~2p   /a/Ip   /a/Mp   \,a,p   \aaap   /[/]e;/p   /[/p   s/[/]/e;/
s/[/x/;w f;]/y/   s/[/]/x/w f   s|[|]|x|w f   s/a\/b/w f   s/a\\/b/w f   /a\\/w f   /a\/e
s,a\,b,w f   sea\ebee   sxaxbxe   s a b w f   s\a\b\e   s;a;b;e   s/a/b\   s/a   s/a/b   s   ;
p;   #p   #n   p#w f   p # x   s/a/b/gpiI012   v   p\   s/a/\x26/   s/\x2f/w f/   s/\d047/x/
s/a/\cA/   s/a/\Ub/   s/\cA/b/   1,p   ,2p   --p
""")
UNLISTED_SED = ("", " ", "p\ne id", "p\nw f", "s/a/\\\nb/", "a\\\nx")
HOSTILE_SED_WORDS = listed(r"""
-i p   -n -i p   -ni p   -i.bak p   --in-place p   -e p   -f /etc/hosts   -f/etc/hosts
--file=/etc/hosts   -n p -e w   p -i /etc/hosts   p /etc/hosts -i   p -- -i   -- -i p
--expression=p   -s p   -z p   -l 5 p   --posix p   --debug p   --sandbox p   -n   p /etc/shadow
p p   --follow-symlinks p   -En -f x   --null-data p   -Ei p   --i p
""")


@pytest.mark.parametrize("script", [*HOSTILE_SED, *UNLISTED_SED])
def test_hostile_sed_scripts_are_refused(script: str) -> None:
    assert not accepts("sed", script)
    assert not accepts("sed", "-n", "-E", script)


@pytest.mark.parametrize("words", HOSTILE_SED_WORDS)
def test_hostile_sed_options_and_operands_are_refused(words: str) -> None:
    assert not accepts("sed", *words.split(" "))
