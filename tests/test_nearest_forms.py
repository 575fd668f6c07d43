"""What is offered in place of commands that seldom come: each as it is, or nothing."""

from __future__ import annotations

import pytest

from hostup_mcp.policy.judge import Refusal
from hostup_mcp.policy.policies import Policies, PolicyData
from hostup_mcp.suggestions.nearest import nearest
from tests.runner_harness import POLICY

UNRESTRICTED = Policies(PolicyData(preset="unrestricted")).default


@pytest.mark.parametrize(
    ("command", "first"),
    [
        ("docker exec -it", "docker ps -a"),
        ("cd /var && find -name x", "find /var -name x"),
        ("echo -n '\u00e9'", "printf '\\303\\251'"),
        ("printf '%s\\101' a", "printf '\\141A'"),
        ("sh -c 'df $HOME'", "df /root"),
        ("sudo -- df -h", "df -h"),
        ("cat -- /var/log/syslog | sort -zn", "cat -- /var/log/syslog | sort -n"),
        ("grep '[.]x\\.log' /srv/x", "ls -l /srv/x"),
        ("find / " + " ".join(f"-x{n}" for n in range(60)), "find /etc -name '*.conf'"),
    ],
)
def test_the_first_that_is_offered(command: str, first: str) -> None:
    refusal = POLICY.judge(command)
    assert isinstance(refusal, Refusal)
    assert nearest(POLICY, command, refusal)[:1] == (first,)


@pytest.mark.parametrize(
    "command",
    [
        "sh -c 'df | sort' 2>/dev/null",  # whose redirection it would be is not clear
        "printf '%d\\n' x",  # printf itself would complain
        "printf '\\303 %s' a",  # half a character
        "sh -c 'df $(x)'",
        "df; sh -c 'df $(x)'",
        "printf '\\q %s' a",
        "echo 'a\nb'",  # a line of its own inside quotes
        "wc --files0-from /etc/passwd",  # its example reads what is piped to it
        # Too much to try it all.
        "; ".join(f"grep -Zzr x{n} /etc/nginx/*" for n in range(16)),
        "; ".join(f"ls -{c}yY --foo{c} --bar{c} --baz{c} q{c}" for c in "abcd"),
    ],
)
def test_where_nothing_is_near_nothing_is_offered(command: str) -> None:
    refusal = POLICY.judge(command)
    assert isinstance(refusal, Refusal)
    assert nearest(POLICY, command, refusal) == ()


def test_a_command_that_is_too_long_once_rebuilt_has_no_shorter_one() -> None:
    command = 'echo "' + "'" * 900 + '"'
    refusal = UNRESTRICTED.judge(command)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "command_too_long"
    assert nearest(UNRESTRICTED, command, refusal) == ()
