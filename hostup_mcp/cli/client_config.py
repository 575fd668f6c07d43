"""Writes the configuration that an MCP client needs for this server, and says where it belongs.

No snippet contains the API key or the HTTP token. A client that fills in variables takes them from
its environment, or asks its user. For other clients the server reads the key from a file.

Formats, files and variables come from each client's own documentation. They were tried with Claude
Code, Codex and Gemini CLI.
"""

from __future__ import annotations

import json
import shlex
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast
from urllib.parse import urlsplit

import platformdirs

from hostup_mcp.hostup.origin import is_loopback

Transport = Literal["stdio", "http"]

DEFAULT_URL: Final = "http://127.0.0.1:8765/mcp"
_PATH: Final = "/mcp"
_NAME: Final = "hostup"
_KEY: Final = "HOSTUP_API_KEY"
_TOKEN: Final = "HOSTUP_MCP_HTTP_TOKEN"  # noqa: S105 - the name of a variable
_CLIENT_TIMEOUT: Final = "HOSTUP_MCP__SERVER__CLIENT_TIMEOUT_SECONDS"
_CODEX_SECONDS: Final = 120
# Gemini CLI's default, written out because the server relies on it (`client_timeouts`).
_GEMINI_MILLISECONDS: Final = 600_000

_Table = Mapping[str, object]


class UnsupportedClient(Exception):
    """There is no such snippet for the client; the text says why, and what to do instead."""


@dataclass(frozen=True, slots=True)
class Server:
    """The server that a snippet is for.

    Attributes:
        command: its program, an absolute path, and the arguments that must follow directly.
        config: the configuration file, if the operator named one.
        key_file: the file that holds the API key, if the operator named one.
        url: its address, for clients that connect to it over HTTP.
    """

    command: tuple[str, ...]
    config: Path | None = None
    key_file: Path | None = None
    url: str = DEFAULT_URL

    def words(self, *arguments: str) -> list[str]:
        """The command with these arguments and the configuration file."""
        named = ("--config", str(self.config)) if self.config else ()
        return [*self.command, *arguments, *named]


@dataclass(frozen=True, slots=True)
class Snippet:
    """What `client-config` prints.

    Attributes:
        text: for stdout: only the snippet or command, without a line break at the end.
        hints: for stderr: where it belongs and what to do next, each a sentence or a command.
    """

    text: str
    hints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Client:
    """One client.

    Attributes:
        place: where its snippet belongs, as a sentence.
        variable: how its settings refer to an environment variable, with `{}` for the name; None
            if it fills in none.
        stdio: turns `command`, `args` and `env` into the entry for a server that it starts.
        http: turns `url` and `headers` into the entry for a server that it connects to; None if
            the entry would have to contain the token.
        wrap: turns that entry into the whole snippet.
        after: what to do after that.
        instead: an alternative: a command that takes the entry as JSON.
    """

    place: str
    variable: str | None
    stdio: Callable[[_Table], _Table]
    http: Callable[[_Table], _Table] | None
    wrap: Callable[[_Table], str]
    after: str
    instead: tuple[str, ...] = ()


def installed_command() -> tuple[str, ...]:
    """The command that starts this installation, with absolute paths.

    Links are not resolved: that would lead out of a virtual environment.
    """
    folders = (str(Path(sys.executable).parent), sysconfig.get_path("scripts"))
    for folder in folders:
        script = Path(folder) / "hostup-mcp"
        if script.is_file():
            return (str(script.absolute()),)
    return str(Path(sys.executable).absolute()), "-m", "hostup_mcp"


def default_key_file() -> Path:
    """The path of the key file, unless the operator names another."""
    return platformdirs.user_config_path("hostup-mcp") / "api-key"


def snippet(client: str, server: Server, transport: Transport) -> Snippet:
    """The snippet or command for a client.

    Args:
        client: one of `CLIENTS`.
        server: the server to start or to connect to.
        transport: how; the clients `stdio` and `http` imply it.

    Raises:
        UnsupportedClient: the client has no such transport, or a path or the URL of `server` cannot
            be used in its settings.
    """
    _check(server)
    if client == "stdio":
        if transport == "http":
            raise UnsupportedClient("stdio itself is not HTTP. Try: client-config http")
        return _plain_stdio(server)
    if client == "http":
        text = _json({"url": server.url, "headers": _headers("${{{}}}")})
        return Snippet(text, (f"Replace ${{{_TOKEN}}} with the token.", *_http_hints(server)))
    return _of_client(_KINDS[client], client, server, transport)


