"""Policies as a whole: which holds for which VPS, their labels, their description, and lint."""

from __future__ import annotations

import re

import pytest

from hostup_mcp.policy.describe import SUMMARY_MAX_CHARACTERS, full, summary
from hostup_mcp.policy.judge import ApprovedCommand, Policy, Refusal
from hostup_mcp.policy.lint import lint
from hostup_mcp.policy.policies import Policies, PolicyData
from hostup_mcp.policy.preset import preset_data
from hostup_mcp.policy.rules import PolicyError
from hostup_mcp.suggestions.nearest import nearest

Table = dict[str, object]


def rule(line: str, verdict: str = "allow", **more: object) -> Table:
    return {"argv": line.split(" "), "verdict": verdict, "reason": "on call", **more}


def policies(**data: object) -> Policies:
    return Policies(PolicyData.model_validate(data))


def outcome(policy: Policy, command: str) -> str:
    """`allow`, or the code of the refusal."""
    decided = policy.judge(command)
    return decided.code if isinstance(decided, Refusal) else "allow"


# ------------------------------------------------------------------ which policy for which VPS

FLEET = policies(
    preset="none",
    readable=["/srv/all/**"],
    rules=[rule("general")],
    vps=[
        {"vps": "vps_1", "preset": "diagnostics"},
        {"vps": "web-1", "closed": True},
        {"vps": "web-*", "rules": [rule("web")], "readable": ["/srv/web/**"]},
        {"vps": "web-db-?", "inherit": False, "preset": "diagnostics", "readable": ["/srv/db/**"]},
        {"vps": "*-twin", "preset": "diagnostics"},
        {"vps": "twin-*", "preset": "unrestricted"},
        {"vps": "a.b", "preset": "diagnostics-strict"},
    ],
)


@pytest.mark.parametrize(
    ("vps_id", "name", "place"),
    [
        ("vps_9", "other", None),
        ("vps_1", "other", 0),
        ("vps_1", "web-1", 0),
        ("vps_1", "web-x", 0),
        ("vps_1", None, 0),
        ("vps_9", "web-1", 1),
        ("web-1", None, 1),
        ("vps_9", "web-2", 2),
        ("vps_9", "web-", 2),
        ("vps_9", "my-web-2", None),
        ("vps_9", "WEB-2", 2),
        ("VPS_1", "other", 0),
        ("vps_9", "web-db-1", 3),
        ("web-db-1", "web-2", 3),
        ("vps_9", "web-db-11", 2),
        ("vps_9", "a.b", 6),
        ("vps_9", "axb", None),
        ("vps_9", "web-\nx", 2),
    ],
)
def test_the_closest_name_decides(vps_id: str, name: str | None, place: int | None) -> None:
    """By id, then by name, then by the pattern with the most characters of its own."""
    expected = FLEET.default if place is None else FLEET.special[place][1]
    assert FLEET.find(vps_id, name) is expected
    by_id = FLEET.by_id(vps_id)
    assert by_id is None or by_id is expected


def test_without_a_name_whatever_entries_may_be_about_it_is_closed() -> None:
    """HostUp may give no name; then only an entry for this very id is sure to be the one."""
    closed = FLEET.find("vps_9", None)
    refusal = closed.judge("df")
    assert isinstance(refusal, Refusal)
    assert refusal.code == "vps_closed"
    assert "policy.vps[1] (it may name this VPS" in refusal.who_can_change_it
    assert FLEET.find("VPS_1", None) is FLEET.special[0][1]
    by_id = policies(vps=[{"vps": "vps_1*", "preset": "none"}, {"vps": "vps_2", "closed": True}])
    assert by_id.find("vps_10", None) is by_id.special[0][1]
    assert by_id.find("vps_3", None) is by_id.default


def test_only_an_id_decides_without_the_name() -> None:
    assert FLEET.by_id("vps_1") is FLEET.special[0][1]
    assert FLEET.by_id("vps_9") is None
    alone = policies()
    assert alone.by_id("vps_9") is alone.default
    assert alone.find("vps_9", "any") is alone.default


def test_two_patterns_that_are_equally_close_close_the_vps() -> None:
    tied = FLEET.find("vps_9", "twin-twin")
    assert not tied.unrestricted
    refusal = tied.judge("df -h")
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.verdict) == ("vps_closed", "deny")
    assert nearest(tied, "df -h", refusal) == ()
    assert (refusal.offset, refusal.length, refusal.stages) == (0, 5, ())
    assert "policy.vps[4]" in refusal.who_can_change_it
    assert "policy.vps[5]" in refusal.who_can_change_it
    assert tied.label.startswith("closed@")


