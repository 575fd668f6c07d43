"""`@unit` in the operator's rules: a service that may go down without the machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hostup_mcp.policy.judge import ApprovedCommand, Refusal
from hostup_mcp.policy.policies import Policies, PolicyData
from hostup_mcp.policy.rules import PolicyError
from hostup_mcp.policy.values.definitions import OfType

LINES: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parent / "corpus" / "network.jsonl").read_text().splitlines()
]
UNITS = [line for line in LINES if line["category"] == "unit"]


def policies(*argvs: str, **more: object) -> Policies:
    rules = [{"argv": argv.split(), "reason": "on call"} for argv in argvs]
    return Policies(PolicyData.model_validate({"rules": rules, **more}))


VERBS = ("restart", "start", "stop", "reload")
BY_TYPE = policies(*(f"systemctl {verb} @unit" for verb in VERBS), "service @unit restart").default


@pytest.mark.parametrize("line", UNITS, ids=lambda line: line["command"])
def test_what_the_readme_s_rule_takes(line: dict[str, Any]) -> None:
    decided = BY_TYPE.judge(line["command"])
    assert isinstance(decided, ApprovedCommand) is (line["with_rule"] == "allow")


def test_both_kinds_are_looked_at() -> None:
    verdicts = [line["with_rule"] for line in UNITS]
    assert verdicts.count("deny") >= 60
    assert verdicts.count("allow") >= 25


@pytest.mark.parametrize(
    ("unit", "why"),
    [("poweroff.target", "is not a service"), ("qemu-guest-agent", "is how commands reach"),
     ("getty@tty1.service", "holds the logins"), ("DBUS", "is a part of systemd")],
)  # fmt: skip
def test_the_refusal_says_why(unit: str, why: str) -> None:
    refusal = BY_TYPE.judge(f"systemctl restart {unit}")
    assert isinstance(refusal, Refusal)
    assert f"{unit} is not accepted as @unit: it {why}" in refusal.message
    assert refusal.hint == "Only a rule that names it can allow it."


def test_a_rule_that_says_so_has_its_way() -> None:
    named = policies(
        "systemctl restart qemu-guest-agent", "systemctl isolate rescue.target"
    ).default
    for command in ("systemctl restart qemu-guest-agent", "systemctl isolate rescue.target"):
        assert isinstance(named.judge(command), ApprovedCommand)
    assert isinstance(named.judge("systemctl restart qemu-guest-agent.service"), Refusal)
    wide = policies("systemctl start @any_unit").default
    for unit in ("poweroff.target", "debug-shell", "user@0", "init.scope", "nginx"):
        assert isinstance(wide.judge(f"systemctl start {unit}"), ApprovedCommand)
    own = policies(
        "systemctl restart @mine", types={"mine": "systemd-(resolved|timesyncd)"}
    ).default
    assert isinstance(own.judge("systemctl restart systemd-resolved"), ApprovedCommand)


def test_an_operator_can_leave_out_names_likewise() -> None:
    kind = {"of": "word", "suffix": ".x", "never": {"is the only one": "a b*", "is last": "*z"}}
    made = policies("run @mine", types={"mine": kind}).default
    for word in ("a", "A", "a.x", "a.x.x", "b", "bc", "a@1", "fizz", "-q", "a b"):
        assert isinstance(made.judge(f"run '{word}'"), Refusal)
    for word in ("c", "ab", "zb", "a.y", "x"):
        assert isinstance(made.judge(f"run {word}"), ApprovedCommand)
    with pytest.raises(PolicyError, match="there is no type nosuch"):
        policies(types={"mine": {"of": "nosuch", "never": {}}})
    with pytest.raises(ValueError, match="never"):
        policies(types={"mine": {"of": "word", "never": {"is": "a*b"}}})


def test_a_name_without_a_star_is_that_name() -> None:
    kind = OfType(of="word", never={"is": ("network", "network-*")})
    assert kind.reason_against("network-online") == "is"
    assert kind.reason_against("networked") is None


@pytest.mark.parametrize("unit", ["poweroff.target", "-.mount", "init.scope", "qemu-guest-agent"])
def test_whatever_it_is_may_be_looked_at(unit: str) -> None:
    for verb in ("status", "show -p ActiveState", "list-dependencies"):
        refusal = BY_TYPE.judge(f"systemctl {verb} {unit}")
        assert isinstance(refusal, ApprovedCommand) is not unit.startswith("-")
