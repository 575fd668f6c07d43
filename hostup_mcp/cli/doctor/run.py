"""Runs all checks, from the configuration to the last VPS."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from hostup_mcp.cli.doctor.bounded import within_loop
from hostup_mcp.cli.doctor.contact import Connection, contact_checks, first_contact
from hostup_mcp.cli.doctor.fleet import fleet_checks
from hostup_mcp.cli.doctor.local import local_checks
from hostup_mcp.cli.doctor.report import Check
from hostup_mcp.config.loading import (
    ConfigError,
    Settings,
    config_path,
    load,
    load_policies,
)
from hostup_mcp.hostup.http import Timeouts
from hostup_mcp.policy.policies import Policies

_LATER: Final = (
    *("policy", "journal", "http_token"),
    *("reachability", "tls", "edge", "answer", "clock", "rate_limit", "key", "read:vm"),
    *("write:vm", "vps_list"),
)
_CONNECT_SECONDS: Final = 5.0
_REPLY_SECONDS: Final = 15.0
# The first contact, the VPSs, and closing the connections.
_NETWORK_SECONDS: Final = 100.0


def run_checks(
    options: Mapping[tuple[str, str], str],
    config_file: str | None,
    environ: Mapping[str, str] = os.environ,
) -> list[Check]:
    """Make all checks, each after those that it needs.

    This ends within two minutes. It starts no command and changes no file.

    Args:
        options: values of command-line options by section and key.
        config_file: path given on the command line, if any.
        environ: the environment.
    """
    try:
        path = config_path(config_file, environ)
        settings = load(options, environ, config_file)
        policies = load_policies(settings)
    except ConfigError as error:
        why = "This check needs a usable configuration."
        return [
            Check.of("configuration", error),
            *(Check(name, "not_made", why) for name in _LATER),
        ]
    source = str(path) if path else "no file; defaults, environment and options"
    found = f"{source}. HostUp is {settings.hostup.base_url}."
    return [
        Check("configuration", "ok", found),
        *local_checks(settings, policies),
        *_hostup_checks(settings, policies),
    ]


def _hostup_checks(settings: Settings, policies: Policies) -> list[Check]:
    try:
        return within_loop(_NETWORK_SECONDS, lambda: _ask_hostup(settings, policies))
    except TimeoutError:
        found = f"The checks of HostUp did not end within {_NETWORK_SECONDS:.0f} seconds."
        advice = "Check the network, and the name servers of this machine."
        return [Check("reachability", "fail", found, advice, "check_timeout")]


async def _ask_hostup(settings: Settings, policies: Policies) -> list[Check]:
    hostup = settings.hostup
    rate = settings.execution.requests_per_second
    connection = Connection(
        hostup.base_url, hostup.api_key, _timeouts(settings), rate, hostup.key_fault
    )
    try:
        contact = await first_contact(connection)
        checks = contact_checks(contact)
        if contact.page is not None and contact.no_key is None:
            return [*checks, *await fleet_checks(connection.client, policies, contact.page)]
    finally:
        await connection.aclose()
    why = "This check needs the list of VPSs."
    return [*checks, *(Check(name, "not_made", why) for name in ("write:vm", "vps_list"))]


def _timeouts(settings: Settings) -> Timeouts:
    """The timeouts of the settings, but no longer than somebody waits at a terminal."""
    hostup = settings.hostup
    return Timeouts(
        connect=min(hostup.connect_timeout_seconds, _CONNECT_SECONDS),
        read=min(hostup.read_timeout_seconds, _REPLY_SECONDS),
        write=min(hostup.write_timeout_seconds, _REPLY_SECONDS),
        pool=min(hostup.pool_timeout_seconds, _REPLY_SECONDS),
        total=min(hostup.total_timeout_seconds, _REPLY_SECONDS),
    )