def test_what_a_vps_inherits() -> None:
    read_all, read_web, read_db = (f"cat /srv/{name}/x" for name in ("all", "web", "db"))
    diagnostics, closed, web, apart = (policy for _, policy in FLEET.special[:4])
    assert [outcome(diagnostics, c) for c in ("general", "df", read_all)] == ["allow"] * 3
    assert outcome(diagnostics, read_web) == "path_not_readable"
    assert [outcome(web, c) for c in ("general", "web")] == ["allow"] * 2
    assert outcome(web, "df") != "allow"
    assert [outcome(apart, c) for c in ("df", read_db)] == ["allow"] * 2
    assert outcome(apart, read_all) == "path_not_readable"
    assert outcome(apart, "general") == "program_unknown"
    for command in ("df", "general", "", "$x", "\ud800"):
        refusal = closed.judge(command)
        assert isinstance(refusal, Refusal)
        assert (refusal.code, refusal.length) == ("vps_closed", len(command))
        assert "policy.vps[1].closed" in refusal.who_can_change_it


def test_the_same_vps_twice_stops_the_start() -> None:
    for second in ("a", "A"):
        with pytest.raises(PolicyError) as caught:
            policies(vps=[{"vps": "a"}, {"vps": "b"}, {"vps": second}])
        assert caught.value.where == "policy.vps[2]"


def test_a_vps_that_inherits_nothing_says_what_holds() -> None:
    with pytest.raises(PolicyError) as caught:
        policies(vps=[{"vps": "a", "inherit": False, "rules": [rule("x")]}])
    assert caught.value.where == "policy.vps[0]"
    for more in ({"preset": "none"}, {"closed": True}):
        assert policies(vps=[{"vps": "a", "inherit": False, **more}]).special


# ------------------------------------------------------------------ presets

COMMANDS = ["df -h", "rpm -qa", "reboot", "x /y | z", "sudo df", "cat /etc/shadow", "df $HOME"]


@pytest.mark.parametrize(
    ("preset", "allowed"),
    [
        ("none", []),
        ("diagnostics-strict", COMMANDS[:1]),
        ("diagnostics", COMMANDS[:2]),
        ("unrestricted", COMMANDS[:6]),
    ],
)
def test_presets(preset: str, allowed: list[str]) -> None:
    made = policies(preset=preset)
    assert [c for c in COMMANDS if outcome(made.default, c) == "allow"] == allowed
    assert made.is_unrestricted_somewhere is made.default.unrestricted is (preset == "unrestricted")
    assert re.fullmatch(rf"{preset}@[0-9a-f]{{12}}", made.default.label)


def test_strict_leaves_out_what_does_more_than_read_and_says_what() -> None:
    refusal = policies(preset="diagnostics-strict").default.judge("nft list ruleset")
    assert isinstance(refusal, Refusal)
    assert refusal.message == (
        "nft is left out of the preset diagnostics-strict: it may load kernel modules."
    )
    assert "policy.preset" in refusal.who_can_change_it


def test_rules_hold_under_unrestricted_too() -> None:
    made = policies(
        preset="unrestricted",
        rules=[rule("rm @rest", "deny"), rule("reboot", "ask"), rule("sh @rest", "deny")],
        vps=[{"vps": "a", "closed": True}],
    )
    codes = {"rm -rf /": "rule_denied", "df; rm x": "rule_denied", "reboot": "approval_needed"}
    codes |= {"/bin/sh -c x": "rule_denied", "bash -c x": "allow", "df > /x": "redirection_refused"}
    assert {command: outcome(made.default, command) for command in codes} == codes
    allowed = made.default.judge("poweroff  'now'")
    assert isinstance(allowed, ApprovedCommand)
    assert allowed.body == "poweroff now"
    assert (allowed.policy, allowed.stages[0].argv) == (made.default.label, ("poweroff", "now"))
    assert not made.special[0][1].unrestricted
    assert policies(vps=[{"vps": "a", "preset": "unrestricted"}]).is_unrestricted_somewhere
    assert not policies(
        vps=[{"vps": "a", "preset": "unrestricted", "closed": True}]
    ).is_unrestricted_somewhere


# ------------------------------------------------------------------ labels

