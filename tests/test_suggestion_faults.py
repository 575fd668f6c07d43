"""The search for suggestions ends without an exception, whatever was typed; and if not, unseen."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from hostup_mcp.policy.judge import Policy, Refusal
from hostup_mcp.policy.policies import Policies, PolicyData
from hostup_mcp.suggestions import nearest as nearest_module
from hostup_mcp.suggestions.nearest import nearest, search
from tests.everything import ALL
from tests.runner_harness import POLICY

OWN_RULES = [
    {"argv": ["systemctl", "restart", "@unit"], "match": ["systemctl restart nginx"]},
    {"argv": ["/opt/app/deploy", "@int"], "match": ["/opt/app/deploy 1"]},
    {"argv": ["lsof", "-i"], "verdict": "deny"},
]
POLICIES = (
    POLICY,
    Policies(PolicyData(preset="diagnostics-strict")).default,
    Policies(PolicyData(preset="none")).default,
    Policies(PolicyData(preset="unrestricted")).default,
    Policies(
        PolicyData.model_validate({"rules": [{"reason": "on call", **r} for r in OWN_RULES]})
    ).default,
)
LINES = 100_000 if ALL else 4_000
PIECES = (
    *("+", ";", "-", "--", "=", "'", '"', "\\", "|", "||", "&&", "&", ">", "<", "2>&1", "$", "`"),
    *("$(", ")", "(", "{", "}", "{a,b}", "[", "]", "*", "?", "~", "!", "#", "\n", "\t", " ", ""),
    *(",", ".", "..", "/", "//", "@", "%", "-exec", "-e", "{}", "\\;", "sudo ", "xargs ", "time "),
    *("sh -c ", "cd /x && ", "0", "99999999999999999999", "é", "\x00", "\udce5", "“", "\u200b"),
)


def corpus() -> list[str]:
    folder = Path(__file__).parent / "corpus"
    return [
        cast("str", json.loads(line)["command"])
        for file in sorted(folder.glob("*.jsonl"))
        for line in file.read_text().splitlines()
    ]


def mutated(lines: list[str], dice: random.Random) -> Iterator[str]:
    """Lines with up to three things inserted, left out, swapped, cut off or joined to another."""
    while True:
        text = dice.choice(lines)
        for _ in range(dice.randint(1, 3)):
            at = dice.randint(0, len(text))
            match dice.choice(("insert", "delete", "swap", "cut", "join", "word", "double")):
                case "insert":
                    text = text[:at] + dice.choice(PIECES) + text[at:]
                case "delete":
                    text = text[:at] + text[at + dice.randint(1, 4) :]
                case "swap":
                    words = text.split(" ")
                    one, other = dice.randrange(len(words)), dice.randrange(len(words))
                    words[one], words[other] = words[other], words[one]
                    text = " ".join(words)
                case "cut":
                    text = text[:at] if dice.random() < 0.5 else text[at:]
                case "join":
                    text += dice.choice((" | ", "; ", " && ", " ", "")) + dice.choice(lines)
                case "word":
                    words = text.split(" ")
                    words[dice.randrange(len(words))] = dice.choice(PIECES)
                    text = " ".join(words)
                case _:
                    text = text[:at] + text[max(0, at - 3) : at] + text[at:]
        yield text


def ask(policy: Policy, text: str) -> None:
    """Search for suggestions, with nothing around that would hide a fault."""
    refusal = policy.judge(text)
    if isinstance(refusal, Refusal):
        search(policy, text, refusal)


def test_no_mutated_line_makes_the_search_fail() -> None:
    seed = random.SystemRandom().randrange(1 << 32) if ALL else 20_26
    print(f"seed {seed}")  # noqa: T201 - pytest shows it where the test fails
    texts = mutated(corpus(), random.Random(seed))  # noqa: S311 - not for secrets
    for number in range(LINES):
        text = next(texts)
        try:
            ask(POLICIES[0] if number % 3 else POLICIES[number // 3 % len(POLICIES)], text)
        except Exception as error:
            raise AssertionError(f"seed {seed}, {text!a}: {error!r}") from error


@pytest.mark.parametrize(
    "line",
    [
        *("lsof + ", "lsof +", "lsof +d +", "find / +", "find / -exec", "find / -exec +", "ls +"),
        *("find / -exec ;", r"find / -exec \;", r"find / \;", "date +", "date + +", "tail + ;"),
    ],
)
def test_a_sign_that_ends_what_never_began(line: str) -> None:
    for policy in POLICIES:
        ask(policy, line)
        policy.judge(line)


def test_a_suggestion_that_fails_is_no_suggestion(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> tuple[str, ...]:
        raise RecursionError("rm -rf /srv/hunter2")

    monkeypatch.setattr(nearest_module, "search", fails)
    policy = Policies(PolicyData()).default
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            refusal = policy.judge("rm -rf /srv/hunter2")
            assert isinstance(refusal, Refusal)
            assert nearest(policy, "rm -rf /srv/hunter2", refusal) == ()
            assert refusal.code == "changes"
    assert len(caplog.records) == 1
    assert "RecursionError in test_suggestion_faults.fails, line " in caplog.text
    assert "hunter2" not in caplog.text
