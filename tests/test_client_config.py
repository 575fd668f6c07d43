"""What each client is told starts this very server, and holds neither key nor token."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from hostup_mcp.cli.client_config import (
    CLIENTS,
    DEFAULT_URL,
    Server,
    UnsupportedClient,
    default_key_file,
    snippet,
)
from hostup_mcp.sandbox.api_server import Sandbox
from hostup_mcp.server.client_timeouts import CLIENTS as WAITING
from tests.stdio_client import connect_with, facts

KEY = "hk_live_0123456789abcdef"
TOKEN = "token_0123456789abcdef"
ODD = 'it\'s a "folder" of émilie, \\ and {braces} = [1] # no'
EDITORS = [client for client in CLIENTS if client not in ("stdio", "http")]
WITHOUT_HTTP = ("claude-desktop", "zed")


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hostup_mcp", "client-config", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "HOSTUP_API_KEY": KEY, "HOSTUP_MCP_HTTP_TOKEN": TOKEN, **env},
    )


def printed(*arguments: str, **env: str) -> str:
    ran = run(*arguments, **env)
    assert ran.returncode == 0, ran.stderr
    assert KEY not in ran.stdout + ran.stderr
    assert TOKEN not in ran.stdout + ran.stderr
    return ran.stdout


@dataclass(frozen=True)
class Launch:
    """How a client would start the server, with its variables put in."""

    command: str
    arguments: list[str]
    environment: dict[str, str]


def entry_of(client: str, text: str) -> dict[str, Any]:
    if client == "codex":
        return tomllib.loads(text)["mcp_servers"]["hostup"]
    document = json.loads(text)
    section = {"vscode": "servers", "zed": "context_servers"}.get(client, "mcpServers")
    return document[section]["hostup"]


VARIABLE = {
    "claude-code": r"\$\{(\w+)\}",
    "cursor": r"\$\{env:(\w+)\}",
    "windsurf": r"\$\{env:(\w+)\}",
    "vscode": r"\$\{input:(\w+)\}",
    "gemini-cli": r"\$(\w+)",
}


def expanded(client: str, text: str, environ: Mapping[str, str]) -> str:
    """As the client puts its variables in."""
    if client not in VARIABLE:
        return text
    return re.sub(VARIABLE[client], lambda found: environ[found[1]], text)


def launch_of(client: str, text: str, environ: Mapping[str, str]) -> Launch:
    if client == "stdio":
        command, *arguments = shlex.split(text)
        return Launch(command, arguments, dict(environ))
    entry = entry_of(client, text)
    passed_on = {name: environ[name] for name in entry.get("env_vars", [])}
    given = {
        name: expanded(client, value, environ)
        for name, value in cast("dict[str, str]", entry["env"]).items()
    }
    return Launch(entry["command"], entry["args"], {**passed_on, **given})


@pytest.fixture
def odd_paths(tmp_path: Path) -> tuple[Path, Path]:
    """A configuration and a key file, in a folder whose name wants every kind of quoting."""
    folder = tmp_path / ODD
    folder.mkdir()
    config, key = folder / "config.toml", folder / "api key"
    config.write_text("[output]\nwindow_bytes = 2048\n")
    return config, key


@pytest.mark.parametrize("with_file", [False, True], ids=["variable", "key file"])
@pytest.mark.parametrize("client", [*EDITORS, "stdio"])
async def test_what_is_printed_starts_the_server(
    client: str, with_file: bool, odd_paths: tuple[Path, Path], sandbox: Sandbox, tmp_path: Path
) -> None:
    config, key_file = odd_paths
    options = ["--config", str(config), *(["--api-key-file", str(key_file)] if with_file else [])]
    text = printed(client, *options)
    launch = launch_of(client, text, {} if with_file else {"HOSTUP_API_KEY": sandbox.api_key})
    assert launch.command == str(Path(sys.executable).parent / "hostup-mcp")
    assert launch.arguments[-2:] == ["--config", str(config)]
    if (named := launch.environment.get("HOSTUP_API_KEY_FILE")) is not None:
        assert named == str(key_file if with_file else default_key_file())
        Path(named).parent.mkdir(parents=True, exist_ok=True)
    (Path(named) if named else key_file).write_text(sandbox.api_key)
    env = {
        "HOME": os.environ["HOME"],
        "HOSTUP_BASE_URL": sandbox.base_url,
        "HOSTUP_MCP_STATE_DIR": str(tmp_path / "state"),
        **launch.environment,
    }
    async with connect_with(launch.command, launch.arguments, env) as connected:
        tools = await connected.list_tools()
        assert [tool.name for tool in tools.tools] == ["list_vps", "vps_exec", "vps_exec_result"]
        assert len(facts(await connected.call_tool("list_vps", {}))["vps"]) == 3


@pytest.mark.parametrize("client", [*EDITORS, "http"])
def test_over_http_there_is_the_address_and_no_token(client: str) -> None:
    ran = run(client, "--transport", "http", "--url", "https://vps.example/mcp")
    assert TOKEN not in ran.stdout + ran.stderr
    if client in WITHOUT_HTTP:
        assert (ran.returncode, ran.stdout) == (2, "")
        assert "Leave out --transport http." in ran.stderr
        return
    assert ran.returncode == 0
    assert "serve --transport http" in ran.stderr
    assert "hostup-mcp doctor" in ran.stderr
    entry = json.loads(ran.stdout) if client == "http" else entry_of(client, ran.stdout)
    address = {"windsurf": "serverUrl", "gemini-cli": "httpUrl"}.get(client, "url")
    assert entry[address] == "https://vps.example/mcp"
    if client == "codex":
        assert entry["bearer_token_env_var"] == "HOSTUP_MCP_HTTP_TOKEN"
        return
    environ = {"HOSTUP_MCP_HTTP_TOKEN": TOKEN}
    form = "claude-code" if client == "http" else client
    assert expanded(form, entry["headers"]["Authorization"], environ) == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("url", "is_warned"),
    [
        ("http://127.0.0.1:8765", True),
        ("http://127.0.0.1:8765/", True),
        ("http://127.0.0.1:8765/mcp/", True),
        ("http://127.0.0.1:8765/mcp", False),
        ("https://vps.example/hostup/mcp", False),
    ],
)
@pytest.mark.parametrize("client", ["claude-code", "codex", "http"])
def test_a_url_without_the_servers_path_is_warned_of(
    client: str, url: str, is_warned: bool
) -> None:
    ran = run(client, "--transport", "http", "--url", url)
    assert ran.returncode == 0
    assert url in ran.stdout
    assert ("Warning: the server serves the path /mcp" in ran.stderr) == is_warned


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://127.0.0.1:8765/mcp", ["--port", "8765"]),
        ("http://localhost:9000/mcp", ["--port", "9000"]),
        ("https://vps.example:8443/mcp", []),
    ],
)
def test_the_server_to_start_listens_where_the_client_connects(url: str, port: list[str]) -> None:
    server = Server(("/opt/python", "-m", "hostup_mcp"), Path("/etc/a b"), url=url)
    (hint,) = (h for h in snippet("cursor", server, "http").hints if "must be running" in h)
    assert shlex.split(hint.partition(": ")[2]) == [
        *("/opt/python", "-m", "hostup_mcp", "serve", "--transport", "http"),
        *port,
        *("--config", "/etc/a b"),
    ]


def test_without_a_script_the_interpreter_is_told_the_module() -> None:
    server = Server(("/opt/python", "-m", "hostup_mcp"), Path("/c"), Path("/k"))
    assert launch_of("zed", snippet("zed", server, "stdio").text, {}) == Launch(
        "/opt/python", ["-m", "hostup_mcp", "--config", "/c"], {"HOSTUP_API_KEY_FILE": "/k"}
    )
    assert snippet("stdio", server, "stdio").text == (
        "/opt/python -m hostup_mcp --api-key-file /k --config /c"
    )


def test_the_usual_address_of_a_server_over_http() -> None:
    assert json.loads(printed("http"))["url"] == DEFAULT_URL == "http://127.0.0.1:8765/mcp"


@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_vscode_asks_for_all_that_stands_as_an_input(transport: str) -> None:
    text = printed("vscode", "--transport", transport)
    inputs = json.loads(text)["inputs"]
    assert [item["id"] for item in inputs] == re.findall(VARIABLE["vscode"], text)
    assert all(item["password"] is True for item in inputs)
    assert "inputs" not in json.loads(printed("vscode", "--api-key-file", "/k"))


def test_limits_that_clients_are_told_are_those_that_the_server_counts_on() -> None:
    codex = entry_of("codex", printed("codex"))
    assert codex["tool_timeout_sec"] == 120
    assert codex["env"]["HOSTUP_MCP__SERVER__CLIENT_TIMEOUT_SECONDS"] == "120"
    assert codex["startup_timeout_sec"] >= 10
    counted_on = next(client for client in WAITING if client.matches("gemini-cli-mcp-client"))
    assert entry_of("gemini-cli", printed("gemini-cli"))["timeout"] == counted_on.seconds * 1000


def test_the_command_that_makes_the_key_file_makes_it_for_its_user_alone(tmp_path: Path) -> None:
    path = tmp_path / ODD / "key"
    ran = run("zed", "--api-key-file", str(path))
    (line,) = (line for line in ran.stderr.splitlines() if line.startswith("  mkdir "))
    subprocess.run(["/bin/sh", "-c", f"umask 022; {line}"], input=b"the key\n", check=True)
    assert path.read_bytes() == b"the key\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_claude_codes_other_command_holds_the_same_entry() -> None:
    ran = run("claude-code")
    (line,) = (line for line in ran.stderr.splitlines() if "claude mcp add-json" in line)
    *command, entry = shlex.split(line.partition(": ")[2])
    assert command == ["claude", "mcp", "add-json", "--scope", "user", "hostup"]
    assert json.loads(entry) == entry_of("claude-code", ran.stdout)


@pytest.mark.parametrize("client", [*EDITORS, "stdio"])
def test_an_odd_path_of_the_program_survives(client: str) -> None:
    odd = "/opt/tab\t \x7f \U0001f600 " + ODD
    server = Server((f"{odd}/hostup-mcp",), Path(odd) / "c", Path(odd) / "key")
    launch = launch_of(client, snippet(client, server, "stdio").text, {})
    assert launch.command == f"{odd}/hostup-mcp"
    assert launch.arguments[-2:] == ["--config", f"{odd}/c"]
    key = launch.environment.get("HOSTUP_API_KEY_FILE") or launch.arguments[1]
    assert key == f"{odd}/key"


def test_a_dollar_in_a_path_is_remarked_where_the_client_may_read_it() -> None:
    server = Server(("/opt/$x/hostup-mcp",))
    assert any("$" in hint for hint in snippet("gemini-cli", server, "stdio").hints)
    assert not any("A $" in hint for hint in snippet("zed", server, "stdio").hints)


def test_a_path_that_no_settings_can_hold_is_refused() -> None:
    with pytest.raises(UnsupportedClient, match="not valid UTF-8"):
        snippet("cursor", Server(("/opt/\udcff/hostup-mcp",)), "stdio")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument"),
        (["emacs"], "'emacs' is not one of 'claude-desktop'"),
        (["cursor", "--url", "http://127.0.0.1/mcp"], "--url needs --transport http"),
        (["http", "--url", "http://x.example/mcp?token=t"], "a token does not belong in a URL"),
        (["http", "--url", "http://u:p@x.example/mcp"], "a token does not belong in a URL"),
        (["http", "--url", "x.example"], "not the address of a server"),
        (["http", "--url", ""], "not the address of a server"),
        (["http", "--url", "http://[x/mcp"], "not the address of a server"),
        (["http", "--url", "http://x.example:99999/mcp"], "not the address of a server"),
        (["stdio", "--transport", "http"], "Try: client-config http"),
        (["cursor", "--config", "/nonexistent"], "/nonexistent is not a file"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str) -> None:
    ran = run(*arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert message in " ".join(ran.stderr.split())
    assert "Traceback" not in ran.stderr


def test_relative_paths_become_absolute(odd_paths: tuple[Path, Path]) -> None:
    config, key = odd_paths
    relative = [os.path.relpath(path) for path in (config, key)]
    text = printed("zed", "--config", relative[0], "--api-key-file", relative[1])
    launch = launch_of("zed", text, {})
    assert launch.arguments[1].startswith("/")
    assert Path(launch.arguments[1]).samefile(config)
    assert launch.environment["HOSTUP_API_KEY_FILE"].startswith("/")
