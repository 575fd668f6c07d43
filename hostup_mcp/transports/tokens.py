"""The bearer tokens of the settings or a file, and the principals they stand for."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hostup_mcp.config.http import HttpSettings
from hostup_mcp.config.key_faults import key_fault
from hostup_mcp.config.sections import is_absent, read_secret_file, shown_path
from hostup_mcp.execution.journal.records import LOCAL
from hostup_mcp.transports.errors import ServeError

TOKEN_FILE: Final = "http-token"  # noqa: S105 - a file name
"""The file in the state folder that holds the generated token."""
_FILE_MAX_BYTES: Final = 65_536
_LEAST_LENGTH: Final = 16
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_PLAIN: Final = re.compile(r"[!-~]+")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Token:
    principal: str
    digest: bytes


class Tokens:
    """The accepted tokens, as hashes only.

    Attributes:
        place: where they come from, as text for the operator.
    """

    def __init__(self, tokens: Sequence[tuple[str, str]], place: str) -> None:
        """Accept these tokens.

        Args:
            tokens: the name of each, empty for none, and its text.
            place: where they come from.
        """
        self.place = place
        self._tokens = [_Token(_principal(name, text), _digest(text)) for name, text in tokens]

    @property
    def principals(self) -> frozenset[str]:
        """Each principal that has a token."""
        return frozenset(token.principal for token in self._tokens)

    def principal(self, presented: str) -> str | None:
        """Whose token this is, or None. The time it takes does not depend on the token."""
        digest = _digest(presented)
        found: str | None = None
        for token in self._tokens:
            if hmac.compare_digest(digest, token.digest):
                found = token.principal
        return found


def find_tokens(settings: HttpSettings, state: Path) -> tuple[Tokens, list[str]]:
    """The tokens of the settings; without any, the one in the state folder, made if it is missing.

    Args:
        settings: the section `[http]`.
        state: the state folder, which exists.

    Returns:
        The tokens; and their texts, which the log must hide.

    Raises:
        ServeError: a token or file cannot be used, or the file cannot be made.
    """
    if settings.token is None and settings.token_file is None:
        _make(state / TOKEN_FILE)
    path = token_path(settings, state)
    if path is not None and _is_open_to_others(path):
        _logger.warning("%s can be read by other users; its mode should be 0600", path)
    tokens = read_tokens(settings, state)
    place = "http.token or HOSTUP_MCP_HTTP_TOKEN" if path is None else str(path)
    return Tokens(tokens, place), [text for _, text in tokens]


def token_path(settings: HttpSettings, state: Path) -> Path | None:
    """The file that holds the tokens; None if the settings hold the token itself."""
    if settings.token is not None:
        return None
    return Path(settings.token_file) if settings.token_file else state / TOKEN_FILE


def read_tokens(settings: HttpSettings, state: Path) -> list[tuple[str, str]]:
    """The name and text of each token that `find_tokens` would find; makes no file.

    Raises:
        ServeError: a token or file cannot be used, or is missing.
    """
    if settings.token is not None:
        text = settings.token.get_secret_value()
        if len(text) < _LEAST_LENGTH:
            raise _unusable("http.token", f"a token has fewer than {_LEAST_LENGTH} characters")
        if fault := key_fault(text):
            raise _unusable("http.token", fault)
        return [("", text)]
    return _read(token_path(settings, state) or state / TOKEN_FILE)


def _is_open_to_others(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & 0o077)
    except OSError:
        return False  # reading it will say why


def _make(path: Path) -> None:
    """Make the file with a new token, in one step, unless it exists."""
    if not is_absent(path):
        return  # whatever it is, it is read next, and refused if it is no file
    content = secrets.token_urlsafe(32) + "\n"
    draft = path.with_name(f"{TOKEN_FILE}.{secrets.token_hex(8)}")
    try:
        _write_new(draft, content)
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            raise
        except OSError:
            # Some file systems have no hard links (FAT, some mounts of containers). Then a server
            # that starts at this very moment can find the file empty, and stops with an error.
            _write_new(path, content)
        finally:
            draft.unlink()
    except FileExistsError:
        pass  # another server made it first
    except OSError as error:
        raise _unusable(str(path), f"it cannot be made: {error.strerror}") from None


def _write_new(path: Path, content: str) -> None:
    """Write a new file that only its user can read; leave no file if that fails."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123 - a descriptor
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink()
        raise


def _read(path: Path) -> list[tuple[str, str]]:
    try:
        content = read_secret_file(path, _FILE_MAX_BYTES)
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "it is no path"
        raise _unusable(shown_path(str(path)), f"it cannot be read: {reason}") from None
    if len(content) > _FILE_MAX_BYTES:
        raise _unusable(shown_path(str(path)), "it is too long")
    try:
        lines = content.decode("ascii").splitlines()
    except UnicodeDecodeError:
        raise _unusable(shown_path(str(path)), "it holds more than ASCII") from None
    tokens = [
        _parse(line, f"line {number}", path)
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not tokens:
        raise _unusable(shown_path(str(path)), "it holds no token")
    if len({text for _, text in tokens}) < len(tokens):
        raise _unusable(shown_path(str(path)), "it holds a token twice")
    return tokens


def _parse(line: str, where: str, path: Path) -> tuple[str, str]:
    *names, text = line.split()
    name = " ".join(names)
    if name and (not _NAME.fullmatch(name) or name == LOCAL):
        raise _unusable(shown_path(str(path)), f"{where} has a name that is not accepted")
    if not _PLAIN.fullmatch(text) or len(text) < _LEAST_LENGTH:
        reason = f"{where} has no token of {_LEAST_LENGTH} or more printable characters"
        raise _unusable(shown_path(str(path)), reason)
    if fault := key_fault(text):
        raise _unusable(shown_path(str(path)), f"{where}: {fault}")
    return name, text


def _unusable(place: str, reason: str) -> ServeError:
    return ServeError(
        "http_token_unusable",
        f"The HTTP token of {place} cannot be used ({reason}).",
        "Write one token, or lines of NAME TOKEN; `openssl rand -base64 32` makes one.",
    )


def _principal(name: str, text: str) -> str:
    return name or f"token:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
