"""The operator's own rules: what stops the start, which rule decides, and for which VPS."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import pickle
import time
from typing import Any

import pytest
from pydantic import ValidationError

from hostup_mcp.policy.judge import ApprovedCommand, Policy, Refusal
from hostup_mcp.policy.policies import Policies, PolicyData
from hostup_mcp.policy.rules import PolicyError
from hostup_mcp.policy.shell.tree import CommandLine
from hostup_mcp.suggestions.nearest import nearest

Table = dict[str, object]


def rule(line: str, verdict: str = "allow", **more: object) -> Table:
    return {"argv": line.split(" "), "verdict": verdict, "reason": "on call", **more}


def policies(**data: object) -> Policies:
    return Policies(PolicyData.model_validate(data))


def stop(**data: object) -> PolicyError:
    parsed = PolicyData.model_validate(data)
    with pytest.raises(PolicyError) as caught:
        Policies(parsed)
    return caught.value


def outcome(policy: Policy, command: str) -> str:
    """`allow`, or the code of the refusal."""
    decided = policy.judge(command)
    return decided.code if isinstance(decided, Refusal) else "allow"


# ------------------------------------------------------------------ what stops the start

UNJUDGEABLE = """
busybox.static vim.basic vim.tiny nc.openbsd BASH Python3.11 python3.11-dbg
perl5.36-x86_64-linux-gnu ld-linux-x86-64.so.2 ld-musl-x86_64.so.1 /lib64/ld-linux-x86-64.so.2
/snap/bin/node bash5 node18 php8 sh bash dash ash zsh ksh93 mksh fish tcsh pwsh rbash busybox
toybox python python3 python3.11 perl perl5.36 ruby3.1 node node-18 php php8.2 lua5.4 tclsh8.6 awk
gawk mawk sed ed vim less man socat nc gdb sudo su doas env nohup timeout nice ionice time stdbuf
setsid chroot unshare nsenter watch xargs parallel flock script ssh strace at systemd-run
start-stop-daemon ldd ld.so bwrap cd export set eval exec source read printf test kill trap ulimit
type builtin command alias unset let declare if while function coproc nocorrect noglob /bin/sh
/usr/bin/env /usr/local/bin/python3 /opt/venv/bin/python3.12 /opt/bin/bash /x/xargs
"""


@pytest.mark.parametrize("program", UNJUDGEABLE.split())
def test_a_rule_cannot_let_run_what_runs_anything(program: str) -> None:
    for verdict in ("allow", "ask"):
        error = stop(rules=[rule("df", "deny"), rule(f"{program} x", verdict)])
        assert error.where == "policy.rules[1].argv"
        assert error.message.startswith(f"{program} ")
        assert error.message.endswith("so what it would do cannot be judged.")
    assert outcome(policies(rules=[rule(f"{program} @rest", "deny")]).default, program) != "allow"


@pytest.mark.parametrize(
    ("given", "place", "part"),
    [
        (rule("./x"), ".argv", "'./x' cannot name a program"),
        (rule("[ -e x ]"), ".argv", "'[' cannot name a program"),
        (rule(". x"), ".argv", "'.' cannot name a program"),
        (rule("-x"), ".argv", "'-x' cannot name a program"),
        (rule("/opt/../bin/x"), ".argv", "cannot name a program"),
        (rule("/opt/"), ".argv", "cannot name a program"),
        (rule("x\u00e9"), ".argv", "'x\\xe9' cannot name a program"),
        (rule("@word x"), ".argv", "'@word' cannot name a program"),
        ({"argv": [""], "reason": "r"}, ".argv", "'' cannot name a program"),
        (rule("x \u00e9"), ".argv", "'\\xe9' is not printable ASCII"),
        ({"argv": ["x", "a\nb"], "reason": "r"}, ".argv", "'a\\nb' is not printable ASCII"),
        (rule("x " + "y" * 1025), ".argv", "is not printable ASCII"),
        (rule("x @nosuch"), ".argv", "there is no type nosuch."),
        (rule("x @"), ".argv", "there is no type ."),
        (rule("x @/(a+)+/"), ".argv", "could take minutes"),
        (rule("x @rest"), ".argv", "@rest would take any arguments"),
        (rule("x @rest y", "deny"), ".argv", "@rest would take any arguments"),
        (rule("x @rest @rest", "ask"), ".argv", "@rest would take any arguments"),
        (rule("x y", match=["x z"]), ".match", "'x z' is wrong: the rule does not match it: z is"),
        (rule("x y", match=["x"]), ".match", "y is missing."),
        (rule("x y", match=["x y z"]), ".match", "z is one argument too many."),
        (rule("x y", match=["z y"]), ".match", "its program is z, not x."),
        (rule("x y", match=["x y | x y"]), ".match", "it has more than one stage."),
        (rule("x y", match=["x $y"]), ".match", "it is not in the grammar: $y"),
        (rule("x y", match=["x y", ""]), ".match", "the command is empty"),
        (rule("x @word", match=["x -y"]), ".match", "-y starts with -."),
        (rule("x @word", not_match=["y", "x z"]), ".not_match", "'x z', which it should not"),
        (rule("x y", not_match=["$x"]), ".not_match", "'$x' is not in the grammar"),
        (rule("x y", not_match=["df | x y"]), ".not_match", "which it should not"),
        (rule("x y", "deny", not_match=["/usr/bin/x y"]), ".not_match", "which it should not"),
    ],
)
def test_a_wrong_rule_stops_the_start_with_its_place(given: Table, place: str, part: str) -> None:
    error = stop(vps=[{"vps": "web", "rules": [rule("df", "deny"), given]}])
    assert error.where == f"policy.vps[0].rules[1]{place}"
    assert part.lower() in error.message.lower()
    assert error.advice.endswith(".")
    assert str(error) == f"{error.where}: {error.message} {error.advice}"


UNREADABLE: list[tuple[Table, tuple[str | int, ...]]] = [
    ({"rules": [rule("x", unknown=1)]}, ("rules", 0, "unknown")),
    ({"rules": [rule("x", "permit")]}, ("rules", 0, "verdict")),
    ({"rules": [{"argv": ["x"]}]}, ("rules", 0, "reason")),
    ({"rules": [{"argv": ["x"], "reason": ""}]}, ("rules", 0, "reason")),
    ({"rules": [{"argv": ["x"], "reason": "a\nb"}]}, ("rules", 0, "reason")),
    ({"rules": [rule("x") | {"argv": []}]}, ("rules", 0, "argv")),
    ({"rules": [rule("x" + " y" * 64)]}, ("rules", 0, "argv")),
    ({"preset": "all"}, ("preset",)),
    ({"presets": "none"}, ("presets",)),
    ({"vps": [{"vps": ""}]}, ("vps", 0, "vps")),
    ({"vps": [{"vps": "x", "close": True}]}, ("vps", 0, "close")),
    ({"types": {"x": {"text": 0}}}, ("types", "x")),
    ({"types": {"x": 5}}, ("types", "x")),
    ({"types": {"x": {}}}, ("types", "x")),
    ({"types": {"x": {"any": []}}}, ("types", "x")),
    ({"types": {"x": {"list": "int", "min": 1}}}, ("types", "x")),
]


@pytest.mark.parametrize(("given", "where"), UNREADABLE)
def test_unknown_keys_and_values_do_not_load(given: Table, where: tuple[str | int, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        PolicyData.model_validate(given)
    assert caught.value.errors()[0]["loc"][: len(where)] == where


VERDICTS = ("allow", "ask", "deny")
OUTCOMES = {"allow": "allow", "ask": "approval_needed", "deny": "rule_denied"}
PAIRS = list(itertools.product(VERDICTS, VERDICTS))


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_rule_that_can_never_decide_stops_the_start(first: str, second: str) -> None:
    """Of two that match the same, the stricter decides, and of equals the first."""
    wide, narrow = rule("x @word", first), rule("x y", second)
    stricter = VERDICTS.index(first) - VERDICTS.index(second)
    if stricter >= 0:
        error = stop(rules=[wide, narrow])
        assert error.where == "policy.rules[1]"
        assert f"policy.rules[0] ({first}) matches everything that it matches" in error.message
    else:
        both = policies(rules=[wide, narrow]).default
        assert outcome(both, "x z") == OUTCOMES[first]
        assert outcome(both, "x y") == OUTCOMES[second]
    if stricter > 0:
        assert stop(rules=[narrow, wide]).where == "policy.rules[0]"
    else:
        both = policies(rules=[narrow, wide]).default
        assert outcome(both, "x z") == OUTCOMES[first]
        assert outcome(both, "x y") == OUTCOMES[second]


@pytest.mark.parametrize(
    ("wide", "narrow", "hidden"),
    [
        ("x", "x", True),
        ("/usr/bin/x", "x", True),
        ("/opt/x", "x", True),
        ("x @rest", "x", True),
        ("x @rest", "x a @word", True),
        ("x @rest", "x a @rest", True),
        ("x a @rest", "x a", True),
        ("x a @rest", "x @rest", False),
        ("x a @rest", "x b @rest", False),
        ("x @word @rest", "x @rest", False),
        ("x @word", "x @rest", False),
        ("x a", "x a @rest", False),
        ("x @word", "x @word", True),
        ("x @word", "x @int", False),
        ("x @word", "x -a", False),
        ("x @int", "x a", False),
        ("x @read", "x /var/log/syslog", True),
        ("x @read", "x /etc/shadow", False),
        ("x @word", "x a b", False),
        ("y @rest", "x", False),
    ],
)
def test_one_rule_hides_another_only_where_it_is_certain(
    wide: str, narrow: str, hidden: bool
) -> None:
    rules = [rule(wide, "deny"), rule(narrow, "deny")]
    if hidden:
        assert stop(rules=rules).where == "policy.rules[1]"
    else:
        policies(rules=rules)


@pytest.mark.parametrize(
    ("name", "definition", "part"),
    [
        ("int", "x", "a built-in type has this name"),
        ("read", "x", "a built-in type has this name"),
        ("rest", "x", "a built-in type has this name"),
        ("Big", "x", "a name is made of a-z"),
        ("a" * 33, "x", "a name is made of a-z"),
        ("", "x", "a name is made of a-z"),
        ("t", "a)", "an unmatched ) at position 2"),
        ("t", "(a", "an unclosed ( at position 1"),
        ("t", "(?i)a", "a special group at position 1"),
        ("t", "[a", "an empty or unclosed [ at position 1"),
        ("t", "[a[b]", "'[' unescaped in the class at position 1"),
        ("t", "[]a]", "an empty or unclosed [ at position 1"),
        ("t", "a{2,}", "an unreadable repeat at position 2"),
        ("t", "^a$", "'^' unescaped at position 1"),
        ("t", "a**", "a doubled repeat at position 3"),
        ("t", "a*?", "a doubled repeat at position 3"),
        ("t", "a{x}", "an unreadable repeat at position 2"),
        ("t", "a{3,1}", "a repeat of 3 to 1 times"),
        ("t", "a{2000}", "a repeat of 2000 to 2000 times"),
        ("t", "\\w", "\\w at position 1"),
        ("t", "a\\", "\\ at position 2"),
        ("t", "\u00e9", "'\\xe9' unescaped at position 1"),
        ("t", "a" * 4097, "more than 4096 characters"),
        ("t", "(" * 17 + "a" + ")" * 17, "groups nested more than 16 deep"),
        ("t", "[z-a]", "bad character range z-a at position 2"),
        ("t", "[a--]", "'-' unescaped in the class at position 1"),
        ("t", "(a|b)+", "could take minutes"),
        ("t", "(a+)*", "could take minutes"),
        ("t", "a?" * 8, None),
        ("t", "(a*|b*){9}", "could take minutes"),
        ("t", {"list": "nosuch"}, "there is no type nosuch"),
        ("t", {"list": "t"}, "t cannot be in a list"),
        ("t", {"list": "read"}, "read cannot be in a list"),
        ("t", {"any": ["int", "t"]}, "the type t refers to itself"),
        ("t", {"any": ["int", "nosuch"]}, "there is no type nosuch"),
        ("t", {"list": "text"}, None),
        ("t", {"list": "/(a|aa){3,16}/"}, "could take minutes"),
        ("t", {"any": ["/(/"]}, "the type /(/ has an unclosed ("),
        ("t", {"tokens": ["a*"]}, "a token that can be empty"),
        ("t", {"tokens": ["("]}, "an unclosed ( at position 1"),
        ("t", {"list": "/[a-z]{2}/", "max": 3}, None),
        ("t", {"any": ["int", "read", "/x|y/"]}, None),
        ("t", {"tokens": ["[^\\]a]", "\\]{2}"]}, None),
        ("t", {"text": 40, "dash": True}, None),
        ("t", "v(\\d+(\\.\\d{1,3})?|x{2,3})?", None),
        ("t", "", None),
    ],
)
def test_types_of_ones_own(name: str, definition: object, part: str | None) -> None:
    if part is None:
        policies(types={name: definition}, rules=[rule(f"x @{name}")])
        return
    error = stop(types={name: definition})
    assert error.where == f"policy.types.{name}"
    assert part in error.message


def test_no_pattern_that_loads_can_be_made_slow() -> None:
    slow = {"t": "(a{0,9}b?){1,4}c"}
    start = time.perf_counter()
    try:
        outcome(policies(types=slow, rules=[rule("x @t")]).default, f"x {'ab' * 500}")
    except PolicyError as error:
        assert "minutes" in error.message
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    "patterns",
    ["srv", "/", "//", "/srv/", "/srv//x", "/srv/../x", "/srv/./x", "/srv/***", "/s v", "/\u00e9"],
)
def test_a_readable_path_is_an_absolute_pattern(patterns: str) -> None:
    error = stop(readable=["/srv/log/**", patterns])
    assert error.where == "policy.readable[1]"
    assert stop(vps=[{"vps": "a", "readable": [patterns]}]).where == "policy.vps[0].readable[0]"


def test_a_rule_that_allows_is_about_the_very_program_and_one_that_denies_about_its_name() -> None:
    made = policies(rules=[rule("x"), rule("/opt/x z", "ask"), rule("y"), rule("/opt/y z", "deny")])
    for command, code in {
        "x": "allow",
        "/usr/bin/x": "allow",
        "/usr/local/bin/x": "program_unknown",
        "/opt/x z": "approval_needed",
        "/proc/self/root/bin/x z": "approval_needed",
        "y": "allow",
        "y z": "rule_denied",
        "/srv/y z": "rule_denied",
    }.items():
        assert outcome(made.default, command) == code, command


def test_a_builtin_is_one_by_its_plain_name_only() -> None:
    made = policies(rules=[rule("/usr/bin/kill -l"), rule("/opt/app/watch-logs @unit")]).default
    assert outcome(made, "/usr/bin/kill -l") == "allow"
    assert outcome(made, "/opt/app/watch-logs nginx") == "allow"
    assert outcome(made, "kill -l") != "allow"


def test_only_a_policy_makes_an_approved_command() -> None:
    approved = OWN.judge("df -h")
    assert isinstance(approved, ApprovedCommand)
    made: Any = ApprovedCommand
    for seal in (None, object(), "seal"):
        with pytest.raises(TypeError, match="makes an ApprovedCommand"):
            made(seal, CommandLine(approved.stages), "reboot", approved.policy)
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            copied(approved)
    with pytest.raises(TypeError, match="no other kinds"):
        type("Forged", (made,), {})
    with pytest.raises((AttributeError, TypeError)):
        dataclasses.replace(approved, body="reboot")
    with pytest.raises(dataclasses.FrozenInstanceError):
        approved.body = "reboot"  # type: ignore[misc]
    forged: Any = approved
    for call in (forged.__getstate__, lambda: forged.__setstate__({"body": "reboot"})):
        with pytest.raises(TypeError):
            call()


# ------------------------------------------------------------------ which rule decides

OWN = policies(
    types={"job": "nightly-[a-z]{1,8}", "flag": "--x|y", "files": {"any": ["read", "/z/"]}},
    rules=[
        rule("systemctl restart @unit", match=["systemctl restart nginx"], not_match=["df"]),
        rule("systemctl restart sshd", "deny"),
        rule("systemctl restart db", "ask"),
        rule("systemctl status db", "deny"),
        rule("run-job @job --now", match=["run-job nightly-a --now"]),
        rule("/opt/app/check"),
        rule("show @text", "allow"),
        rule("pick @flag"),
        rule("see @files"),
        rule("touch @meta @read"),
        rule("rm @rest", "ask"),
        rule("rm -rf @rest", "deny"),
        rule("/usr/bin/uptime @rest", "deny"),
        rule("mark *"),
    ],
).default


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("systemctl restart nginx", "allow"),
        ("systemctl restart sshd", "rule_denied"),
        ("systemctl restart db", "approval_needed"),
        ("systemctl restart nginx -H x", "usage_refused"),
        ("systemctl restart --now", "value_refused"),
        ("systemctl stop nginx", "option_refused"),
        ("systemctl status nginx", "allow"),
        ("systemctl status db", "rule_denied"),
        ("/usr/bin/systemctl restart nginx", "allow"),
        ("/opt/bin/systemctl restart nginx", "program_unknown"),
        ("run-job nightly-a --now", "allow"),
        ("run-job nightly-a", "usage_refused"),
        ("run-job weekly --now", "value_refused"),
        ("/opt/app/check", "allow"),
        ("/opt/app/check x", "usage_refused"),
        ("check", "program_unknown"),
        ("show 'any thing; at all'", "allow"),
        ("show -x", "value_refused"),
        ("show '-x'", "value_refused"),
        ("show /var/log/*", "glob_refused"),
        ("show '/var/log/*'", "allow"),
        ("pick y", "allow"),
        ("pick --x", "value_refused"),
        ("see /etc/hosts", "allow"),
        ("see z", "allow"),
        ("see /etc/shadow", "value_refused"),
        ("see /var/log/*", "glob_refused"),
        ("touch /any/where /var/log/*", "glob_refused"),
        ("touch /any/* /etc/hosts", "glob_refused"),
        ("touch /any/where /etc/shadow", "path_protected"),
        ("touch - /etc/hosts", "value_refused"),
        ("touch '' /etc/hosts", "value_refused"),
        ("touch /any/where /etc/hosts", "allow"),
        ("rm x", "approval_needed"),
        ("rm", "approval_needed"),
        ("rm -rf x", "rule_denied"),
        ("rm -rf", "rule_denied"),
        ("rm -r -f x", "approval_needed"),
        ("/bin/rm /srv/*", "approval_needed"),
        ("uptime", "rule_denied"),
        ("uptime | wc -l", "rule_denied"),
        ("mark '*'", "allow"),
        ("rm x; rm -rf y", "rule_denied"),
        ("rm x; reboot", "changes"),
        ("df -h && rm x", "approval_needed"),
        ("rm x | sh", "interpreter"),
    ],
)
def test_the_strictest_rule_decides_and_a_rule_beats_the_preset(command: str, code: str) -> None:
    assert outcome(OWN, command) == code


def test_an_example_that_a_stricter_rule_decides_about_is_wrong() -> None:
    error = stop(rules=[rule("x @word", match=["x y"]), rule("x y", "ask")])
    assert error.where == "policy.rules[0].match"
    assert "policy.rules[1] (ask) decides about it." in error.message


def test_a_refusal_by_a_rule_names_its_reason_and_place() -> None:
    command = "df && rm -rf /x  'y' | wc"
    denied = OWN.judge(command)
    assert isinstance(denied, Refusal)
    assert denied.message == "rm: A rule of the operator's refuses this: on call."
    assert command[denied.offset :][: denied.length] == "rm -rf /x  'y'"
    assert "policy.rules[11] in the configuration file" in denied.who_can_change_it
    assert denied.verdict == "deny"
    assert nearest(OWN, command, denied) == ()
    asked = OWN.judge("rm x")
    assert isinstance(asked, Refusal)
    assert (asked.verdict, asked.offset, asked.length) == ("ask", 0, 4)
    assert "on call" in asked.message
    assert "policy.rules[10]" in asked.who_can_change_it
