"""The operator's tools: check, policy lint, policy test and policy show."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from hostup_mcp.cli.check import (
    check_batch,
    check_expectations,
    check_one,
    policy_for,
    print_findings,
    read_lines,
    report,
)
from hostup_mcp.policy.describe import full
from hostup_mcp.policy.policies import Policies, PolicyData
from hostup_mcp.policy.shell.emit import PROLOGUE
from tests.runner_harness import POLICY

CONFIG = """
[[policy.rules]]
argv = ["systemctl", "restart", "@unit"]
reason = "on call"
match = ["systemctl restart nginx"]
not_match = ["systemctl stop nginx"]
[[policy.rules]]
argv = ["reboot"]
verdict = "ask"
reason = "with care"
[[policy.vps]]
vps = "db-*"
closed = true
"""
ASK = [{"argv": ["reboot"], "verdict": "ask", "reason": "with care"}]
RULED = Policies(PolicyData.model_validate({"rules": ASK, "vps": [{"vps": "v", "closed": True}]}))
KEYS = ["command", "verdict", "sent", "body", "stages", "refusal"]
REFUSAL_KEYS = ["code", "message", "offset", "length", "hint", "nearest"]


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    return str(path)


def run(*arguments: str | bytes, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "hostup_mcp", *arguments],
        capture_output=True,
        input=stdin,
        timeout=60,
        check=False,
    )


def lines_of(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def batch(capsys: pytest.CaptureFixture[str], *lines: bytes) -> tuple[int, list[dict[str, Any]]]:
    code = check_batch(POLICY, lines)
    return code, lines_of(capsys.readouterr().out)


# ------------------------------------------------------------------ one command


def test_an_allowed_command_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    command = "ls  '/var/log/a b' /etc/*.conf 2>/dev/null | wc -l && df;"
    assert check_one(POLICY, command, as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    body = "ls '/var/log/a b' /etc/*.conf 2>/dev/null | wc -l && df"
    assert list(found) == KEYS
    assert found == {
        "command": command,
        "verdict": "allow",
        "sent": PROLOGUE + body,
        "body": body,
        "stages": [
            {
                "argv": ["ls", "/var/log/a b", "/etc/*.conf"],
                "globs": [2],
                "operator": None,
                "redirections": ["2>/dev/null"],
            },
            {"argv": ["wc", "-l"], "globs": [], "operator": "|", "redirections": []},
            {"argv": ["df"], "globs": [], "operator": "&&", "redirections": []},
        ],
        "refusal": None,
    }


def test_a_refused_command_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_one(POLICY, "df || tail -f /var/log/syslog", as_json=True) == 4
    found = json.loads(capsys.readouterr().out)
    assert list(found) == KEYS
    assert (found["verdict"], found["sent"], found["body"]) == ("deny", None, None)
    assert [stage["operator"] for stage in found["stages"]] == [None, "||"]
    assert list(found["refusal"]) == REFUSAL_KEYS
    assert found["refusal"] == {
        "code": "option_refused",
        "message": "tail: -f is refused: it does not end by itself.",
        "offset": 11,
        "length": 2,
        "hint": "Leave it out, or use one of the nearest allowed forms.",
        "nearest": ["df || tail -n 50 /var/log/syslog", *found["refusal"]["nearest"][1:]],
    }
    assert check_one(POLICY, "df $HOME", as_json=True) == 4
    assert json.loads(capsys.readouterr().out)["stages"] == []


def test_a_verdict_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_one(RULED.default, "df -h;  uptime 2>&1", as_json=False) == 0
    allowed = capsys.readouterr().out.splitlines()
    assert allowed == [
        f"verdict: allow (policy {RULED.default.label})",
        "1. allow: df -h",
        "2. allow: ; uptime 2>&1",
        f"sent: {PROLOGUE}df -h; uptime 2>&1",
    ]
    assert check_one(RULED.default, "df && reboot", as_json=False) == 3
    asked = capsys.readouterr().out.splitlines()
    assert asked[0].startswith("verdict: ask ")
    assert asked[1:3] == ["1. allow: df", "2. ask: && reboot"]
    assert asked[3].startswith("approval_needed: reboot: A rule says to ask a human first (with")
    assert asked[4:6] == ["  df && reboot", "        ^^^^^^"]
    assert asked[-1].startswith("who can change it: The operator, with policy.rules[0] in ")
    assert check_one(RULED.default, "cat /etc/shadow", as_json=False) == 4
    denied = capsys.readouterr().out.splitlines()
    assert denied[1] == "1. deny: cat /etc/shadow"
    assert "nearest allowed: ls -l /etc/shadow" in denied
    assert "      ^^^^^^^^^^^" in denied


@pytest.mark.parametrize("command", ["", "df\n\x1b[2Jdf", "df \ud800", "caf\u00e9", "x" * 5000])
def test_any_text_has_a_verdict_on_one_line_each(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_one(POLICY, command, as_json=False) == 4
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\ud800" not in shown
    assert shown.startswith("verdict: deny")
    assert check_one(POLICY, command, as_json=True) == 4
    (found,) = lines_of(capsys.readouterr().out)
    assert found["command"] == command


def test_the_policy_of_a_vps() -> None:
    assert policy_for(RULED) is policy_for(RULED, "other") is policy_for(RULED, "vps_1", "other")
    assert policy_for(RULED, "v").closed_by == policy_for(RULED, "vps_1", "v").closed_by
    assert policy_for(RULED, name="v") is policy_for(RULED, "v")
    # Of an id alone it is not known whether it is the one that is closed.
    assert policy_for(RULED, "vps_1").closed_by
    assert report(policy_for(RULED, "v"), "df").verdict == "deny"


# ------------------------------------------------------------------ many commands


def test_a_batch_is_answered_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    commands = ["df -h", "reboot", "uptime", "df -h", "", "\u00e9 \u2028", "df \ud800"]
    code, found = batch(capsys, *(json.dumps({"command": c, "more": 1}).encode() for c in commands))
    assert code == 0
    assert [line["command"] for line in found] == commands
    verdicts = "allow deny allow allow deny deny deny".split()
    assert [line["verdict"] for line in found] == verdicts
    assert all(list(line) == KEYS for line in found)
    assert found == [report(POLICY, command).model_dump(mode="json") for command in commands]


@pytest.mark.parametrize(
    "line",
    [
        b"df -h",
        b"{",
        b"[]",
        b"null",
        b'"df"',
        b"{}",
        b'{"command": 5}',
        b'{"command": null}',
        b'{"command": ["df"]}',
        b'{"Command": "df"}',
        b'{"command": "df"} x',
        b'\xff{"command": "df"}',
        b'{"command": "\xe9"}',
        b"[" * 100_000,
        b'{"command": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda line: repr(line[:20]),
)
def test_a_line_without_a_command_is_refused_and_the_rest_answered(
    line: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = batch(capsys, b'{"command": "df"}\n', line + b"\n", b'{"command": "uptime"}')
    assert code == 2
    assert [one["verdict"] for one in found] == ["allow", "deny", "allow"]
    assert found[1]["command"] is None
    assert list(found[1]["refusal"]) == REFUSAL_KEYS
    assert found[1]["refusal"]["code"] == "line_invalid"
    assert len(found[1]["refusal"]["message"]) < 400


def test_forms_of_lines_that_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = batch(
        capsys,
        b'\xef\xbb\xbf{"command": "df"}\r\n',
        b"\r\n",
        b"   \n",
        b"\n",
        b'{"command": "df\\u0020-h"}\r\n',
        b'  {"command": "df \\n"}',
    )
    assert code == 0
    assert [line["body"] for line in found] == ["df", "df -h", "df"]


def test_a_batch_may_be_empty(capsys: pytest.CaptureFixture[str]) -> None:
    assert batch(capsys) == (0, [])


# ------------------------------------------------------------------ expectations


def expect(
    capsys: pytest.CaptureFixture[str], *lines: dict[str, str] | bytes
) -> tuple[int, list[str]]:
    raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    code = check_expectations(RULED, raw, "f.jsonl")
    return code, capsys.readouterr().out.splitlines()


def test_expectations_that_hold(capsys: pytest.CaptureFixture[str]) -> None:
    assert expect(
        capsys,
        {"command": "df", "expect": "allow"},
        b"\n",
        {"command": "reboot", "expect": "ask"},
        {"command": "rm x", "expect": "deny"},
        {"command": "df", "expect": "deny", "vps": "v"},
        {"command": "df", "expect": "deny", "vps": "vps_1", "name": "v"},
    ) == (0, ["5 of 5 as expected."])


def test_expectations_that_do_not_hold(capsys: pytest.CaptureFixture[str]) -> None:
    code, shown = expect(
        capsys,
        {"command": "df", "expect": "deny"},
        {"command": "reboot", "expect": "allow"},
        {"command": "df\nuptime", "expect": "allow"},
    )
    assert code == 1
    assert shown[0] == "f.jsonl:1: df: allow, not deny"
    assert shown[1].startswith("f.jsonl:2: reboot: ask, not allow (approval_needed: reboot: A rule")
    assert shown[2].startswith("f.jsonl:3: df uptime: deny, not allow (line_break: ")
    assert shown[3:] == ["0 of 3 as expected."]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"x", "cannot be read: Expecting value"),
        (b"[]", "cannot be read: the line: "),
        (b'{"command": "df"}', "cannot be read: expect: Field required"),
        (b'{"command": "df", "expect": "permit"}', "cannot be read: expect: "),
        (b'{"command": "df", "expect": "deny", "vsp": "v"}', "cannot be read: vsp: "),
        (b'{"expect": "deny"}', "cannot be read: command: Field required"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff", "cannot be read: "),
    ],
)
def test_expectations_that_cannot_be_read(
    line: bytes, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown = expect(capsys, {"command": "df", "expect": "allow"}, line)
    assert code == 2
    assert shown[0].startswith("f.jsonl:2: ")
    assert reason in shown[0]
    assert shown[1] == "1 of 2 as expected."


def test_no_expectation_at_all_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert expect(capsys) == (2, ["0 of 0 as expected."])


def test_findings(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_findings(Policies(PolicyData())) == 0
    assert capsys.readouterr().out == "No findings.\n"
    assert print_findings(RULED) == 1
    assert capsys.readouterr().out.startswith("policy.rules[0]: examples_missing: It has no exam")


def test_lines_of_a_file_or_of_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def count(lines: Iterator[bytes] | Any) -> int:
        return len(list(lines))

    path = tmp_path / "f"
    path.write_bytes(b"a\nb\n")
    assert read_lines(str(path), count) == 2
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\nb\nc")))
    assert read_lines("-", count) == 3
    for name in (str(tmp_path), str(tmp_path / "none"), "a\0b", "", "/proc/self/mem"):
        with pytest.raises(click.UsageError, match="cannot be read"):
            read_lines(name, count)


# ------------------------------------------------------------------ the command line


def test_exit_codes_of_check(config: str) -> None:
    for command, code in {"systemctl restart nginx": 0, "reboot": 3, "rm x": 4}.items():
        ran = run("check", "--config", config, "--json", command)
        assert (ran.returncode, ran.stderr) == (code, b"")
        assert json.loads(ran.stdout)["command"] == command
    assert run("check", "--config", config, "--vps", "db-1", "df").returncode == 4
    named = run("check", "--config", config, "--vps", "vps_1", "--name", "web", "df")
    assert named.returncode == 0


def test_arguments_that_are_no_utf8_are_refused_like_others() -> None:
    ran = run("check", "--json", b"df \xff\xfe")
    assert (ran.returncode, ran.stderr) == (4, b"")
    assert json.loads(ran.stdout)["refusal"]["code"] == "non_ascii"
    ran = run("check", b"df \xff\xfe")
    assert ran.returncode == 4
    assert b"Traceback" not in ran.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["check", "df", "-h"],
        ["check", "df", "--batch", "-"],
        ["check", "--batch", "/nonexistent"],
        ["check", "--config", "/nonexistent", "df"],
        ["policy", "test", "/nonexistent"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    ran = run(*arguments)
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert b"Traceback" not in ran.stderr


@pytest.mark.parametrize("arguments", [["check", "df"], ["check", "--batch", "FILE"]])
def test_a_stdout_that_takes_nothing_is_told_as_that(arguments: list[str], tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text('{"command": "df"}\n')
    with Path("/dev/full").open("wb") as full_disk:
        ran = subprocess.run(
            [
                sys.executable,
                "-m",
                "hostup_mcp",
                *(str(path) if a == "FILE" else a for a in arguments),
            ],
            stdout=full_disk,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert ran.returncode == 1
    assert ran.stderr == b"Error: stdout cannot be written (No space left on device).\n"


def test_a_long_batch_in_one_process(config: str) -> None:
    commands = ["df -h", "tail -f /var/log/syslog", "reboot", "systemctl restart x"] * 300
    lines = "".join(json.dumps({"command": c}) + "\r\n" for c in commands).encode()
    ran = run("check", "--config", config, "--batch", "-", stdin=lines)
    assert (ran.returncode, ran.stderr) == (0, b"")
    found = lines_of(ran.stdout.decode())
    assert [line["command"] for line in found] == commands
    assert [line["verdict"] for line in found] == ["allow", "deny", "ask", "allow"] * 300


def test_the_policy_commands(config: str, tmp_path: Path) -> None:
    linted = run("policy", "lint", "--config", config)
    assert linted.returncode == 1
    assert b"policy.rules[1]: examples_missing" in linted.stdout
    cases = tmp_path / "cases.jsonl"
    cases.write_text('{"command": "reboot", "expect": "ask"}\n')
    tested = run("policy", "test", "--config", config, str(cases))
    assert (tested.returncode, tested.stdout) == (0, b"1 of 1 as expected.\n")
    shown = run("policy", "show")
    assert shown.stdout.decode() == full(Policies(PolicyData()))


def test_check_needs_no_key_and_neither_mcp_nor_httpx() -> None:
    script = (
        "import sys; from hostup_mcp.cli.main import main\n"
        "try: main(['check', '--json', 'df'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'mcp', 'mcp_types', 'httpx', 'starlette', 'uvicorn', 'anyio'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("HOSTUP_")}
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=30, check=False, env=env
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["sent"] == f"{PROLOGUE}df"
