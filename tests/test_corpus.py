"""Every line of the corpus has its exact verdict, and every refusal is one that teaches.

`expect` is the verdict of `diagnostics`; `strict`, where it stands, that of `diagnostics-strict`.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hostup_mcp.policy.judge import ApprovedCommand, Refusal
from hostup_mcp.policy.policies import Policies, PolicyData
from hostup_mcp.policy.shell.emit import PROLOGUE
from hostup_mcp.suggestions.nearest import nearest
from tests.runner_harness import POLICY

CORPUS = Path(__file__).parent / "corpus"
LINES: list[dict[str, Any]] = [
    json.loads(line)
    for file in sorted(CORPUS.glob("*.jsonl"))
    for line in file.read_text().splitlines()
]
STRICT = Policies(PolicyData(preset="diagnostics-strict")).default
NONE = Policies(PolicyData(preset="none")).default


def test_the_corpus_is_whole() -> None:
    commands = Counter(line["command"] for line in LINES)
    assert not [command for command, count in commands.items() if count > 1]
    verdicts = Counter(line["expect"] for line in LINES)
    assert verdicts["deny"] >= 1150
    assert verdicts["allow"] >= 330


@pytest.mark.parametrize("line", LINES, ids=lambda line: line["command"][:60])
def test_the_verdict_is_the_expected_one(line: dict[str, Any]) -> None:
    command: str = line["command"]
    decided = POLICY.judge(command)
    if line["expect"] == "allow":
        assert isinstance(decided, ApprovedCommand), decided
        assert decided.sent == PROLOGUE + decided.body
        again = POLICY.judge(decided.body)
        assert isinstance(again, ApprovedCommand)
        assert again.body == decided.body
    else:
        assert isinstance(decided, Refusal)
        assert_teaches(decided, command)
    assert isinstance(NONE.judge(command), Refusal)
    if line["expect"] == "deny" or line.get("strict") == "deny":
        assert isinstance(STRICT.judge(command), Refusal)
    if line.get("strict") == "allow":
        assert isinstance(STRICT.judge(command), ApprovedCommand)


def assert_teaches(refusal: Refusal, command: str) -> None:
    assert refusal.code
    assert refusal.message.endswith((".", ")")), refusal.message
    assert refusal.hint.endswith((".", ";", "uptime")), refusal.hint
    assert refusal.who_can_change_it
    assert 0 <= refusal.offset <= refusal.offset + refusal.length <= len(command)
    for near in nearest(POLICY, command, refusal):
        assert isinstance(POLICY.judge(near), ApprovedCommand), near
