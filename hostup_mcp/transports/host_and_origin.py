"""Checks the Host and Origin headers of every request over HTTP.

With DNS rebinding, a web page lets a name of its own resolve to 127.0.0.1, and so its scripts reach
a server on loopback. Host and Origin tell such requests apart. The SDK checks them only on some
routes and addresses; here they are checked on all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hostup_mcp.hostup.origin import is_loopback
from hostup_mcp.transports.asgi_scope import headers
from hostup_mcp.transports.http_errors import error_response

_HOST: Final = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?")


@dataclass(frozen=True, slots=True)
class AllowedNames:
    """The hosts and origins that are served.

    Attributes:
        hosts: each `HOST`, which stands for every port, or `HOST:PORT`; in lower case.
        origins: each `SCHEME://HOST[:PORT]`; in lower case.
        loopback: whether this machine's own names are served too, with any port or none.
    """

    hosts: frozenset[str]
    origins: frozenset[str]
    loopback: bool

    def host(self, value: str) -> bool:
        """Whether the server is served under this `Host`."""
        value = value.lower()
        match = _HOST.fullmatch(value)
        if match is None:
            return False
        return value in self.hosts or match[1] in self.hosts or self._is_ours(match[1])

    def origin(self, value: str) -> bool:
        """Whether pages of this `Origin` may call the server."""
        value = value.lower()
        scheme, _, host = value.partition("://")
        match = _HOST.fullmatch(host)
        if match is None or scheme not in ("http", "https"):
            return False
        return value in self.origins or self._is_ours(match[1])

    def _is_ours(self, name: str) -> bool:
        return self.loopback and is_loopback(name.strip("[]"))


class HostAndOrigin:
    """ASGI middleware that refuses other hosts and origins, on every path."""

    def __init__(self, app: ASGIApp, allowed: AllowedNames) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 421 or 403."""
        await (self._refusal(scope) or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        hosts, origins = headers(scope, b"host"), headers(scope, b"origin")
        if len(hosts) != 1 or not self._allowed.host(hosts[0]):
            return error_response(
                421,
                "host_not_allowed",
                "The Host header does not name this server.",
                "The server's operator sets http.allowed_hosts.",
            )
        if len(origins) > 1 or (origins and not self._allowed.origin(origins[0])):
            return error_response(
                403,
                "origin_not_allowed",
                "Web pages of this origin may not call this server.",
                "The server's operator sets http.allowed_origins.",
            )
        return None