DIFFERENT: list[Table] = [
    {},
    {"preset": "none"},
    {"preset": "diagnostics-strict"},
    {"preset": "unrestricted"},
    {"network": "none"},
    {"preset": "diagnostics-strict", "network": "lookups"},
    {"readable": ["/srv/a"]},
    {"readable": ["/srv/b"]},
    {"readable": ["/srv/a", "/srv/b"]},
    {"types": {"t": "x"}},
    {"types": {"t": "y"}},
    {"types": {"t": {"text": 5}}},
    {"types": {"t": {"list": "int"}}},
    {"rules": [rule("x")]},
    {"rules": [rule("y")]},
    {"rules": [rule("x y")]},
    {"rules": [rule("x", "ask")]},
    {"rules": [rule("x", "deny")]},
    {"rules": [rule("x", match=["x"])]},
    {"rules": [rule("x") | {"reason": "other"}]},
    {"rules": [rule("x"), rule("y")]},
]


def test_a_label_differs_where_anything_differs_and_stays_otherwise() -> None:
    labels = [policies(**data).default.label for data in DIFFERENT]
    assert len(set(labels)) == len(DIFFERENT)
    assert [policies(**data).default.label for data in DIFFERENT] == labels
    closed = policies(vps=[{"vps": "a", "closed": True}, {"vps": "b", "preset": "diagnostics"}])
    assert closed.default.label == closed.special[1][1].label == labels[0]
    assert closed.special[0][1].label not in labels


# ------------------------------------------------------------------ the texts

LONG = [rule(f"program-{n} " + "word " * 10 + str(n)) for n in range(40)]
TEXTS: list[Table] = [
    {},
    {"preset": "none"},
    {"preset": "diagnostics-strict"},
    {"preset": "unrestricted", "rules": [rule("rm @rest", "deny")]},
    {"rules": LONG},
    {"preset": "unrestricted", "rules": LONG},
    {"preset": "none", "rules": LONG[1:], "vps": [{"vps": "v", "rules": LONG[:1]}]},
    {"vps": [{"vps": "x" * 255, "closed": True}]},
    {"vps": [{"vps": f"vps-{n}", "closed": True} for n in range(60)]},
    {"vps": [{"vps": f"vps-{n}", "preset": "unrestricted"} for n in range(60)]},
    {"rules": LONG, "vps": [{"vps": "x" * 255, "preset": "unrestricted"}]},
    {"vps": [{"vps": f"vps-{n}", "rules": LONG[n : n + 9]} for n in range(9)], "rules": LONG[20:]},
]


@pytest.mark.parametrize("data", TEXTS)
def test_the_summary_is_short_and_holds_the_policy(data: Table) -> None:
    made = policies(**data)
    text = summary(made)
    assert len(text) < SUMMARY_MAX_CHARACTERS
    assert text.isascii()
    assert made.default.label in text
    assert ("UNRESTRICTED" in text) is made.is_unrestricted_somewhere
    assert "hostup://policy" in text


def test_the_summary_names_every_program() -> None:
    for preset in ("diagnostics", "diagnostics-strict"):
        made = policies(preset=preset, rules=[rule("/opt/app/check @int"), rule("rm @rest", "ask")])
        words = set(re.findall(r"[^\s;.]+", summary(made)))
        assert set(made.default.preset.commands) <= words
        assert "Also: /opt/app/check @int." in summary(made)
        assert "Refused: rm @rest." in summary(made)
    assert "no command is allowed" in summary(policies(preset="none"))
    assert "Also: x y." in summary(policies(preset="none", rules=[rule("x y")]))
    few = policies(vps=[{"vps": "a", "closed": True}, {"vps": "b", "preset": "unrestricted"}])
    assert "on a: closed, no command runs." in summary(few)
    assert "on b: UNRESTRICTED" in summary(few)
    many = policies(vps=[{"vps": f"vps-{n}", "closed": True} for n in range(60)])
    assert "Closed, no command runs, on vps-0, vps-1," in summary(many)


def test_a_vps_with_another_preset_has_its_programs_told() -> None:
    made = policies(preset="none", vps=[{"vps": "web", "preset": "diagnostics"}])
    (line,) = (line for line in summary(made).splitlines() if " on web:" in line)
    assert set(made.special[0][1].preset.commands) <= set(re.findall(r"[^\s;.]+", line))
    assert "- `df " in full(made)
    same = policies(vps=[{"vps": "web", "rules": [rule("x")], "readable": ["/srv/web/**"]}])
    assert len(re.findall("dpkg-query", summary(same))) == 1
    assert full(same).count("- `df ") == 1
    assert "- `/srv/web/**`" in full(same)