def _of_client(kind: _Client, name: str, server: Server, transport: Transport) -> Snippet:
    if transport == "http":
        if kind.http is None:
            raise UnsupportedClient(
                f"Over HTTP, {name} would need the token itself in its settings. Leave out "
                "--transport http."
            )
        entry = kind.http({"url": server.url, "headers": _headers(kind.variable or "")})
        hints = _http_hints(server)
    else:
        entry = kind.stdio(_launch(kind, server))
        hints = _key_hints(kind, server)
    command = shlex.join([*kind.instead, json.dumps(entry, ensure_ascii=False)])
    instead = (f"Or for all projects: {command}",) if kind.instead else ()
    dollar = kind.variable and any("$" in text for text in _texts(server))
    warning = ("This client may read a $ in a path as a variable.",) if dollar else ()
    return Snippet(kind.wrap(entry), (kind.place, *instead, *warning, *hints, kind.after))


def _launch(kind: _Client, server: Server) -> _Table:
    if server.key_file is not None or kind.variable is None:
        environment = {f"{_KEY}_FILE": str(server.key_file or default_key_file())}
    else:
        environment = {_KEY: kind.variable.format(_KEY)}
    program, *arguments = server.words()
    return {"command": program, "args": arguments, "env": environment}


def _plain_stdio(server: Server) -> Snippet:
    key = ("--api-key-file", str(server.key_file)) if server.key_file else ()
    command = shlex.join(server.words(*key))
    hint = "The client starts this command and speaks MCP on its stdin and stdout."
    variable = (
        f"{_KEY} or {_KEY}_FILE must be in its environment; most clients pass on few variables."
    )
    return Snippet(command, (hint,) if key else (hint, variable))


# ------------------------------------------------------------------ what to do next


def _key_hints(kind: _Client, server: Server) -> tuple[str, ...]:
    if kind.variable is not None and server.key_file is None:
        if kind.variable == _INPUT:
            return ("The client asks for the key at the first start, and keeps it.",)
        return (
            f"{_KEY} must be set where the client is started. A client that is started from the "
            "desktop may not see your shell's variables; if so, use --api-key-file FILE.",
        )
    file = server.key_file or default_key_file()
    folder, path = (shlex.quote(str(part)) for part in (file.parent, file))
    return (
        f"The server reads the key from the file that {_KEY}_FILE names. To create it so that only "
        "you can read it (paste the key, then Enter, Ctrl-D):",
        f"  mkdir -p {folder} && touch {path} && chmod 600 {path} && cat > {path}",
    )


def _http_hints(server: Server) -> tuple[str, ...]:
    parts = urlsplit(server.url)
    # On another machine a proxy is in front of the server, with a port of its own.
    port = ("--port", str(parts.port)) if parts.port and is_loopback(parts.hostname or "") else ()
    command = shlex.join(server.words("serve", "--transport", "http", *port))
    other_path = (
        f"Warning: the server serves the path {_PATH}, such as {DEFAULT_URL}. "
        f"{server.url} does not lead there unless a proxy changes the path."
    )
    return (
        *(() if parts.path.endswith(_PATH) else (other_path,)),
        f"The server must be running: {command}",
        f"The value of {_TOKEN} is in the file http-token in the server's state folder; hostup-mcp "
        "doctor shows the path.",
    )


# ------------------------------------------------------------------ forms


def _texts(server: Server) -> tuple[str, ...]:
    return (*server.words(), str(server.key_file or ""))


def _check(server: Server) -> None:
    for text in _texts(server):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UnsupportedClient(
                f"{text!a} is not valid UTF-8, so settings cannot hold it. Use another path."
            ) from None
    try:
        parts = urlsplit(server.url)
        _ = parts.port  # raises for one that is out of range
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or not server.url.isprintable():
        raise UnsupportedClient("--url is not the address of a server, such as " + DEFAULT_URL)
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise UnsupportedClient(
            "--url must have no user, query or fragment: a token does not belong in a URL."
        )


def _headers(variable: str) -> _Table:
    return {"Authorization": f"Bearer {variable.format(_TOKEN)}"}


def _json(document: _Table) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False)


def _as_it_is(entry: _Table) -> _Table:
    return entry


def _with(**more: object) -> Callable[[_Table], _Table]:
    """The entry with these keys before its own."""
    return lambda entry: {**more, **entry}


def _under(key: str) -> Callable[[_Table], str]:
    return lambda entry: _json({key: {_NAME: entry}})


def _url_as(key: str, **more: object) -> Callable[[_Table], _Table]:
    return lambda entry: {key: entry["url"], "headers": entry["headers"], **more}


_INPUT: Final = "${{input:{}}}"


def _with_inputs(entry: _Table) -> str:
    """VS Code asks once for each entry of `inputs`, and keeps the answer as a secret."""
    described = {_KEY: "HostUp API key", _TOKEN: "Token of hostup-mcp (its file http-token)"}
    inputs = [
        {"type": "promptString", "id": name, "description": text, "password": True}
        for name, text in described.items()
        if _INPUT.format(name) in json.dumps(entry)
    ]
    return _json({**({"inputs": inputs} if inputs else {}), "servers": {_NAME: entry}})


