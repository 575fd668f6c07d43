"""The command line. Slow imports wait until a command needs them, so `--help` is instant."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn, TypeVar, cast

import click

from hostup_mcp.cli.client_config import CLIENTS, DEFAULT_URL
from hostup_mcp.cli.printing import Group, printing

if TYPE_CHECKING:
    from hostup_mcp.config.loading import ConfigError, Settings
    from hostup_mcp.execution.journal.errors import JournalError
    from hostup_mcp.policy.policies import Policies
    from hostup_mcp.transports.errors import ServeError


_Command = TypeVar("_Command", bound=Callable[..., None])


def _serving_options(command: _Command) -> _Command:
    """The options of serving, on any transport."""
    for option in reversed(
        (
            click.option(
                "--config", metavar="FILE", help="TOML file to read instead of the user's own."
            ),
            click.option("--base-url", metavar="URL", help="Where HostUp's API is."),
            click.option(
                "--api-key-file", metavar="FILE", help="File that holds the HostUp API key."
            ),
            click.option("--state-dir", metavar="DIR", help="Folder of the journal."),
            click.option(
                "--log-level",
                type=click.Choice(["debug", "info", "warning", "error"]),
                help="How much is logged, to stderr.",
            ),
        )
    ):
        command = option(command)
    return command


_OPTION_KEYS = {
    "base_url": ("hostup", "base_url"),
    "api_key_file": ("hostup", "api_key_file"),
    "state_dir": ("state", "dir"),
    "log_level": ("server", "log_level"),
}


@click.group(
    cls=Group,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@_serving_options
@click.version_option(package_name="hostup-mcp", prog_name="hostup-mcp")
@click.pass_context
def main(context: click.Context, config: str | None, **options: str | None) -> None:
    """Let an AI agent run allowed commands inside HostUp VPSs, over MCP.

    Without a command it serves MCP on stdin and stdout, for the client that starts it. The API key
    comes from HOSTUP_API_KEY or HOSTUP_API_KEY_FILE; config.example.toml shows every setting.
    """
    given = {_OPTION_KEYS[name]: value for name, value in options.items() if value is not None}
    if context.invoked_subcommand is None:
        _serve_stdio(given, config)
    elif given or config is not None:
        raise click.UsageError(
            "These options are for serving. Put the options of "
            f"{context.invoked_subcommand} after its name."
        )


@main.command()
@click.option(
    "--transport",
    type=click.Choice(["stdio", "http", "sse"]),
    default="stdio",
    show_default=True,
    help="stdio; http: Streamable HTTP at /mcp; sse: the deprecated HTTP+SSE at /sse.",
)
@_serving_options
@click.option("--host", metavar="ADDRESS", help="Where to listen; 127.0.0.1 unless set.")
@click.option("--port", type=click.IntRange(0, 65535), help="8765 unless set; 0: any free port.")
@click.option("--uds", metavar="PATH", help="Listen on a Unix socket; only this user can open it.")
@click.option("--with-sse", is_flag=True, help="Serve HTTP+SSE beside Streamable HTTP.")
@click.option("--tls-cert", metavar="FILE", help="Certificate chain, PEM.")
@click.option("--tls-key", metavar="FILE", help="Its key, PEM, without a password.")
@click.option("--token-file", metavar="FILE", help="Bearer tokens: one, or lines of NAME TOKEN.")
@click.option(
    "--allowed-host", "allowed_hosts", multiple=True, metavar="HOST", help="Host header to accept."
)
@click.option(
    "--allowed-origin",
    "allowed_origins",
    multiple=True,
    metavar="ORIGIN",
    help='Origin of web pages to accept; "none" for none.',
)
@click.option(
    "--i-understand-remote-access",
    is_flag=True,
    help="Required if other machines can connect: whoever has a token runs commands as root.",
)
def serve(
    transport: Literal["stdio", "http", "sse"],
    config: str | None,
    **options: str | int | bool | tuple[str, ...] | None,
) -> None:
    """Serve MCP, on stdin and stdout or over HTTP.

    HTTP clients need a bearer token. The first start creates one, and stderr says where it is.
    Every HTTP option is also a setting in the section [http].
    """
    general: dict[tuple[str, str], str] = {}
    http: dict[tuple[str, str], str] = {}
    for name, value in options.items():
        if value is None or value is False or value == ():
            continue
        text = ",".join(value) if isinstance(value, tuple) else str(value)
        if name in _OPTION_KEYS:
            general[_OPTION_KEYS[name]] = text
        else:
            http["http", name] = text
    if transport != "stdio":
        _serve_http({**general, **http}, config, transport)
    elif http:
        raise click.UsageError("HTTP options need --transport http or sse.")
    else:
        _serve_stdio(general, config)


def _serve_stdio(options: dict[tuple[str, str], str], config: str | None) -> None:
    settings, policies = _load(options, config)
    from hostup_mcp.execution.journal.errors import JournalError
    from hostup_mcp.transports.errors import ServeError
    from hostup_mcp.transports.stdio import serve_stdio

    # Despite their types, they are None if the descriptors are closed.
    if None in (cast("object", sys.stdin), cast("object", sys.stdout)):
        click.echo("hostup-mcp: stdin_closed: MCP on stdio needs stdin and stdout.", err=True)
        sys.exit(2)
    if sys.stdin.isatty():
        click.echo(
            "Serving MCP on stdin and stdout. Usually an MCP client starts this command. "
            "Try: hostup-mcp demo",
            err=True,
        )
    try:
        serve_stdio(settings, policies)
    except JournalError as error:
        _fail(error)
    except ServeError as error:
        _fail(error, 1)


def _serve_http(
    options: dict[tuple[str, str], str], config: str | None, transport: Literal["http", "sse"]
) -> None:
    settings, policies = _load(options, config)
    from hostup_mcp.execution.journal.errors import JournalError
    from hostup_mcp.transports.errors import ServeError
    from hostup_mcp.transports.http_server import serve_http

    try:
        serve_http(settings, policies, transport)
    except (JournalError, ServeError) as error:
        _fail(error)
    # Everything is closed and on disk; a normal exit of the interpreter would take longer.
    sys.stderr.flush()
    os._exit(0)


_config_option = click.option(
    "--config", metavar="FILE", help="TOML file to read instead of the user's own."
)


# -h does not print help here: an unquoted `check df -h` must not exit with 0, which means allowed.
@main.command(context_settings={"help_option_names": ["--help"]})
@click.argument("command", required=False)
@click.option("--vps", metavar="ID", default="", help="Use the policy of the VPS with this id.")
@click.option("--name", default="", help="The VPS's name, if policies are set by name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--batch",
    metavar="FILE",
    help='Judge JSON Lines with {"command": ...}; - for stdin. Prints JSON Lines.',
)
@_config_option
def check(
    command: str | None,
    vps: str,
    name: str,
    batch: str | None,
    config: str | None,
    *,
    as_json: bool,
) -> None:
    """Print the policy's verdict on COMMAND (quote it), and what would be sent.

    Exit code: 0 allowed, 3 needs approval, 4 refused, 2 wrong usage or configuration. This needs
    neither a network nor an API key.
    """
    if (command is None) == (batch is None):
        raise click.UsageError("Give one command in quotes, or --batch FILE.")
    policies = _load({}, config)[1]
    from hostup_mcp.cli.check import check_batch, check_one, policy_for, read_lines

    policy = policy_for(policies, vps, name)
    with printing():
        if command is not None:
            exit_code = check_one(policy, command, as_json=as_json)
        else:
            exit_code = read_lines(batch or "", lambda lines: check_batch(policy, lines))
    sys.exit(exit_code)


@main.group()
def policy() -> None:
    """Inspect the configured policy."""


@policy.command("lint")
@_config_option
def policy_lint(config: str | None) -> None:
    """Find rules that allow more than they seem to, or do nothing. Exit code 1 if there are any."""
    from hostup_mcp.cli.check import print_findings

    policies = _load({}, config)[1]
    with printing():
        exit_code = print_findings(policies)
    sys.exit(exit_code)


@policy.command("test")
@click.argument("file")
@_config_option
def policy_test(file: str, config: str | None) -> None:
    """Check FILE: JSON Lines with command, expect (allow, ask or deny) and optionally vps.

    Exit code: 0 all as expected, 1 some are not, 2 the file or a line of it cannot be read.
    """
    from hostup_mcp.cli.check import check_expectations, read_lines

    policies = _load({}, config)[1]
    with printing():
        exit_code = read_lines(file, lambda lines: check_expectations(policies, lines, file))
    sys.exit(exit_code)


@policy.command("show")
@_config_option
def policy_show(config: str | None) -> None:
    """Print everything that may be run."""
    from hostup_mcp.policy.describe import full

    policies = _load({}, config)[1]
    with printing():
        click.echo(full(policies), nl=False)


@main.command()
@_config_option
@click.option("--base-url", metavar="URL", help="Where HostUp's API is.")
@click.option("--api-key-file", metavar="FILE", help="File that holds the HostUp API key.")
@click.option("--state-dir", metavar="DIR", help="Folder of the journal.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(
    config: str | None,
    base_url: str | None,
    api_key_file: str | None,
    state_dir: str | None,
    *,
    as_json: bool,
) -> None:
    """Check everything that a command needs, and say how to fix what is wrong.

    The checks go from the configuration to each VPS's guest agent. They start no command. Exit
    code: 0 nothing failed, 1 something failed, 2 the configuration cannot be used.
    """
    from hostup_mcp.cli.doctor import report
    from hostup_mcp.cli.doctor.run import run_checks

    options = {
        ("hostup", "base_url"): base_url,
        ("hostup", "api_key_file"): api_key_file,
        ("state", "dir"): state_dir,
    }
    given = {key: value for key, value in options.items() if value is not None}
    checks = run_checks(given, config)
    with printing():
        if as_json:
            click.echo(report.as_json(checks))
        else:
            click.echo(report.as_table(checks, shutil.get_terminal_size((100, 24)).columns))
    # A thread may hang in a name look-up or on a disk, and a normal exit would wait for it.
    os._exit(report.exit_code(checks))


@main.command("client-config")
@click.argument("client", type=click.Choice(CLIENTS))
@click.option(
    "--transport",
    type=click.Choice(["stdio", "http"]),
    default="stdio",
    show_default=True,
    help="stdio: the client starts the server; http: it connects to a running one.",
)
@click.option("--url", metavar="URL", help=f"Address of that server.  [default: {DEFAULT_URL}]")
@click.option("--api-key-file", metavar="FILE", help="File that holds the HostUp API key.")
@_config_option
def client_config(
    client: str,
    transport: Literal["stdio", "http"],
    url: str | None,
    api_key_file: str | None,
    config: str | None,
) -> None:
    """Print the settings with which CLIENT uses this installation. They do not hold the key.

    The settings or the command go to stdout. Where they belong and what to do next go to stderr.
    """
    from hostup_mcp.cli.client_config import Server, UnsupportedClient, installed_command, snippet

    if url is not None and "http" not in (client, transport):
        raise click.UsageError("--url needs --transport http.")
    key_file, config_file = (
        Path(name).expanduser().absolute() if name else None for name in (api_key_file, config)
    )
    if config_file is not None and not config_file.is_file():
        raise click.UsageError(f"{config_file} is not a file.")
    server = Server(installed_command(), config_file, key_file, DEFAULT_URL if url is None else url)
    try:
        found = snippet(client, server, transport)
    except UnsupportedClient as error:
        raise click.UsageError(str(error)) from None
    with printing():
        click.echo(found.text)
    for hint in found.hints:
        click.echo(hint, err=True)


@main.command()
@click.option(
    "--guest",
    type=click.Choice(["auto", "local", "qga"]),
    default="auto",
    show_default=True,
    help="What runs the commands: local processes, or qga, a real qemu-ga; auto: qga if installed.",
)
def demo(guest: Literal["auto", "local", "qga"]) -> None:
    """Show the main job, end to end, with a sandbox in place of HostUp. Needs no account."""
    from hostup_mcp.cli.demo import run_demo

    sys.exit(run_demo(guest))


@main.command()
@click.option(
    "--guest",
    type=click.Choice(["auto", "local", "qga"]),
    default="local",
    show_default=True,
    help="local: commands run as you, on this machine; qga: through a real qemu-ga started here.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0: any free port.")
@click.option(
    "--rate-limit",
    type=click.IntRange(1, 1_000_000),
    default=600,
    show_default=True,
    help="Requests a minute.",
)
def sandbox(guest: Literal["auto", "local", "qga"], port: int, rate_limit: int) -> None:
    """Serve an API like HostUp's on loopback, to try things out and for tests."""
    from hostup_mcp.sandbox.api_server import run_sandbox

    run_sandbox(guest, port=port, rate_limit=rate_limit)


def _load(options: dict[tuple[str, str], str], config: str | None) -> tuple[Settings, Policies]:
    from hostup_mcp.config.loading import ConfigError, load, load_policies

    try:
        settings = load(options, config_file=config)
        return settings, load_policies(settings)
    except ConfigError as error:
        _fail(error)


def _fail(error: ConfigError | JournalError | ServeError, exit_code: int = 2) -> NoReturn:
    click.echo(f"hostup-mcp: {error.code}: {error.message} {error.advice}", err=True)
    sys.exit(exit_code)
