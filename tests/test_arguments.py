"""What a program may be given: options, operands, subcommands, shapes, and the small grammars."""

from __future__ import annotations

import shlex

import pytest
from pydantic import ValidationError

from hostup_mcp.policy.judge import ApprovedCommand, Refusal
from hostup_mcp.policy.models import OptionSet
from hostup_mcp.policy.programs.getopt import check_options
from hostup_mcp.policy.programs.shapes import Shape, check_shapes
from hostup_mcp.policy.shell.tree import Word
from hostup_mcp.policy.values.definitions import Definition, ListType, TextType, TokensType
from hostup_mcp.policy.values.path_blocks import PathBlock
from hostup_mcp.policy.values.path_patterns import PathPattern
from hostup_mcp.policy.values.paths import PathRules
from hostup_mcp.policy.values.types import ValueTypes
from tests.runner_harness import POLICY

DEFINITIONS: dict[str, Definition] = {
    "int": r"\d{1,3}",
    "name": "[a-z]{1,8}",
    "ints": ListType(list="int", max=2),
    "text": TextType(text=8),
    "any_text": TextType(text=8, dash=True),
    "form": TokensType(tokens=("[a-z]", "%%")),
}
TYPES = ValueTypes(
    DEFINITIONS,
    PathRules(
        [
            PathBlock(allows=False, patterns=(PathPattern("/log/x"),)),
            PathBlock(allows=True, patterns=(PathPattern("/log/**"), PathPattern("/one"))),
        ]
    ),
)
SPEC = OptionSet.model_validate(
    {
        "flags": "-a -b -ab --all --color",
        "options": {"-n --lines": "int", "-e --regexp": "any_text", "-f": "read"},
        "attached": {"--color": "/never|auto/", "-c": "int"},
        "following": {"-i --interval": "int"},
        "numeric": True,
        "words": "+L1",
        "operands": "name",
        "max": 3,
    }
)
FILES = OptionSet.model_validate(
    {
        "flags": "-v",
        "options": {"-e": "any_text", "-m": "text"},
        "recursive": "-r --recursive",
        "first": "text",
        "first_unless": "-e",
        "operands": "read",
        "max": 3,
    }
)


def split(line: str) -> list[Word]:
    """The words of a line; those that begin with / and have a * are patterns."""
    return [Word(w, is_glob=w[:1] == "/" and "*" in w) for w in shlex.split(line)]


def verdict(spec: OptionSet, line: str) -> tuple[str, int] | None:
    fault = check_options(spec, split(line), TYPES)
    return (fault.code, fault.index) if fault else None


@pytest.mark.parametrize(
    "line",
    [
        "",
        "-a -b --all",
        "-ba",
        "-n 5 -n5 -an5 -an 5 --lines 5 --lines=5",
        "-n 5 foo bar",
        "foo -a bar",
        "-e -x --regexp=-x -e-x -ae-x --regexp --x",
        "-e a/b foo",
        "foo -f /one",
        "--color --color=never -c5",
        "-c=5",
        "-i -a",
        "-i 5 -i5 -ai5",
        "-i foo",
        "--interval --interval=7 --interval 7",
        "-20 -5",
        "+L1 foo bar baz",
        "-- foo",
        "foo -- bar",
        "-a --",
    ],
)
def test_accepted_arguments(line: str) -> None:
    assert verdict(SPEC, line) is None