def _codex_stdio(entry: _Table) -> _Table:
    """Codex passes on the variables that its settings name, and fills in none."""
    environment = dict(cast("Mapping[str, str]", entry["env"]))
    passed_on = {"env_vars": [_KEY]} if environment.pop(_KEY, "") else {}
    environment[_CLIENT_TIMEOUT] = str(_CODEX_SECONDS)
    return {**entry, **passed_on, "env": environment, **_CODEX_LIMITS}


def _codex_http(entry: _Table) -> _Table:
    return {"url": entry["url"], "bearer_token_env_var": _TOKEN, **_CODEX_LIMITS}


_CODEX_LIMITS: Final = {"startup_timeout_sec": 20, "tool_timeout_sec": _CODEX_SECONDS}


def _toml(entry: _Table) -> str:
    lines = [f"{key} = {_toml_value(value)}" for key, value in entry.items()]
    return "\n".join([f"[mcp_servers.{_NAME}]", *lines])


def _toml_value(value: object) -> str:
    if isinstance(value, dict):
        items = cast("dict[str, object]", value).items()
        pairs = (f"{key} = {_toml_value(item)}" for key, item in items)
        return f"{{ {', '.join(pairs)} }}"
    # Texts, numbers and lists in JSON are also TOML, except for DEL, which TOML must escape.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


_DOLLAR: Final = "${}"
_BRACED: Final = "${{{}}}"
_ENV: Final = "${{env:{}}}"
_JOIN: Final = "If the file already has other servers, add the entry hostup to them."

_KINDS: Final[Mapping[str, _Client]] = {
    "claude-desktop": _Client(
        place="Put it into claude_desktop_config.json (Settings, Developer, Edit Config): on macOS "
        "in ~/Library/Application Support/Claude, on Windows in %APPDATA%\\Claude, on Linux in "
        f"~/.config/Claude. {_JOIN}",
        variable=None,
        stdio=_as_it_is,
        http=None,
        wrap=_under("mcpServers"),
        after="Then restart Claude Desktop.",
    ),
    "claude-code": _Client(
        place=f"Put it into .mcp.json in the project's folder. {_JOIN}",
        variable=_BRACED,
        stdio=_with(type="stdio"),
        http=_with(type="http"),
        wrap=_under("mcpServers"),
        after="Then start claude there, and look at /mcp.",
        instead=("claude", "mcp", "add-json", "--scope", "user", _NAME),
    ),
    "cursor": _Client(
        place="Put it into ~/.cursor/mcp.json, or .cursor/mcp.json in the project's folder. "
        f"{_JOIN}",
        variable=_ENV,
        stdio=_with(type="stdio"),
        http=_as_it_is,
        wrap=_under("mcpServers"),
        after="Then switch the server on in Cursor's settings, under MCP.",
    ),
    "vscode": _Client(
        place="Put it into .vscode/mcp.json in the project's folder, or the file that the command "
        f"'MCP: Open User Configuration' opens. {_JOIN}",
        variable=_INPUT,
        stdio=_with(type="stdio"),
        http=_with(type="http"),
        wrap=_with_inputs,
        after="Then start it with the command 'MCP: List Servers'.",
    ),
    "windsurf": _Client(
        place=f"Put it into ~/.codeium/windsurf/mcp_config.json. {_JOIN}",
        variable=_ENV,
        stdio=_as_it_is,
        http=_url_as("serverUrl"),
        wrap=_under("mcpServers"),
        after="Then refresh the servers in Cascade.",
    ),
    "zed": _Client(
        place="Put it into Zed's settings.json (the command 'zed: open settings'): on macOS and "
        f"Linux in ~/.config/zed, on Windows in %APPDATA%\\Zed. {_JOIN}",
        variable=None,
        stdio=_with(source="custom"),
        http=None,
        wrap=_under("context_servers"),
        after="Zed then starts the server itself; its agent settings show a green dot.",
    ),
    "codex": _Client(
        place="Put it into ~/.codex/config.toml.",
        variable=_BRACED,
        stdio=_codex_stdio,
        http=_codex_http,
        wrap=_toml,
        after="Then restart codex; codex mcp list shows the server. The first turn may begin "
        "before the server is up; with required = true, codex waits for it.",
    ),
    "gemini-cli": _Client(
        place="Put it into ~/.gemini/settings.json, or .gemini/settings.json in the project's "
        f"folder. {_JOIN}",
        variable=_DOLLAR,
        stdio=lambda entry: {**entry, "timeout": _GEMINI_MILLISECONDS},
        http=_url_as("httpUrl", timeout=_GEMINI_MILLISECONDS),
        wrap=_under("mcpServers"),
        after="Then restart gemini; gemini mcp list shows the server.",
    ),
}
CLIENTS: Final = (*_KINDS, "stdio", "http")
"""The clients with a snippet; the last two are for any other client."""
