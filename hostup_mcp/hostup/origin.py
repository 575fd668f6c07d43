"""The one origin that gets the requests, and with them the API key."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_NETLOC = re.compile(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")


def parse_origin(url: str) -> str:
    """The scheme, host and port of a URL that is a secure origin and nothing more.

    Args:
        url: `https://HOST[:PORT]`, or `http://` on a loopback address; a slash may follow.

    Raises:
        ValueError: the URL is anything else.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https" or (
        parts.scheme == "http" and is_loopback(parts.hostname or "")
    )
    bare = parts.path in ("", "/") and not (parts.query or parts.fragment)
    # Reading `port` raises `ValueError` if it is out of range.
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