@pytest.mark.parametrize(
    ("line", "code", "index", "option"),
    [
        # Full names only, whatever an option parser would complete.
        ("--al", "option_refused", 0, "--al"),
        ("--lin=5", "option_refused", 0, "--lin"),
        ("--lines=", "value_refused", 0, "--lines"),
        ("--all=5", "option_refused", 0, "--all"),
        ("--other", "option_refused", 0, "--other"),
        # Clusters letter by letter; the first letter with a value takes the rest.
        ("-ax", "option_refused", 0, "-x"),
        ("-xa", "option_refused", 0, "-x"),
        ("foo -bxa", "option_refused", 1, "-x"),
        ("-anb", "value_refused", 0, "-n"),
        ("-n=5", "value_refused", 0, "-n"),
        ("-ac", "option_refused", 0, "-c"),
        ("-c 5", "option_refused", 0, "-c"),
        ("-cx", "value_refused", 0, "-c"),
        ("-a-", "option_refused", 0, "--"),
        ("--color=always", "value_refused", 0, "--color"),
        ("--interval=x", "value_refused", 0, "--interval"),
        # A value in the next word is at fault itself, a missing one lets the option stand for it.
        ("-n x", "value_refused", 1, "-n"),
        ("-a --lines -5", "value_refused", 2, "--lines"),
        ("-an", "value_missing", 0, "-n"),
        ("foo --lines", "value_missing", 1, "--lines"),
        ("-f /other", "path_not_readable", 1, "-f"),
        ("-n /log/*", "glob_refused", 1, "-n"),
        ("foo -e a/b", "option_order", 1, "-e"),
        ("-2000000000", "option_refused", 0, "-2"),
        ("-5a", "option_refused", 0, "-5"),
        # Operands.
        ("foo BAR", "value_refused", 1, ""),
        ("foo /log/*", "glob_refused", 1, ""),
        ("-", "value_refused", 0, ""),
        ("-- -a", "value_refused", 1, ""),
        ("foo -- bar -a", "value_refused", 3, ""),
        ("a b +L1 c d", "operand_refused", 4, ""),
        ("''", "value_refused", 0, ""),
    ],
)
def test_the_word_at_fault(line: str, code: str, index: int, option: str) -> None:
    fault = check_options(SPEC, split(line), TYPES)
    assert fault
    assert (fault.code, fault.index, fault.option) == (code, index, option)
    if option:
        assert option in fault.message


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("x", None),
        ("x /log/a -", None),
        ("x /log/y*", None),
        ("x /one /log/a", None),
        ("-e -x /one", None),
        ("-e x", None),
        ("-- -x /log/a", None),
        ("'a b' /one", None),
        ("", ("usage_refused", -1)),
        ("-v", ("usage_refused", -1)),
        ("-m x", ("usage_refused", -1)),
        ("/one", None),
        ("x /two", ("path_not_readable", 1)),
        ("-e x /two", ("path_not_readable", 2)),
        ("-m -x y", ("value_refused", 1)),
        ("-m-x y", None),
        ("toolongtext", ("value_refused", 0)),
        ("x /one /one /one", ("operand_refused", 3)),
        ("x /log/x", ("name_protected", 1)),
        ("-r x /log/deep", None),
        ("-vr x /one", ("path_not_readable", 2)),
        ("x -r /log", ("name_protected", 2)),
        ("x --recursive /one", ("path_not_readable", 2)),
        ("-r x -", ("path_relative", 2)),
        ("-r x", ("usage_refused", -1)),
        ("x -e etc", ("option_order", 1)),
        ("x -m a/b", ("option_order", 1)),
    ],
)
def test_files_and_a_first_operand_of_another_type(
    line: str, expected: tuple[str, int] | None
) -> None:
    assert verdict(FILES, line) == expected


@pytest.mark.parametrize(
    ("spec", "line", "expected"),
    [
        ({"flags": "-a"}, "x", ("operand_refused", 0)),
        ({"operands": "name"}, "x", ("operand_refused", 0)),
        ({"operands": "name", "min": 1, "max": 2}, "", ("usage_refused", -1)),
        ({"operands": "name", "min": 2, "max": 2}, "x", ("usage_refused", -1)),
        ({"operands": "name", "min": 2, "max": 2}, "x y", None),
        ({"operands": "name", "counts": [0, 2]}, "", None),
        ({"operands": "name", "counts": [0, 2]}, "x", ("usage_refused", -1)),
        ({"operands": "name", "counts": [0, 2]}, "x y", None),
        ({"operands": "name", "counts": [0, 2]}, "x y z", ("usage_refused", -1)),
        ({"mode": "-l -s"}, "", ("usage_refused", -1)),
        ({"mode": "-l -s"}, "-l", None),
        ({"mode": "-l -s"}, "-l -s", ("usage_refused", -1)),
        ({"mode": "-l -s"}, "-ls", ("usage_refused", -1)),
        ({"mode": "-l -s"}, "-l -l", ("usage_refused", -1)),
        ({"flags": "-l -s -n", "one_of": "-l -s"}, "-n", ("usage_refused", -1)),
        ({"flags": "-l -s -n", "one_of": "-l -s"}, "-nls", None),
        ({"options": {"-p": "name"}, "one_of": "-p"}, "-px", None),
        ({"options": {"--p": "name"}, "one_of": "--p"}, "--p=x", None),
        ({"flags": "-b", "options": {"-n": "int"}, "all_of": "-b -n"}, "-b", ("usage_refused", -1)),
        ({"flags": "-b", "options": {"-n": "int"}, "all_of": "-b -n"}, "-bn1", None),
        ({"operands": "tree", "max": 1}, "/log/a", None),
        ({"operands": "meta", "max": 3}, "/any/*", None),
        ({"operands": "meta", "max": 2}, "/any/*", ("glob_refused", 0)),
        ({"operands": "meta", "max": 1}, "any", ("path_relative", 0)),
        ({"operands": "form", "max": 1}, "a%%b", None),
        ({"operands": "form", "max": 1}, "a%b", ("value_refused", 0)),
        ({"operands": "form", "max": 1}, "''", ("value_refused", 0)),
        ({"operands": "ints", "max": 1}, "1,2", None),
        ({"operands": "ints", "max": 1}, "1,2,3", ("value_refused", 0)),
        ({"operands": "ints", "max": 1}, "1,", ("value_refused", 0)),
        ({"operands": "name", "max": 1}, "x" * 2000, ("value_refused", 0)),
    ],
)
def test_counts_modes_and_types(
    spec: dict[str, object], line: str, expected: tuple[str, int] | None
) -> None:
    assert verdict(OptionSet.model_validate(spec), line) == expected


