"""What the commands do where stdout or stderr takes nothing: exit code 1, never 120."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

COMMANDS = (
    "--help",
    "-h",
    "--version",
    "check --help",
    "policy --help",
    "policy show --help",
    "serve --help",
    "check df",
    "check reboot",
    "check --json df",
    "check --batch -",
    "policy show",
    "policy lint",
    "policy test -",
    "client-config claude-code",
    "client-config stdio",
    "doctor",
    "doctor --json",
)


def run(command: str, redirect: str, *, unbuffered: bool = False) -> tuple[int, str]:
    """The exit code, and what came on stderr."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    if unbuffered:
        environ["PYTHONUNBUFFERED"] = "1"
    # No address that doctor asks is one that answers.
    environ["HOSTUP_BASE_URL"] = "http://127.0.0.1:1"
    line = f"exec {sys.executable} -m hostup_mcp {command} {redirect}"
    ran = subprocess.run(
        ["/bin/sh", "-c", line],
        env=environ,
        input='{"command": "df", "expect": "allow"}\n',
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ran.returncode, ran.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_told_and_is_exit_code_1(command: str) -> None:
    told = "Error: stdout cannot be written (No space left on device).\n"
    assert run(command, ">/dev/full") == (1, told)
    if command in {"check df", "--help"}:
        assert run(command, ">/dev/full", unbuffered=True) == (1, told)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_closed_stdout_is_told_and_is_exit_code_1(command: str) -> None:
    assert run(command, ">&-") == (1, "Error: stdout cannot be written (it is closed).\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_has_gone_ends_it_quietly(command: str) -> None:
    line = f"{{ {sys.executable} -m hostup_mcp {command}; echo code $? >&2; }} | sleep 0"
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environ["HOSTUP_BASE_URL"] = "http://127.0.0.1:1"
    ran = subprocess.run(
        ["/bin/sh", "-c", line],
        env=environ,
        input='{"command": "df", "expect": "allow"}\n',
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stderr == "code 1\n"


@pytest.mark.parametrize(
    "command", ["check reboot", "policy show", "client-config stdio", "nosuch"]
)
def test_a_stderr_that_takes_nothing_is_no_exit_code_of_pythons_own(command: str) -> None:
    for redirect in (">/dev/null 2>/dev/full", ">/dev/full 2>/dev/full", ">/dev/full 2>&-"):
        code, _ = run(command, redirect)
        assert code in {0, 1, 2, 4}, redirect


def test_a_stdin_that_is_closed_is_told() -> None:
    code, said = run("check --batch -", "<&-")
    assert code == 2
    assert "stdin is closed" in said
