"""Each refusal gives the reason that fits, with a hint that fits the reason."""

from __future__ import annotations

import pytest

from hostup_mcp.policy.judge import Refusal
from tests.runner_harness import POLICY


@pytest.mark.parametrize(
    ("command", "code", "says", "says_not"),
    [
        ("kill -9 1", "processes", "ps", "absolute path"),
        ("history", "secrets", "secrets", "absolute path"),
        ("which df", "lookup", "ls -l", "absolute path"),
        ("env", "environment", "secrets", "loops"),
        ("time ls", "reserved_word", "without time", "loops"),
        ("ping 8.8.8.8", "network", "network", "statements"),
        ("curl http://x", "network", "network", "change the system"),
        ("psql -c x", "databases", "statements", "network"),
        ("make", "builds", "project", "network"),
        ("pip install x", "packages", "software", "network"),
        ("wall x", "messages", "people", "network"),
        ("jq .", "expressions", "program", "network"),
        ("crictl ps", "containers", "containers", "network"),
        ("rm x", "changes", "files", "network"),
        ("[ -f x ]", "bracket", "stat", "Quote it"),
        ("[[ -f x ]]", "bracket", "stat", "Quote it"),
        ("find / -exec ls {} +", "brace", "-exec", "Quote it"),
        ("cat <<'EOF'\nx\nEOF", "here_document", "no input", "one line"),
        ("echo '<<'\ndf", "line_break", "one line", "here-document"),
        ("echo \ud800", "non_ascii", "cannot be sent", "printf"),
        ("unheard-of x", "program_unknown", "hostup://policy lists", "nearest"),
    ],
)
def test_the_reason_is_the_one_that_fits(command: str, code: str, says: str, says_not: str) -> None:
    refusal = POLICY.judge(command)
    assert isinstance(refusal, Refusal)
    said = f"{refusal.message} {refusal.hint}"
    assert refusal.code == code
    assert says in said
    assert says_not not in said


def test_the_whole_here_document_sign_is_the_word_at_fault() -> None:
    command = "cat <<'EOF' | sort\nx\nEOF"
    refusal = POLICY.judge(command)
    assert isinstance(refusal, Refusal)
    assert command[refusal.offset :][: refusal.length] == "<<'EOF'"