def test_the_full_text_has_everything() -> None:
    data = preset_data()
    text = full(policies(rules=[rule("/opt/check @int"), rule("rm @rest", "deny")]))
    assert "- allow: `/opt/check @int` (on call)" in text
    assert "- deny: `rm @rest` (on call)" in text
    programs = text.partition("\n## Programs")[2].partition("\nTypes of the values")[0]
    lines = dict(re.findall(r"^- `([^\s`]+)(.*)$", programs, re.MULTILINE))
    assert set(data.command) == set(lines)
    for name, command in data.command.items():
        assert (f"({command.effects})" in lines[name]) is bool(command.effects)
    for block in data.path:
        assert all(f"- `{pattern}`" in text for pattern in block.allow)
    for program, part in {
        "df": "--human-readable",
        "grep": "--recursive",
        "journalctl": "[--since time]",
        "systemctl": "is-active [unit",
        "nginx": "{-t | -T |",
        "echo": "[TEXT]...",
        "find": "[PATH]... [-daystart",
        "ip": "{a | addr |",
        "ps": "[-eo ps_columns]",
        "awk": "PROGRAM [read]...",
        "sed": "SCRIPT [read]...",
        "getent": "/passwd|group|",
        "date": "[date_format]",
    }.items():
        assert part in lines[program], lines[program]
    assert "export PATH=" in text


def test_the_full_text_of_single_vpss() -> None:
    text = full(
        policies(
            vps=[
                {"vps": "shut", "closed": True},
                {"vps": "open-*", "preset": "unrestricted", "rules": [rule("rm @rest", "ask")]},
            ]
        )
    )
    default, shut, opened = text.split("\n# On ")
    assert default.startswith("# What may be run\n\nDefault policy, for every VPS that no other")
    assert shut.startswith("shut\n\nPolicy `closed@")
    assert "Closed: no command runs." in shut
    assert opened.startswith("open-*\n\nPolicy `unrestricted@")
    assert "UNRESTRICTED" in opened
    assert "- ask: `rm @rest` (on call)" in opened
    assert "UNRESTRICTED" not in default + shut


# ------------------------------------------------------------------ lint


def good(line: str, verdict: str = "allow") -> Table:
    """A rule with examples."""
    example = line.replace("@meta", "/y").replace("@", "")
    return rule(line, verdict, match=[example], not_match=["free"])


LINTED: list[tuple[Table, str, str]] = [
    ({"rules": [rule("x y")]}, "examples_missing", "policy.rules[0]"),
    ({"rules": [rule("x y", match=["x y"])]}, "examples_missing", "policy.rules[0]"),
    ({"rules": [rule("x y", not_match=["df"])]}, "examples_missing", "policy.rules[0]"),
    ({"vps": [{"vps": "a", "rules": [rule("x")]}]}, "examples_missing", "policy.vps[0].rules[0]"),
    ({"rules": [good("x @meta")]}, "slot_reads_private", "policy.rules[0].argv"),
    ({"rules": [good("x @text")]}, "slot_reads_private", "policy.rules[0].argv"),
    ({"types": {"t": "/etc/.{1,9}"}, "rules": [rule("x @t")]}, "slot_reads_private", ".argv"),
    ({"types": {"t": "[a-z=]{1,9}"}, "rules": [good("x @t")]}, "slot_is_wide", ".argv"),
    ({"types": {"t": "a.b"}, "rules": [rule("x @t")]}, "pattern_is_loose", ".argv"),
    ({"rules": [rule("find @unit")]}, "program_executes", "policy.rules[0]"),
    ({"rules": [rule("/usr/bin/tar -xf @unit", "ask")]}, "program_executes", "policy.rules[0]"),
    ({"rules": [rule("docker exec web sh")]}, "program_executes", "policy.rules[0]"),
    ({"rules": [rule("sort -o @word")]}, "program_executes", "policy.rules[0]"),
    ({"rules": [rule("systemctl @word @unit")]}, "slot_is_vital", "policy.rules[0].argv"),
    ({"rules": [rule("systemctl stop @any_unit")]}, "slot_is_vital", "policy.rules[0].argv"),
    ({"rules": [rule("/usr/bin/systemctl start @word", "ask")]}, "slot_is_vital", ".argv"),
    (
        {"types": {"t": "[a-z-]{1,20}"}, "rules": [rule("service @t restart")]},
        "slot_is_vital",
        ".argv",
    ),
    ({"rules": [rule("telinit @int")]}, "slot_is_vital", ".argv"),
    ({"rules": [rule("userdel @user")]}, "slot_is_vital", ".argv"),
    ({"rules": [rule("apt-get purge @package")]}, "slot_is_vital", ".argv"),
    ({"rules": [rule("mkfs.ext4 @device")]}, "slot_is_vital", ".argv"),
    ({"rules": [rule("x /etc/shadow")]}, "reads_protected", "policy.rules[0].argv"),
    ({"types": {"t": "--x"}, "rules": [rule("x @t")]}, "never_matches", "policy.rules[0]"),
    ({"types": {"t": "\\-x"}, "rules": [rule("x @t")]}, "never_matches", "policy.rules[0]"),
    ({"vps": [{"vps": "a", "closed": True, "preset": "none"}]}, "never_matches", "policy.vps[0]"),
    (
        {"vps": [{"vps": "a*", "closed": True}, {"vps": "*b", "closed": True}]},
        "never_matches",
        "[1]",
    ),
    ({"readable": ["/root/x"]}, "never_matches", "policy.readable"),
    ({"rules": [rule("df -h", match=["df -h"])]}, "adds_nothing", "policy.rules[0]"),
    ({"rules": [rule("rm @rest", "deny", match=["rm x"])]}, "adds_nothing", "policy.rules[0]"),
    ({"vps": [{"vps": "a"}]}, "adds_nothing", "policy.vps[0]"),
    ({"types": {"t": "x"}}, "adds_nothing", "policy.types.t"),
    ({"preset": "none", "network": "lookups"}, "adds_nothing", "policy.network"),
    ({"vps": [{"vps": "a", "preset": "unrestricted", "network": "none"}]}, "adds_nothing", "rk"),
    ({"vps": [{"vps": "a", "closed": True, "network": "none"}]}, "never_matches", "policy.vps[0]"),
    ({"rules": [rule("df -h", "deny")]}, "deny_is_narrow", "policy.rules[0]"),
    ({"rules": [rule("df -h @rest", "deny")]}, "deny_is_narrow", "policy.rules[0]"),
    ({"preset": "unrestricted", "rules": [good("x y", "deny")]}, "deny_is_narrow", ".rules[0]"),
    ({"readable": ["/**"]}, "readable_is_wide", "policy.readable"),
    ({"readable": ["/srv/**"]}, "readable_is_wide", "policy.readable"),
    ({"readable": ["/etc/**"]}, "readable_is_wide", "policy.readable"),
    ({"readable": ["/*/x/**"]}, "readable_is_wide", "policy.readable"),
    ({"preset": "unrestricted"}, "unrestricted", "policy.preset"),
    ({"vps": [{"vps": "a", "preset": "unrestricted"}]}, "unrestricted", "policy.vps[0].preset"),
]


