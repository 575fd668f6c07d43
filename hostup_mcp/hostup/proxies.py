"""Checks the proxies that the environment names, and says what is wrong without their values.

A proxy's URL may hold a password, so no message quotes it, or a library's error about it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

_NAMES: Final = frozenset({"http_proxy", "https_proxy", "all_proxy"})
_SCHEMES: Final = frozenset({"http", "https", "socks5", "socks5h"})
EXCEPTIONS_ADVICE: Final = (
    "Write names or addresses of hosts with commas between, such as localhost,10.0.0.1,example.com."
)
ADVICE: Final = (
    "Write it as http://USER:PASSWORD@HOST:PORT; in USER and PASSWORD percent-encode "
    "/ # ? @ : (as %2F %23 %3F %40 %3A)."
)


def named(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The variables that name a proxy."""
    return [name for name, value in environ.items() if name.lower() in _NAMES and value]


def exceptions(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The variables that name hosts to which no proxy leads."""
    return [name for name, value in environ.items() if name.lower() == "no_proxy" and value]


def unusable(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The variables whose value is not the address of a proxy.

    A character that is not encoded ends the address early. The rest would count as a path, a query
    or a fragment, which no proxy has, and a part of the password as the host or port.
    """
    return [name for name in named(environ) if not _is_address(environ[name])]


def _is_address(value: str) -> bool:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in _SCHEMES or not parts.hostname or port == 0:
        return False
    if parts.path not in {"", "/"} or parts.query or parts.fragment or "#" in value or "?" in value:
        return False
    return parts.netloc.count("@") <= 1 and value.isprintable() and " " not in value


def secrets(environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """The password, or else the user, of each proxy, raw and decoded, for the log's redaction."""
    for name in named(environ):
        before, at, _ = environ[name].rpartition("@")
        user, _, password = before.rpartition("://")[2].partition(":")
        for text in (password, unquote(password)) if password else (user, unquote(user)):
            if at and len(text) > 2:
                yield text