def test_data_of_another_form_do_not_load() -> None:
    for key in ("flags", "options", "attached", "counts"):
        with pytest.raises(ValidationError):
            OptionSet.model_validate({key: 5})


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("ints", "up to 2 int, with commas between"),
        ("text", "text of up to 8 characters"),
        ("form", "made of [a-z] %%"),
        ("name", "[a-z]{1,8}"),
        ("/a|b/", "a|b"),
        ("read", "an absolute path of a file that may be read"),
    ],
)
def test_a_missing_value_is_described(kind: str, words: str) -> None:
    fault = check_options(OptionSet(options={"-x": kind}), split("-x"), TYPES)
    assert fault
    assert f"({words})" in fault.message


SHAPES = [Shape(()), Shape(("status",)), Shape(("show", "@name")), Shape(("cat", "@read"))]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", None),
        ("status", None),
        ("show foo", None),
        ("cat /one", None),
        ("other", ("usage_refused", 0)),
        ("status more", ("usage_refused", 1)),
        ("show", ("usage_refused", 0)),
        ("show foo bar", ("usage_refused", 2)),
        ("show -x", ("usage_refused", 1)),
        ("show FOO", ("usage_refused", 1)),
        ("show /log/*", ("glob_refused", 1)),
        ("cat /two", ("path_not_readable", 1)),
    ],
)
def test_whole_shapes(line: str, expected: tuple[str, int] | None) -> None:
    fault = check_shapes(SHAPES, split(line), TYPES)
    assert (fault and (fault.code, fault.index)) == expected
    if fault and fault.code == "usage_refused":
        assert "(nothing), status, show @name, cat @read" in fault.message


def test_a_literal_is_no_pattern_and_what_is_left_may_be_anything() -> None:
    rest = Shape(("/log/*", "@rest"))
    assert rest.slots == ()
    assert rest.check(split("/log/*"), TYPES) is not None
    assert rest.check([Word("/log/*"), Word("-x"), Word("/y/*", is_glob=True)], TYPES) is None
    missing = rest.check([], TYPES)
    assert missing
    assert missing.message == "/log/* is missing."


# ------------------------------------------------------------------ the preset's programs