@pytest.mark.parametrize(("data", "code", "place"), LINTED)
def test_lint_sees(data: Table, code: str, place: str) -> None:
    found = lint(policies(**data))
    assert any(f.code == code and f.place.endswith(place) for f in found), found
    for finding in found:
        assert finding.message.endswith(".")
        assert finding.advice.endswith(".")
    assert len(set(found)) == len(found)


def test_lint_has_nothing_to_say_of_a_careful_configuration() -> None:
    made = policies(
        types={"job": "nightly-[a-z]{1,8}"},
        readable=["/srv/app/log/**"],
        rules=[
            rule("systemctl restart nginx", match=["systemctl restart nginx"], not_match=["df"]),
            rule("systemctl restart @unit", match=["systemctl restart x"], not_match=["df"]),
            rule("/opt/app/run @job", match=["/opt/app/run nightly-a"], not_match=["df"]),
            rule("/opt/app/see @read", "ask", match=["/opt/app/see /etc/hosts"], not_match=["df"]),
            rule("df @rest", "deny", match=["df -h", "df"], not_match=["du"]),
            rule("/opt/app/run nightly-x", "deny", match=["/opt/app/run nightly-x"])
            | {"not_match": ["/opt/app/run nightly-y"]},
            rule("/opt/app/cmp /etc/hosts", match=["/opt/app/cmp /etc/hosts"], not_match=["df"]),
            rule("du @meta --x", match=["du / --x"], not_match=["du"]),
        ],
        vps=[{"vps": "a", "closed": True}, {"vps": "b-*", "readable": ["/srv/b/log/**"]}],
    )
    assert lint(made) == []


def test_a_rule_that_two_vpss_inherit_is_remarked_once() -> None:
    made = policies(
        rules=[rule("x y")],
        readable=["/srv/**"],
        vps=[{"vps": "a", "readable": ["/srv/a"]}, {"vps": "b", "preset": "none"}],
    )
    found = [(f.code, f.place) for f in lint(made)]
    assert found.count(("examples_missing", "policy.rules[0]")) == 1
    assert not [place for code, place in found if code == "examples_missing" and "vps" in place]
