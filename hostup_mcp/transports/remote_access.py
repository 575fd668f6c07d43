"""Knows whether other machines can connect, and what the operator must then have set."""

from __future__ import annotations

import ipaddress

from hostup_mcp.config.http import HttpSettings
from hostup_mcp.hostup.origin import is_loopback
from hostup_mcp.transports.errors import ServeError


def is_exposed(settings: HttpSettings) -> bool:
    """Whether other machines can connect."""
    return settings.uds is None and not is_loopback(settings.host)


def shown_host(host: str) -> str:
    """A host for a message: an address, or the setting that holds what may be a secret."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host if host == "localhost" else "the address in http.host"
    return host


def check_remote_access(settings: HttpSettings) -> None:
    """Make sure that other machines can connect only if the operator wants it.

    Raises:
        ServeError: they can, and a setting that must then be explicit is missing.
    """
    if not is_exposed(settings):
        return
    missing = [
        name
        for name, given in (
            (
                "a token (HOSTUP_MCP_HTTP_TOKEN or http.token_file)",
                settings.token is not None or settings.token_file is not None,
            ),
            ("http.allowed_hosts", bool(settings.allowed_hosts)),
            ("http.allowed_origins", settings.allowed_origins is not None),
            ("--i-understand-remote-access", settings.i_understand_remote_access),
        )
        if not given
    ]
    if missing:
        raise ServeError(
            "remote_access_refused",
            f"Other machines can reach {shown_host(settings.host)}, and whoever has a token runs "
            "commands as root.",
            f"Serve on 127.0.0.1 behind a proxy with TLS, or also give: {', '.join(missing)}.",
        )
