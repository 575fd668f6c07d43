"""The command line, as a person meets it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from hostup_mcp.cli import demo
from hostup_mcp.sandbox import detached
from hostup_mcp.sandbox.api_server import Sandbox
from hostup_mcp.sandbox.detached import DetachedSandbox
from hostup_mcp.sandbox.guests import AbsentGuest
from hostup_mcp.sandbox.machines import fleet
from tests.stdio_client import RawClient, environment


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hostup_mcp", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **env},
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    script = (
        "import sys; from hostup_mcp.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'mcp', 'mcp_types', 'pydantic', 'httpx', 'starlette', 'uvicorn'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert ran.returncode == 0, ran.stderr
    for word in ("demo", "sandbox", "--config", "--api-key-file", "HOSTUP_API_KEY"):
        assert word in ran.stdout


def test_the_version() -> None:
    assert run("--version").stdout == f"hostup-mcp, version {version('hostup-mcp')}\n"


@pytest.mark.parametrize(
    ("arguments", "env", "message"),
    [
        (["--config", "/nonexistent"], {}, "config_invalid: file /nonexistent cannot be read"),
        (["--base-url", "http://x.example"], {}, "command line: hostup.base_url = (not shown) is"),
        (["--state-dir", "/dev/null"], {}, "journal_failed: The journal /dev/null/journal"),
        ([], {"HOSTUP_API_KEY": "two words"}, "hostup.api_key = (not shown) is not accepted"),
        (["--log-level", "loud"], {}, "Invalid value for '--log-level'"),
        (["nosuch"], {}, "No such command 'nosuch'"),
        (["--base-url", ""], {}, "command line: hostup.base_url = (not shown) is not"),
        (["--config", ""], {}, "--config is not the path of a configuration file. It is empty."),
        (["--base-url", "https://x.example", "demo"], {}, "These options are for serving"),
        (["sandbox", "--port", "99999"], {}, "Invalid value for '--port'"),
    ],
)
def test_a_wrong_start_is_one_clear_message_and_exit_code_2(
    arguments: list[str], env: dict[str, str], message: str
) -> None:
    ran = run(*arguments, **env)
    assert ran.returncode == 2
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "two words" not in ran.stderr
    assert ran.stdout == ""


@pytest.mark.parametrize("redirect", ["<&-", ">&-"])
def test_without_stdin_or_stdout_it_says_so(redirect: str, tmp_path: Path) -> None:
    line = f"exec {sys.executable} -m hostup_mcp --state-dir {tmp_path} {redirect}"
    ran = subprocess.run(["/bin/sh", "-c", line], stderr=subprocess.PIPE, text=True, check=False)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1)
    assert "stdin_closed" in ran.stderr


def test_a_stdout_that_takes_nothing_ends_the_server_without_a_traceback(tmp_path: Path) -> None:
    hello = json.dumps(
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "x", "version": "1"},
            },
        }
    )
    line = f"echo '{hello}' | {sys.executable} -m hostup_mcp --state-dir {tmp_path} >/dev/full"
    ran = subprocess.run(["/bin/sh", "-c", line], stderr=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
    assert "stdout_failed" in ran.stderr


def test_options_reach_the_server(tmp_path: Path) -> None:
    env = environment("https://ignored.example", "some_key_123", tmp_path)
    del env["HOSTUP_BASE_URL"], env["HOSTUP_MCP_STATE_DIR"], env["HOSTUP_API_KEY"]
    key = tmp_path / "key"
    key.write_text("some_key_123\n")
    state = tmp_path / "elsewhere"
    arguments = ("--base-url", "http://127.0.0.1:1", "--api-key-file", str(key))
    with RawClient(env, *arguments, "--state-dir", str(state)) as client:
        client.initialize()
        answer = client.call("list_vps")["result"]["content"][0]["text"]
    assert answer.startswith("hostup_unreachable: http://127.0.0.1:1 ")
    assert (state / "journal.sqlite3").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_sandbox_tells_how_to_use_it_and_what_it_does(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "hostup_mcp", "sandbox"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    lines = [process.stdout.readline() for _ in range(5)]
    process.send_signal(number)
    process.communicate(timeout=10)
    shown = "".join(lines)
    assert process.returncode == 0
    folder = re.search(r", in (/\S+)\.\n", shown)
    assert folder
    assert not Path(folder[1]).exists(), "it cleans up"
    assert "for trying things out" in shown
    assert re.search(r"run on this machine as \S+, in /", shown)
    assert re.search(r"export HOSTUP_BASE_URL=http://127\.0\.0\.1:\d+\n", shown)
    assert re.search(r"export HOSTUP_API_KEY=sandbox_\S+\n", shown)


class Standing(DetachedSandbox):
    """A sandbox in this process, which a demo need not stop."""

    def stop(self) -> None:
        pass


def test_the_demo_fails_when_a_step_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A demo that cannot fail shows nothing."""
    dead = AbsentGuest("VM is not running", vm_running=False)
    with Sandbox(fleet(dead)) as sandbox:

        def standing(*_: object) -> DetachedSandbox:
            url, key = sandbox.base_url, sandbox.api_key
            return Standing(pid=0, base_url=url, api_key=key, description="A dead one.")

        monkeypatch.setattr(detached, "start", standing)
        assert demo.run_demo("local") == 1
    out, err = capsys.readouterr()
    assert "vps_off: The VPS is off." in out
    assert "The demo failed: uname -a came back as an error" in err
    assert "Everything worked" not in out


def test_a_demo_that_was_killed_shows_its_commands_result_when_it_is_started_again() -> None:
    command = [sys.executable, "-m", "hostup_mcp", "demo", "--guest", "local"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout
        handle = None
        for line in first.stdout:
            if handle := re.search(r"1 s: running as pid \d+, .*; exec_id (exec_\w+)", line):
                break
        first.kill()
    assert handle
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=80)
    assert again.returncode == 0, again.stdout + again.stderr
    taken_up = again.stdout.partition("3. list_vps")[0]
    assert "An earlier demo was cut off" in taken_up
    assert f"exec_id: {handle[1]}" in taken_up
    assert "exit code 0" in taken_up
    assert "command: sleep 5 && date -u" in taken_up
    assert "Everything worked" in again.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["hunter2hunter2"],
        ["--api-key", "hunter2hunter2"],
        ["--api-key=hunter2hunter2"],
        ["--hunter2hunter2"],
        ["--log-level", "hunter2hunter2"],
        ["--log-level=hunter2hunter2"],
        ["serve", "hunter2hunter2"],
        ["serve", "--port", "hunter2hunter2"],
        ["serve", "--transport", "hunter2hunter2"],
        ["client-config", "hunter2hunter2"],
        ["policy", "hunter2hunter2"],
        ["sandbox", "--port=hunter2hunter2"],
    ],
)
def test_a_wrong_word_on_the_command_line_is_not_repeated(arguments: list[str]) -> None:
    """Whoever starts the server keeps what it says, and the word may be a key."""
    ended = run(*arguments)
    assert ended.returncode == 2
    assert "Error: " in ended.stderr
    assert "hunter2" not in ended.stderr


def test_a_misspelt_command_is_repeated() -> None:
    assert "'chekc'" in run("chekc").stderr
    assert "'stdi' is not one of 'stdio'" in run("serve", "--transport", "stdi").stderr
    assert "70000 is not in the range" in run("serve", "--port", "70000").stderr
