"""The one origin that requests, and with them the API key, go to."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_NETLOC = re.compile(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")


def parse_origin(url: str) -> str:
    """Scheme, host and port of a URL that is nothing more than an origin, and secure.

    Args:
        url: `https://HOST[:PORT]`, or `http://` on a loopback address; a slash may follow.

    Raises:
        ValueError: it is anything else.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https" or (
        parts.scheme == "http" and is_loopback(parts.hostname or "")
    )
    bare = parts.path in ("", "/") and not (parts.query or parts.fragment)
    # Reading `port` raises for one that is out of range.
    if not (secure and bare and _NETLOC.fullmatch(parts.netloc)) or parts.port == 0:
        raise ValueError("not an origin")
    return f"{parts.scheme}://{parts.netloc}"


def is_loopback(host: str) -> bool:
    """Whether a URL's host names this machine itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
