"""Refusals that teach: the code, the word at fault, and what would pass in its place."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hostup_mcp.policy.judge import ApprovedCommand, Policy, Refusal
from hostup_mcp.policy.policies import Policies, PolicyData
from hostup_mcp.suggestions.nearest import nearest
from tests.runner_harness import POLICY
from tests.test_grammar import PIECES

# The word at fault stands between « and »; after => what is offered first, if anything is.
TABLE = r"""
option_refused tail «-f» /var/log/syslog => tail -n 50 /var/log/syslog
option_refused tail «-fn» 100 /var/log/syslog => tail -n 100 /var/log/syslog
option_refused tail «--follow» /var/log/syslog => tail -n 50 /var/log/syslog
option_refused journalctl «-f» => journalctl -n 50
option_refused journalctl «-fu» nginx => journalctl -n 50 -u nginx
option_refused journalctl -u nginx «-f» | grep x => journalctl -u nginx -n 50 | grep x
option_refused dmesg «-w» => dmesg -T
option_refused dmesg «-H» => dmesg -T
option_refused docker logs «-f» web => docker logs --tail 50 web
option_refused grep «-R» x /var/log/nginx => grep -r x /var/log/nginx
path_protected grep -r x «/var/log» => grep x /var/log/*.log
option_refused sed «-i» s/a/b/ /etc/hosts => sed s/a/b/ /etc/hosts
option_refused find /var -name x «-delete» => find /var -name x
option_refused find /var -name x «-fprint» /tmp/x => find /var -name x
option_refused du «-L» /var => du /var
option_refused systemctl «restart» nginx => systemctl status nginx
option_refused systemctl «stop» nginx => systemctl status nginx
option_refused systemctl «cat» nginx => systemctl show -p FragmentPath,DropInPaths nginx
option_refused apt «install» nginx => apt show nginx
option_refused apt «update» => apt list --upgradable
option_refused crontab «-e» => crontab -l
option_refused grep «--ignore-cas» x /var/log/syslog => grep --ignore-case x /var/log/syslog
option_refused tail «--line=5» /var/log/syslog => tail --lines=5 /var/log/syslog
option_refused ls «-laz»
option_refused ip link «set» eth0 up
option_refused python3 «-c» 'print(1)' => python3 --version
option_refused docker «exec» web ls
option_refused ps «auxe»
wrapper «sudo» df => df
wrapper «sudo» -u root df -h => df -h
wrapper «/usr/bin/sudo» -n df => df
wrapper «timeout» 5 df -h => df -h
wrapper «watch» -n1 'df -h' => df -h
wrapper «nohup» uptime => uptime
wrapper ps aux | «xargs» echo => ps aux
environment «env»
interpreter «sh» -c 'df -h' => df -h
interpreter «bash» -lc "uptime" => uptime
interpreter «less»
interpreter «less» /var/log/syslog => tail -n 100 /var/log/syslog
interpreter «vim» /etc/hosts => cat /etc/hosts
interpreter «nano» /etc/hosts => cat /etc/hosts
shell_builtin «cd» /var/log && tail syslog => tail /var/log/syslog
shell_builtin «cd» /var/log; ls => ls /var/log
lookup «which» nginx => ls -l /usr/bin/nginx
shell_builtin «test» -f /etc/hosts => stat /etc/hosts
processes «kill» -9 1 => ps -ef
changes «service» nginx restart => systemctl status nginx
packages «apt-get» upgrade => apt list --upgradable
changes «rm» -rf /tmp/x
changes df -h; «reboot» => df -h
network «ping» 8.8.8.8
secrets «printenv»
program_unknown «htop» => top -b -n 1
program_unknown «dff» -h => df -h
program_unknown «DF» -h => df -h
program_unknown «grpe» x /var/log/syslog => grep x /var/log/syslog
program_unknown «ll» /etc => ls -l /etc
program_unknown «lsb_release» -a => cat /etc/os-release
script_word zgrep «-ex\'» -ey /var/log/syslog => zgrep -ey /var/log/syslog
script_word zgrep «"don't"» /var/log/syslog.2.gz
path_protected cat «/etc/shadow» => ls -l /etc/shadow
path_protected cat «/home/u/.env» => ls -l /home/u/.env
path_not_readable grep -r x «/etc/nginx» => grep x /etc/nginx/conf.d/*.conf
path_not_readable grep -rin x «/etc/nginx» => grep -in x /etc/nginx/conf.d/*.conf
path_not_readable cat «/etc/nginx/site.key» => ls -l /etc/nginx/site.key
name_protected cat «/etc/nginx/sites-enabled/site.key» => ls -l /etc/nginx/sites-enabled/site.key
path_not_readable cat «/etc/nginx/*» => cat /etc/nginx/conf.d/*.conf
path_not_readable cat «/srv/app/x.log» => ls -l /srv/app/x.log
path_relative cat «etc/passwd» => cat /etc/passwd
path_relative tail -n 5 «'var/log/syslog'» => tail -n 5 /var/log/syslog
path_climbs cat «/var/log/../../etc/passwd» => cat /etc/passwd
subcommand_refused systemctl «stats» nginx => systemctl status nginx
usage_refused «top» => top -b -n 1
usage_refused «iostat» 1
value_refused journalctl -n «x» => journalctl -n 50
program_refused awk «'{system("id")}'» /etc/passwd
variable ls «$HOME» => ls /root
variable cat "«${HOME}»/x" => ls -l /root/x
variable grep «$5» /var/log/syslog => grep '$5' /var/log/syslog
tilde ls «~»/x => ls /root/x
tilde ls «~»bob => ls /home/bob
substitution echo «$(»date) => date
substitution echo «`»date -u` => date -u
substitution diff «<(»ls /a) /b => ls /a
background df -h «&» => df -h
background df «&» uptime => df; uptime
operator_refused df «|&» grep x => df 2>&1 | grep x
operator_refused df -h«;;» ls => df -h; ls
command_missing df -h «|» => df -h
comment df -h «# show it» => df -h
reserved_word «if» df; then uptime; fi
negation «!» df
assignment «LC_ALL=C» df -h => df -h
parenthesis find / «(» -name a -o -name b ) => find / '(' -name a -o -name b ')'
redirection_refused df -h «> /tmp/x» => df -h
redirection_refused df «2>/tmp/err» -h => df -h
redirection_first «2>» /dev/null df
here_document cat «<<EOF»
glob_refused find / -name «*.log» => find / -name '*.log'
brace grep a«{»1,2} /var/log/syslog => grep 'a{1,2}' /var/log/syslog
brace find /var -name x -exec ls «{}» \;
bracket grep «[»a-z] /var/log/syslog => grep '[a-z]' /var/log/syslog
exclamation_mark grep a«!»b /var/log/syslog => grep 'a!b' /var/log/syslog
leading_equals grep «=»x /var/log/syslog => grep '=x' /var/log/syslog
command_word «"df"» -h => df -h
escape_refused grep «\d» /var/log/syslog => grep d /var/log/syslog
unclosed_quote journalctl -g «'a b» => journalctl -g 'a b'
"""
ROWS = TABLE.strip().splitlines()


@pytest.mark.parametrize("row", ROWS)
def test_typical_commands(row: str) -> None:
    code, _, rest = row.partition(" ")
    marked, _, closest = rest.partition(" => ")
    before, token = marked.split("»", maxsplit=1)[0].split("«")
    command = marked.replace("«", "").replace("»", "")
    refusal = POLICY.judge(command)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.offset, refusal.length) == (code, len(before), len(token))
    if closest:
        assert nearest(POLICY, command, refusal)[0] == closest
    assert_teaches(POLICY, refusal, command)


def test_the_table_is_large_enough() -> None:
    assert len(ROWS) >= 80
    assert sum(" => " in row for row in ROWS) >= 50


@pytest.mark.parametrize(
    ("command", "closest"),
    [
        ("df \u2013h", "df -h"),
        ("df\u00a0-h", "df -h"),
        ("grep \u201ca b\u201d /var/log/syslog", "grep 'a b' /var/log/syslog"),
        ("echo \u00e5", r"printf '\303\245\n'"),
        ("echo 'caf\u00e9'", r"printf 'caf\303\251\n'"),
        ("df -h\nuptime", "df -h; uptime"),
        ("df \\\n-h", "df -h"),
        ("#!/bin/sh\ndf -h\n\nuptime\n", "df -h; uptime"),
        ("df\r-h", "df -h"),
    ],
)
def test_what_was_pasted(command: str, closest: str) -> None:
    refusal = POLICY.judge(command)
    assert isinstance(refusal, Refusal)
    assert_teaches(POLICY, refusal, command)
    assert closest in nearest(POLICY, command, refusal)


@pytest.mark.parametrize(
    ("command", "who"),
    [
        ("cat /etc/shadow", "Nobody can open it with policy.readable"),
        ("sudo df", "Nobody can allow it with a rule"),
        ("bash -c df", "Nobody can allow it with a rule"),
        ("cd /", "names the program by its path"),
        ("df $HOME", "Nobody: the grammar"),
        ("cat /srv/x", "policy.readable"),
        ("cat /etc/nginx/site.key", "policy.readable"),
        ("systemctl restart nginx", "policy.rules"),
        ("reboot", "policy.rules"),
        ("nosuch", "policy.rules"),
    ],
)
def test_who_can_change_it(command: str, who: str) -> None:
    refusal = POLICY.judge(command)
    assert isinstance(refusal, Refusal)
    assert who in refusal.who_can_change_it
    assert who.startswith("Nobody") or "in the configuration file" in refusal.who_can_change_it


def test_of_several_faults_the_strictest_and_then_the_first_is_told() -> None:
    policy = make(rules=[rule("x", "ask"), rule("y", "deny")])
    for command, token in {
        "x; y": "y",
        "x; sudo df": "sudo",
        "sudo df; y": "sudo",
        "x | x": "x",
        "df; x": "x",
    }.items():
        refusal = policy.judge(command)
        assert isinstance(refusal, Refusal)
        assert command[refusal.offset :][: refusal.length] == token
        assert len(refusal.stages) == 2


def test_an_own_rule_is_offered_where_it_is_near() -> None:
    policy = make(rules=[rule("run-job @unit --now", match=["run-job nightly --now"])])
    for command in ("run-job", "run-job nightly", "sudo run-job a --now"):
        refusal = policy.judge(command)
        assert isinstance(refusal, Refusal)
        assert nearest(policy, command, refusal)[0] in {"run-job nightly --now", "run-job a --now"}


def test_a_command_that_is_too_long_only_as_it_would_be_sent() -> None:
    command = "  echo " + '"\'"' * 1000
    refusal = POLICY.judge(command)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "command_too_long"
    assert (refusal.offset, refusal.length) == (2, len(command) - 2)
    assert len(refusal.stages) == 1


# Of awk, and of sed; with two blanks between.
AWK = r"""
{system("x")}  {print > "x"}  {print | "x"}  {"x" | getline}  {x = 1}  {a[1]++}  {print -}
{print (1}  {print $x}  {print $(1}  {print ,}  {print 1,}  {if (1) print}  {next}  {NR++}
{FS = x}  {printf x}  {++x}  {printf "%c", 1}  {printf("%s"}  {print substr}  {print length(}
{print sprintf(x)}  BEGIN  BEGIN,END  1 ~ x  {print} x}  {  }  /a  /[/]/  /a[/  @x  "a  (1 > 2  (1
1 / 2 "/"  !!!!!!!!!!!!!!!!!x  {print ------------------1}  {print print}  /a\  "\x"  {print 1 2
{print 1}1}  {print ((((((((((((((((((1))))))))))))))))))}  {1}  {print $"x"}  {print $(NF-x)}
"""
SED = r"""
w x  r x  e  1e  s/a/b/e  s/a/b/w x  s/a/b  s/a  s  sXaXbX  s/a/\x/  s/[/]/x/  1,p  1,/x  1!!p  p;
p x  a\  {p}  y/a/b/  /x  /a\/[/p  /[x\//p  /x\q/p  s/a/b/g;w  1  $  \xax  s/a\/b\/[/c/  s|[|]|x|
5  s/a\  s|a[|b|c|  /[\/p  /[/\/p
"""


@pytest.mark.parametrize(
    ("name", "program"),
    [
        (name, program)
        for name, programs in (("awk", AWK), ("sed", SED))
        for program in programs.strip().replace("\n", "  ").split("  ")
    ],
)
def test_a_program_beyond_the_small_language_is_refused(name: str, program: str) -> None:
    command = f"{name} {shlex.quote(program)} /etc/hosts"
    refusal = POLICY.judge(command)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "program_refused"
    assert command[refusal.offset :][: refusal.length] == shlex.quote(program)


def test_a_long_command_gets_short_answers() -> None:
    command = "tail -f /var/log/syslog " + "x" * 1500
    refusal = POLICY.judge(command)
    assert isinstance(refusal, Refusal)
    assert_teaches(POLICY, refusal, command)
    assert len(" ".join(nearest(POLICY, command, refusal))) < 500


# ------------------------------------------------------------------ any text


def rule(line: str, verdict: str = "allow", **more: object) -> dict[str, object]:
    return {"argv": line.split(), "verdict": verdict, "reason": "on call", **more}


def make(**data: object) -> Policy:
    return Policies(PolicyData.model_validate(data)).default


POLICIES = [
    POLICY,
    make(preset="none"),
    make(preset="diagnostics-strict", readable=["/srv/**"]),
    make(preset="unrestricted", rules=[rule("rm @rest", "deny"), rule("df -h", "ask")]),
    make(rules=[rule("systemctl restart @unit"), rule("ls @rest", "ask"), rule("df", "deny")]),
    Policies(PolicyData.model_validate({"vps": [{"vps": "a", "closed": True}]})).special[0][1],
]
CORPUS: list[str] = [
    json.loads(line)["command"]
    for name in ("hostile", "benign")
    for line in (Path(__file__).parent / "corpus" / f"{name}.jsonl").read_text().splitlines()
]
soup = st.lists(st.sampled_from([*PIECES, "cat ", "tail ", "-f", "/etc/", " "]), max_size=16).map(
    "".join
)
lines = st.sampled_from(CORPUS)
pieces = st.sampled_from(PIECES) | st.text(max_size=3)


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """A line of the corpus with something put in, cut out, or both."""
    line, at = draw(lines), draw(st.integers(0, 60))
    return line[:at] + draw(pieces) + line[at + draw(st.integers(0, 4)) :]


mutated = mutations()
joined = st.tuples(lines, pieces, lines | mutated).map("".join)
texts = soup | mutated | joined | st.text(st.characters(exclude_categories=()), max_size=40)


@settings(max_examples=150)
@given(texts, st.sampled_from(POLICIES))
@example("", POLICY)
@example("tail -f '/var/log/*;uptime'", POLICY)
@example("\ud800", POLICY)
@example("cd /x && tail -f y && sudo z", POLICY)
@example("x" * 5000, POLICY)
@example("'\"'" * 1400, POLICIES[3])
def test_any_text_is_let_through_or_refused_with_all_that_teaches(
    text: str, policy: Policy
) -> None:
    decided = policy.judge(text)
    if isinstance(decided, Refusal):
        assert_teaches(policy, decided, text)
    else:
        assert not policy.closed_by
        assert decided.sent.endswith(decided.body)
        assert policy.judge(decided.body) == decided
    assert policy.judge(text) == decided


def assert_teaches(policy: Policy, refusal: Refusal, text: str) -> None:
    assert re.fullmatch("[a-z_]+", refusal.code)
    assert refusal.message.endswith((".", ")"))
    assert refusal.message.isascii()
    assert "\n" not in refusal.message + refusal.hint
    assert refusal.hint.endswith((".", " ;", "uptime"))
    assert refusal.who_can_change_it.endswith(".")
    assert refusal.policy == policy.label
    assert 0 <= refusal.offset <= refusal.offset + refusal.length <= len(text)
    assert refusal.length or not text
    found = nearest(policy, text, refusal)
    assert len(set(found)) == len(found) <= 3
    for near in found:
        allowed = policy.judge(near)
        assert isinstance(allowed, ApprovedCommand), near
        assert near != text
