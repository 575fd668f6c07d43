"""The first policy: deny by default, send what was judged, and say what would pass."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import re
import shlex
import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hostup_mcp.execution.runner import Runner
from hostup_mcp.policy import judge as judge_module
from hostup_mcp.policy.allowlist import ALLOWED
from hostup_mcp.policy.grammar import SyntaxRefusal, parse, render
from hostup_mcp.policy.judge import ApprovedCommand, Refusal, allowed_commands, judge


@pytest.mark.parametrize("argv", sorted(ALLOWED), ids=" ".join)
def test_every_listed_command_is_allowed_however_its_blanks_are_set(argv: tuple[str, ...]) -> None:
    for text in (" ".join(argv), "  " + "\t ".join(argv) + " \n"):
        verdict = judge(text)
        assert isinstance(verdict, ApprovedCommand)
        assert verdict.argv == argv
        assert verdict.text == " ".join(argv)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "\n", "rm -rf /", "sudo df", "df -h /etc", "df -h;reboot", "df -h; reboot",
        "df -h | sh", "df -h && reboot", "df -h || reboot", "df -h & reboot", "df -h\nreboot",
        "df -h\r\nreboot", "df -h\rreboot", "uptime $(reboot)", "uptime `reboot`", "df > /etc/x",
        "uptime < /etc/x", "cat /etc/shadow", "cat /etc/*", "cat ~/.ssh/id_rsa", "'uptime'",
        '"uptime"', "upt\\ime", "{uptime,-p}", "PATH=/tmp uptime", "/opt/uptime", "./uptime",
        "uptime #x", "uptime\x00", "uptime\x0b-p", "uptime\u00a0-p", "uptime\u2003-p", "\ufeffw",
        "uptim\u0435", "sleep 99999", "sleep 5d", "!uptime", "uptime !!", "ps auxe", "env",
        "date -s 1",
        "hostname evil", "ss -K", "vmstat 1", "df --help", "uname -a -a",
    ],
)  # fmt: skip
def test_everything_else_is_refused_and_taught(text: str) -> None:
    verdict = judge(text)
    assert isinstance(verdict, Refusal)
    assert re.fullmatch("[a-z_]+", verdict.code)
    assert verdict.message.endswith(".")
    assert verdict.hint
    assert 0 <= verdict.offset <= verdict.offset + verdict.length <= len(text)
    assert all(isinstance(judge(near), ApprovedCommand) for near in verdict.nearest)


def test_a_refusal_points_at_the_part_and_names_the_nearest() -> None:
    verdict = judge("df -h | sort")
    assert isinstance(verdict, Refusal)
    assert (verdict.code, verdict.offset, verdict.length) == ("character_refused", 6, 1)
    assert verdict.nearest[0] == "df -h"
    verdict = judge("sudo free -g")
    assert isinstance(verdict, Refusal)
    assert (verdict.code, verdict.offset, verdict.length) == ("not_allowed", 0, 12)
    assert verdict.nearest[0].startswith("free")


@given(st.text() | st.lists(st.sampled_from([*"abc-/ \t\n;|&$'\"", "df", "-h"])).map("".join))
@example("\ud800")
@example("df\x00")
def test_any_text_gives_a_verdict_and_what_is_parsed_is_rebuilt_the_same(text: str) -> None:
    verdict = judge(text)
    if isinstance(verdict, Refusal):
        assert 0 <= verdict.offset <= verdict.offset + verdict.length <= len(text)
        assert verdict.hint
    argv = parse(text)
    if not isinstance(argv, SyntaxRefusal):
        assert parse(render(argv)) == argv
        assert tuple(shlex.split(render(argv))) == argv
        assert re.fullmatch(r"[A-Za-z0-9_./:@%+,= -]+", render(argv))


@given(
    st.lists(st.from_regex(r"[A-Za-z0-9_./:@%+,=-]{1,8}", fullmatch=True), min_size=1, max_size=5)
)
def test_a_plain_word_is_itself_to_a_real_shell(words: list[str]) -> None:
    script = f"set -f; printf '%s\\n' {render(words)}"
    ran = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    expected = words
    if words[0].startswith("-"):
        return  # printf's own options; the policy's commands are never options
    assert ran.stdout.splitlines() == expected


def test_only_the_judge_makes_an_approved_command() -> None:
    approved = judge("uptime")
    assert isinstance(approved, ApprovedCommand)
    for attempt in (
        lambda: ApprovedCommand(None, ["rm"]),  # type: ignore[arg-type]
        lambda: ApprovedCommand(judge_module._Seal(), ["rm"]),  # pyright: ignore[reportPrivateUsage]
        lambda: dataclasses.replace(approved, text="rm"),  # type: ignore[call-arg]
        lambda: copy.copy(approved),
        lambda: copy.deepcopy(approved),
        lambda: pickle.dumps(approved),
    ):
        with pytest.raises(TypeError):
            attempt()
    with pytest.raises(dataclasses.FrozenInstanceError):
        approved.text = "rm"  # type: ignore[misc]


def test_the_runner_takes_nothing_but_an_approved_command() -> None:
    assert Runner.start.__annotations__["command"] == "ApprovedCommand"


def test_the_allowed_commands_are_told_in_order() -> None:
    assert list(allowed_commands()) == sorted(allowed_commands())
    assert len(allowed_commands()) == len(ALLOWED)
