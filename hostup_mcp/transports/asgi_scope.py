"""Reads an HTTP request's ASGI scope: header values, the path as sent, the principal."""

from __future__ import annotations

from typing import cast

from starlette.authentication import BaseUser
from starlette.types import Scope


def headers(scope: Scope, name: bytes) -> list[str]:
    """All values of a header; `name` is in lower case."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def sent_path(scope: Scope) -> str:
    """The path as the client sent it, not decoded."""
    return scope["raw_path"].decode("ascii", "replace")


def principal(scope: Scope) -> str:
    """Who sent an authenticated request."""
    return cast("BaseUser", scope["user"]).display_name