# With two blanks between.
ALLOWED = """
systemctl  systemctl --failed  systemctl --no-pager status nginx  systemctl status nginx --no-pager
systemctl -n 5 status nginx  systemctl show -p Id nginx  docker system df -v
docker container ls -aq  apt-cache -q policy nginx  apt list --installed  dpkg -l --no-pager
top -bn1  journalctl -b -1 -n  find  find . /etc -name '*.conf' -o ! -path /x -a -type f -print
find / ! \\( -empty \\)  find / \\( -name a -o -not -name b \\) -size +1M
find /etc/*.d -newermt '1 hour ago' -printf '%p\\n'  ip a  ip -4 -br addr show eth0
ip -f inet6 route list  ip -family link link  ip route get 1.2.3.4  ip r get ::1  ps  ps aux
ps -ef --forest  ps auxww --sort=-rss --no-headers  ps aux --sort -%mem  ps -eo pid,args --cols 80
ps -o pid= -p 1,2  ps -C nginx -f  ps -A  ps --pid=1 --width=80  ps -aux  echo -n '*' done
printf '\\303\\245'  sleep 60  lsof +L1  zcat /var/log/x.gz  /usr/bin/df  /bin/df  awk '{print}'
awk -F: '{print $1, $NF}' /etc/passwd  awk -- 'NR>1'  awk '/a.b/ || /[[:alpha:]]/'
awk 'NR % 2 == 0, /x/ {print NR}'  awk '!/a/ && ($1 > 5 || $2 ~ /b[0-9]+/) && $3 !~ /c/'
awk 'BEGIN {FS=":"; OFS="-"} {print $1}'
awk '{s += $1; n++} END {printf("%d %5.1f\\n", s, s / n)}'
awk '{print $(NF - 1), -$1, ($2 + 3) * 4, substr($0, 1, 5) "x" tolower($2)}'  awk '{};{;print;}'
awk '{print sprintf("%s", $1), length, length($1) - 1}'  awk '(NR + 1) > 3'  awk '{print 10 / $1}'
sed -n '10,20p' /etc/hosts  sed 's/a/b/g'  sed -n '/x\\/y/,$p; $='  sed -E 's|a(b)|\\1&|Ip;1!d; 5q'
sed 's#[/]#x#2'  sed '/[^]a/ d'  sed -n '$!p'  sed 's,a,b,;s:c:d:;s@e@f@'
"""


@pytest.mark.parametrize("command", ALLOWED.strip().replace("\n", "  ").split("  "))
def test_the_preset_allows(command: str) -> None:
    decided = POLICY.judge(command)
    assert isinstance(decided, ApprovedCommand), decided


# With the word at fault between « and ».
REFUSED = """
option_refused df «--human»  sort «--out=x»  df -h | sort «-no» x  systemctl «start» x
option_refused systemctl «--host» x status  systemctl «-H» x  docker «-H» x ps  docker «-H»
option_refused docker system df «-x»  nginx «-s» stop  fail2ban-client status «-x»  find «-delete»
option_refused find / «-foo»  ip «-x» addr  ip netns «exec» x sh  ps «auxe»  ps -ef «aux»
option_refused awk «-f» x  awk '{print}' «-v» x  sed «-i» p  sed p «-i»
subcommand_refused systemctl «statu» x  docker «system» prune
path_relative df /etc «'a'»  find «../x»
path_protected awk '{print}' «/etc/shadow»  sed p «/etc/shadow»
glob_refused smartctl -H «/dev/s*»  echo «/etc/*»  find / -name «/x*»
operand_refused find / -name x «foo»  sed p - - - - «-»
value_refused systemctl status «'a b'»  systemctl show -p «Environment» x  find / -type «q»
value_refused ip route get «x»  ps -eo «pid,environ»  ps «--pid=x»
value_missing find / «-name»  ps «-o»  awk «-F»
usage_refused «systemctl» show nginx  «docker»  «apt» -qq  nginx -t «-x»  smartctl «-H»
usage_refused echo 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 «2»
usage_refused find / -name a «-o»  find / «-o» -name a  find / \\( -name «a»  find / -name a «\\)»
usage_refused find / \\( «\\)»  find / «!»  «ip»  ip «-f»  ip «-f» decnet addr  ip «ad»
usage_refused ip l «s» eth0 down  ip addr show «-x»  ip addr show «/x*»  «ip» route get
usage_refused «ip» route get 1.1.1.1 from  ip addr «get» 1.1.1.1
usage_refused «ps» aux -ef  «ps» aux -o pid  «ps» -eo pid -ef  «ps» -eo pid -p 1
usage_refused «ps» -o pid -o args  «ps» -p 1 -C x  «ps» -ef -p 1  «ps» -o pid -ef  «awk»
usage_refused «sed»  «sed» -n
program_refused awk «'{system("id")}'»  awk «/x*»  sed «'w x'» /etc/hosts  sed -n «/x*»
"""


@pytest.mark.parametrize(
    ("code", "marked"),
    [
        (code, marked)
        for code, _, commands in (line.partition(" ") for line in REFUSED.strip().splitlines())
        for marked in commands.split("  ")
    ],
)
def test_the_preset_refuses_at_the_word_at_fault(code: str, marked: str) -> None:
    before, token = marked.split("»", maxsplit=1)[0].split("«")
    decided = POLICY.judge(marked.replace("«", "").replace("»", ""))
    assert isinstance(decided, Refusal)
    assert (decided.code, decided.offset, decided.length) == (code, len(before), len(token))
