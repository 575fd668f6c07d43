"""The grammar and the canonical text: what is read, what is refused by name, what comes out."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hostup_mcp.policy.shell.emit import PROLOGUE, emit, emit_checked
from hostup_mcp.policy.shell.grammar import MAX_CHARACTERS, MAX_STAGES, MAX_WORDS, parse
from hostup_mcp.policy.shell.tree import CommandLine, Stage, SyntaxRefusal, Word

# Every body is made of these: plain words, patterns, single-quoted words, operators, redirections.
PLAIN = r"[A-Za-z0-9_./:@%+,=-]+"
GLOB = r"/[A-Za-z0-9_./:@%+,=*?-]*"
QUOTED = r"(?:'[\t -&(-~]*'|\"'\")+"
WORD = rf"(?:{PLAIN}|{GLOB}|{QUOTED})"
REDIRECTION = r"(?:2>&1|>&2|>/dev/null|2>/dev/null|</dev/null)"
STAGE = rf"{WORD}(?: {WORD})*(?: {REDIRECTION})*"
BODY = re.compile(rf"{STAGE}(?:(?: \| | && | \|\| |; ){STAGE})*")

PIECES = [
    "df", "-h", "ls", "/var/log/*.log", "/etc/?", "a b", "'", '"', "\\", "$", "`", "(", ")", "{",
    "}", "[", "]", "[[", "~", "!", "#", "*", "?", "**", "/.*", "=", "=x", "^", "|", "||", "&&", "&",
    ";", ";;", "|&", "&>", ">", ">>", "<", "<<", ">&", "<&", ">|", "2>", "2>&1", "1>&2", ">&2",
    "/dev/null", "2>/dev/null", ">/dev/null", "</dev/null", " ", "  ", "\t", "\n", "\r", "\0",
    "\x7f", "\u00e9", "\ud800", "\u2028", "X=1", "if", "time", "''", '""', "'a'", '"b"', "\\ ",
    "$HOME", "${x}", "$(id)", "`id`", '"$', '$"', "12", "--", "-",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), max_size=24).map("".join) | st.text(
    st.characters(exclude_categories=()), max_size=60
)


@given(texts)
@example("df 'a'\\''; reboot; '")
@example('df "\\')
@example("\\")
@example("df \\\t")
@example("df &>/dev/null")
@example("x" * 5000)
@example("'" * 1001)
def test_any_text_is_a_tree_or_a_refusal(text: str) -> None:
    line = parse(text)
    if isinstance(line, SyntaxRefusal):
        assert re.fullmatch("[a-z_]+", line.code)
        assert line.message.endswith(".")
        assert line.hint
        assert 0 <= line.offset <= line.offset + line.length <= len(text)
        return
    for stage in line.stages:
        for word in stage.words:
            assert text[word.offset : word.offset + word.length].strip() != ""
    body = emit_checked(line)
    if isinstance(body, SyntaxRefusal):
        assert body.code == "command_too_long"
        assert body.offset + body.length <= len(text)
        return
    assert parse(body) == line
    assert emit(line) == body
    assert BODY.fullmatch(body), body
    assert len(PROLOGUE + body) <= MAX_CHARACTERS


@given(st.binary(max_size=200))
def test_bytes_decoded_in_any_way(raw: bytes) -> None:
    for encoding in ("utf-8", "latin-1", "utf-16-le", "cp037"):
        for errors in ("replace", "surrogateescape", "backslashreplace"):
            try:
                text = raw.decode(encoding, errors)
            except UnicodeDecodeError:
                continue
            parse(text)


printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)


@given(st.lists(printable | st.just("\t"), max_size=6))
def test_any_printable_words_can_be_sent(words: list[str]) -> None:
    line = CommandLine((Stage(None, (Word("df"), *map(Word, words))),))
    body = emit_checked(line)
    assert isinstance(body, str)
    parsed = parse(body)
    assert isinstance(parsed, CommandLine)
    assert parsed.stages[0].argv == ("df", *words)


def words(text: str) -> tuple[str, ...]:
    line = parse(text)
    assert isinstance(line, CommandLine), line
    (stage,) = line.stages
    return stage.argv


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        ("df", ("df",)),
        (" \t\n df \n", ("df",)),
        ("df\t-h", ("df", "-h")),
        ("df;", ("df",)),
        ("df ; ", ("df",)),
        ("/usr/bin/df", ("/usr/bin/df",)),
        ("/opt/app-1.2/bin/status_x", ("/opt/app-1.2/bin/status_x",)),
        ("df ''", ("df", "")),
        ("df 'a b'\"c d\"e", ("df", "a bc de")),
        ("df it\\'s", ("df", "it's")),
        ("df \\ x", ("df", " x")),
        ('df "\\"\\\\\\$\\`\\n"', ("df", '"\\$`\\n')),
        ('df "a$"', ("df", "a$")),
        ("df '$HOME `x`'", ("df", "$HOME `x`")),
        ("df a#b", ("df", "a#b")),
        ("df !", ("df", "!")),
        ("df ^x", ("df", "^x")),
        ("df = ==", ("df", "=", "==")),
        ("df a=b", ("df", "a=b")),
        ("df '*' \\* \\?", ("df", "*", "*", "?")),
        ("df 2", ("df", "2")),
        ("df '2'>/dev/null", ("df", "2")),
        ("df a2>/dev/null", ("df", "a2")),
    ],
)
def test_words_are_read_as_a_shell_reads_them(text: str, argv: tuple[str, ...]) -> None:
    assert words(text) == argv


@pytest.mark.parametrize(
    ("text", "redirections"),
    [
        ("df 2>&1", ("2>&1",)),
        ("df >&2", (">&2",)),
        ("df 1>&2", (">&2",)),
        ("df >/dev/null", (">/dev/null",)),
        ("df > /dev/null", (">/dev/null",)),
        ("df >>/dev/null", (">/dev/null",)),
        ("df 1> \t/dev/null", (">/dev/null",)),
        ("df 2>>/dev/null", ("2>/dev/null",)),
        ("df &>/dev/null", (">/dev/null", "2>&1")),
        ("df&>>/dev/null", (">/dev/null", "2>&1")),
        ("df </dev/null", ("</dev/null",)),
        ("df 0</dev/null", ("</dev/null",)),
        ("df >/dev/null 2>&1", (">/dev/null", "2>&1")),
        ("df 2>&1 >/dev/null", ("2>&1", ">/dev/null")),
    ],
)
def test_redirections_keep_their_order(text: str, redirections: tuple[str, ...]) -> None:
    line = parse(text)
    assert isinstance(line, CommandLine)
    assert line.stages[0].redirections == redirections
    assert line.stages[0].argv == ("df",)


def test_operators_join_stages_in_order() -> None:
    line = parse("a | b 2>&1 | c && d || e; f;")
    assert isinstance(line, CommandLine)
    assert [stage.operator for stage in line.stages] == [None, "|", "|", "&&", "||", ";"]
    assert emit(line) == "a | b 2>&1 | c && d || e; f"


def test_patterns_are_marked() -> None:
    line = parse("ls /var/log/*.log '/var/*' /etc/?")
    assert isinstance(line, CommandLine)
    assert line.stages[0].globs == (1, 3)
    assert emit(line) == "ls /var/log/*.log '/var/*' /etc/?"


@pytest.mark.parametrize(
    ("text", "code", "token"),
    [
        ("", "empty_command", ""),
        (" \n", "empty_command", " \n"),
        ("df\ndf", "line_break", "\n"),
        ("df \r", "control_character", "\r"),
        ("df \0", "control_character", "\0"),
        ("df \x1b[31m", "control_character", "\x1b"),
        ("df \u00e9", "non_ascii", "\u00e9"),
        ("df \ud800", "non_ascii", "\ud800"),
        ("df & df", "background", "&"),
        ("df |& df", "operator_refused", "|&"),
        ("df ;; df", "operator_refused", ";;"),
        ("df | | df", "command_missing", "|"),
        ("df &&", "command_missing", "&&"),
        ("df;;", "operator_refused", ";;"),
        ("df $HOME x", "variable", "$HOME"),
        ("df ${HOME:-x} y", "variable", "${HOME:-x}"),
        ("df $", "variable", "$"),
        ('df "$x"', "variable", "$x"),
        ("df $(id)", "substitution", "$("),
        ("df `id`", "substitution", "`"),
        ('df "`id`"', "substitution", "`"),
        ("df <(id)", "substitution", "<("),
        ("df >(id)", "substitution", ">("),
        ("df > x", "redirection_refused", "> x"),
        ("df >>x y", "redirection_refused", ">>x"),
        ("df 2>&3", "redirection_refused", "2>&3"),
        ("df >/dev/nullx", "redirection_refused", ">/dev/nullx"),
        ("df < /etc/x", "redirection_refused", "< /etc/x"),
        ("df <<E", "here_document", "<<E"),
        ("df <<< x", "here_document", "<<< x"),
        (">/dev/null df", "redirection_first", ">"),
        ("(df)", "parenthesis", "("),
        ("df )", "parenthesis", ")"),
        ("df # x", "comment", "# x"),
        ("df {a,b}", "brace", "{"),
        ("df a}", "brace", "}"),
        ("df a[b", "bracket", "["),
        ("df ~/x", "tilde", "~"),
        ("df a!b", "exclamation_mark", "!"),
        ("df =x", "leading_equals", "="),
        ("df 'a", "unclosed_quote", "'a"),
        ('df "a\\"', "unclosed_quote", '"a\\"'),
        ("df \\a", "escape_refused", "\\a"),
        ("df a\\", "escape_refused", "\\"),
        ("df \\\tx", "escape_refused", "\\\t"),
        ("df *.log", "glob_refused", "*.log"),
        ("df /a/'b'*", "glob_refused", "/a/'b'*"),
        ("df /a^*", "glob_refused", "/a^*"),
        ("df /a/**", "glob_refused", "/a/**"),
        ("df /a//*", "glob_refused", "/a//*"),
        ("df /./*", "glob_refused", "/./*"),
        ("df /../*", "glob_refused", "/../*"),
        ("df /a/.*", "glob_refused", "/a/.*"),
        ("X=1 df", "assignment", "X=1"),
        ("x+=1 df", "assignment", "x+=1"),
        ("'X'=1 df", "command_word", "'X'=1"),
        ("! df", "negation", "!"),
        ("if df", "reserved_word", "if"),
        ("time df", "reserved_word", "time"),
        ("'df' -h", "command_word", "'df'"),
        ("./df", "command_word", "./df"),
        ("/usr/../bin/df", "command_word", "/usr/../bin/df"),
        ("-x", "command_word", "-x"),
        ("/bin/d?", "command_word", "/bin/d?"),
    ],
)
def test_what_a_shell_knows_beyond_that_is_refused_by_name(
    text: str, code: str, token: str
) -> None:
    refusal = parse(text)
    assert isinstance(refusal, SyntaxRefusal), refusal
    assert (refusal.code, text[refusal.offset : refusal.offset + refusal.length]) == (code, token)
    if token.isascii() and token.strip() and token.isprintable():
        assert token.strip()[0] in refusal.message


def test_limits() -> None:
    many = "; ".join(["df"] * MAX_STAGES)
    assert isinstance(parse(many), CommandLine)
    assert_code(f"{many}; df", "too_many_stages")
    wide = " ".join(["df"] * MAX_WORDS)
    assert isinstance(parse(wide), CommandLine)
    assert_code(f"{wide} df", "too_many_words")
    assert isinstance(parse("x" * MAX_CHARACTERS), CommandLine)
    assert_code("x" * (MAX_CHARACTERS + 1), "command_too_long")
    assert isinstance(parse(" " * 5000 + "df"), CommandLine)
    full = "x" * (MAX_CHARACTERS - len(PROLOGUE))
    for text, fits in ((full, True), (full + "x", False), ("df " + '"\'"' * 1000, False)):
        line = parse(text)
        assert isinstance(line, CommandLine)
        assert isinstance(emit_checked(line), str) is fits


def assert_code(text: str, code: str) -> None:
    refusal = parse(text)
    assert isinstance(refusal, SyntaxRefusal)
    assert refusal.code == code


def test_a_tree_that_does_not_survive_is_not_sent() -> None:
    """Trees that no text parses to, as a bug might build them."""
    for word in (Word("a b", is_glob=True), Word("/a\n"), Word("caf\u00e9")):
        refusal = emit_checked(CommandLine((Stage(None, (Word("df"), word)),)))
        assert isinstance(refusal, SyntaxRefusal)
        assert refusal.code == "not_rebuilt"
