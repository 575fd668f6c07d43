"""The README is true: its commands run, its configurations start the server."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from hostup_mcp.config.http import HttpSettings
from hostup_mcp.config.loading import load, load_policies
from hostup_mcp.sandbox.api_server import Sandbox
from tests.everything import ALL
from tests.stdio_client import facts
from tests.transports.http_process import HttpServer


def blocks(root: Path, language: str) -> list[str]:
    text = (root / "README.md").read_text()
    # All of them, so that the end of one is not taken for the beginning of another.
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for name, block in found if re.fullmatch(language, name)]


@pytest.fixture
def clone(root: Path, tmp_path: Path) -> Path:
    """A copy of the project, whose `.venv` finds this environment's packages.

    So the README's lines run as they stand, and install, without a network.
    """
    copy = tmp_path / "clone"
    left_out = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", "*.egg-info")
    shutil.copytree(root, copy, ignore=left_out)
    subprocess.run(["python3", "-m", "venv", copy / ".venv"], check=True)
    (packages,) = (copy / ".venv").glob("lib/python3*/site-packages")
    (packages / "outer.pth").write_text(sysconfig.get_path("purelib") + "\n")
    # Satisfied from there, pytest brings no script along.
    script = copy / ".venv/bin/pytest"
    script.write_text(f"#!{copy}/.venv/bin/python3\nimport pytest\npytest.console_main()\n")
    script.chmod(0o755)
    return copy


def run(line: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    offline = {
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads this one backwards: no isolation
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line],
        cwd=folder,
        env={**os.environ, **offline, **more},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


def test_the_readme_has_three_commands_and_all_are_run_below(root: Path) -> None:
    shell = [line for block in blocks(root, "sh") for line in block.strip().splitlines()]
    assert len(shell) == 3
    assert shell[0].endswith("hostup-mcp demo")
    assert shell[1].endswith("pytest")
    assert shell[2].endswith("--transport http")
    assert not blocks(root, "(?:bash|shell|console)")


if ALL:  # two installations

    @pytest.mark.timeout(240)
    def test_the_first_two_commands_show_the_main_job_and_find_these_tests(
        root: Path, clone: Path
    ) -> None:
        """The second only collects here: `.ci/run` runs it in full."""
        demo, tests = blocks(root, "sh")[:2]
        ran = run(demo, clone)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        uname = subprocess.run(["uname", "-a"], capture_output=True, text=True, check=True).stdout
        assert f"| {uname.strip()}" in ran.stdout
        assert ran.stdout.count("… ") >= 3
        assert "status: refused" in ran.stdout
        assert ran.stdout.rstrip().endswith("(README).")
        assert list((clone / ".venv").glob("lib/python3*/site-packages/hostup_mcp/py.typed"))
        ran = run(tests, clone, PYTEST_ADDOPTS="--collect-only -q -n0")
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "tests/test_readme.py::test_the_readme_has_three_commands" in ran.stdout
        ci = (root / ".ci/run").read_text()
        assert "tests=$(grep -E '^python3 .*bin/pytest$' README.md)" in ci
        assert 'bash -euo pipefail -c "$tests"' in ci


async def test_the_third_command_serves_over_http(
    root: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    program, *arguments = shlex.split(blocks(root, "sh")[2])
    assert program == ".venv/bin/hostup-mcp"
    assert arguments.pop(0) == "serve"
    port = {"HOSTUP_MCP__HTTP__PORT": "0"}
    with HttpServer(sandbox.base_url, sandbox.api_key, tmp_path, *arguments, **port) as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert str(tmp_path / "http-token") in server.announced
        async with server.client() as client:
            assert len(facts(await client.call_tool("list_vps", {}))["vps"]) == 3
    assert HttpSettings().port == 8765


def test_what_is_shown_of_check_is_what_it_says(root: Path) -> None:
    shown = blocks(root, "")
    (console,) = (block for block in shown if block.startswith("$ "))
    command, *lines = console.splitlines()
    said = subprocess.run(
        [str(Path(sys.executable).parent / "hostup-mcp"), *shlex.split(command)[2:]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert command.startswith("$ hostup-mcp check ")
    assert said.returncode == 4
    printed = re.sub(r"@[0-9a-f]{12}", "@0123456789ab", said.stdout).splitlines()
    assert [line for line in lines if line != "…"] == [line for line in printed if line in lines]


@pytest.mark.parametrize("document", ["README.md", "docs/policy.md", "config.example.toml"])
def test_every_configuration_that_is_shown_can_be_loaded(
    root: Path, tmp_path: Path, document: str
) -> None:
    text = (root / document).read_text()
    if document.endswith(".md"):
        shown = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    else:
        # Every key that is commented out, as it would be without the sign.
        shown = [
            re.sub(r"^# (?=[a-z_]+ = |\[)", "", text[text.index("[policy]") :], flags=re.MULTILINE)
        ]
    assert shown
    for number, block in enumerate(shown):
        file = tmp_path / f"{number}.toml"
        file.write_text(block)
        load_policies(load({}, {}, str(file)))


def test_the_tests_that_the_policys_page_names_are_there(root: Path) -> None:
    named = set(re.findall(r"`(tests/[a-z_/]+\.py)`", (root / "docs/policy.md").read_text()))
    assert len(named) > 10
    assert not [name for name in named if not (root / name).is_file()]


def test_the_configurations_of_clients_are_what_is_printed_for_them(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tests/test_client_config.py` starts servers with what is printed."""
    monkeypatch.setenv("HOME", "/home/you")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    script = str(Path(sys.executable).parent / "hostup-mcp")
    shown = blocks(root, "json")
    for client in ("claude-desktop", "claude-code", "vscode"):
        command = [script, "client-config", client]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert shown.pop(0) == printed.replace(script, "/path/to/hostup-mcp/.venv/bin/hostup-mcp")
    assert not shown


def test_the_links_of_the_docs_lead_somewhere(root: Path) -> None:
    for document in [*root.glob("*.md"), *root.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), (document, target)
