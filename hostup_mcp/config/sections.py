"""The parts that sections of the settings share: secrets, paths, files that are read whole."""

from __future__ import annotations

import errno
import os
import re
import selectors
import stat
import time
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

_VARIABLE: Final = re.compile(
    r"\$\{|\$\(|\{\{|`|^\$(?:env:)?[A-Za-z_]\w*(?:$|[/\\])|%[A-Za-z_]\w*%|^\{[A-Za-z]+:[^}]*\}"
)
_LOOKS_LIKE_PATH: Final = re.compile(r"(?:~[^/\\]*|\.{1,2})?[/\\]|[A-Za-z]:[/\\]")
# What a shell makes of <(COMMAND). The first three are the client's: its protocol, and the log.
_DESCRIPTOR: Final = re.compile(r"/(?:dev|proc/self|proc/thread-self)/fd/([3-9]|[1-9][0-9]{1,6})")
# A person may have to unlock the keyring that the writer asks.
_PIPE_SECONDS: Final = 30.0
HIDDEN: Final = "(not shown)"
_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class Section(BaseModel):
    """A section of the settings: frozen, without unknown keys."""

    # Inputs stay out of pydantic's errors: they may be a secret.
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )


def plain_key(key: SecretStr) -> SecretStr:
    """The secret without blanks around it. Raises `ValueError` if it is not plain ASCII."""
    text = key.get_secret_value().strip()
    # A header accepts nothing else, and the HTTP library's error would quote the secret.
    if not text or not all("!" <= character <= "~" for character in text):
        raise ValueError("not a key")
    return SecretStr(text)


def holds_variable(text: str) -> bool:
    """Whether a text holds a variable, such as `${HOME}`, that was not filled in."""
    return _VARIABLE.search(text.strip()) is not None


def user_path(text: str) -> str:
    """The path with `~` resolved. Raises `ValueError` if the text is not a path."""
    if "\0" in text or not text.strip() or (holds_variable(text) and not Path(text).exists()):
        raise ValueError("not a path")
    try:
        return str(Path(text).expanduser())
    except RuntimeError:  # ~ of a user who does not exist
        raise ValueError("not a path") from None


def shown_path(text: str) -> str:
    """A path for a message; hidden if it may be a misplaced secret."""
    return text if _LOOKS_LIKE_PATH.match(text) or os.path.lexists(text) else HIDDEN


def read_file(path: Path, most: int) -> bytes:
    """The content of a regular file, at most `most` + 1 bytes of it.

    Nothing but a regular file is opened: opening a pipe may block, and opening a device may have
    effects.

    Raises:
        OSError: it is not a file, or cannot be read; `strerror` says why.
    """
    require_file(path)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    with open(os.open(path, flags | getattr(os, "O_CLOEXEC", 0)), "rb") as file:  # noqa: PTH123
        _require_regular(os.fstat(file.fileno()))
        return file.read(most + 1)


def read_secret_file(path: Path, most: int) -> bytes:
    """As `read_file`; also what comes through an open pipe, as a shell hands it over.

    It can be read once only. Who writes to it has half a minute.

    Raises:
        OSError: it cannot be read.
    """
    pipe = open_pipe(path)
    return read_file(path, most) if pipe is None else _read_pipe(pipe, most)


def open_pipe(path: Path) -> int | None:
    """The descriptor of a pipe that a path stands for; None if it stands for anything else."""
    found = _DESCRIPTOR.fullmatch(str(path))
    try:
        is_pipe = found is not None and stat.S_ISFIFO(os.fstat(int(found[1])).st_mode)
    except OSError:
        return None  # there is no such descriptor
    return int(found[1]) if found is not None and is_pipe else None


def _read_pipe(descriptor: int, most: int) -> bytes:
    content = b""
    deadline = time.monotonic() + _PIPE_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while len(content) <= most:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                reason = f"Who writes to the pipe did not end within {_PIPE_SECONDS:.0f} seconds"
                raise OSError(errno.ETIMEDOUT, reason)
            piece = os.read(descriptor, most + 1 - len(content))
            if not piece:
                break
            content += piece
    return content


def require_file(path: Path) -> None:
    """Raise `OSError` if a path does not name a regular file. Nothing is opened."""
    _require_regular(path.stat())


def _require_regular(found: os.stat_result) -> None:
    for is_kind, kind in _KINDS:
        if is_kind(found.st_mode):
            raise OSError(errno.EINVAL, f"It is {kind}, not a file")


def is_absent(path: Path) -> bool:
    """Whether a path certainly does not exist; False if it cannot be reached or read.

    A broken link counts as something, because its target may be on a disk that is not mounted. That
    also holds for a broken link in the place of a parent folder.
    """
    at = path
    while True:
        try:
            at.lstat()
        except FileNotFoundError:
            if at == at.parent:
                return True
            at = at.parent
        except (OSError, ValueError):
            return False  # unknown: it cannot be reached or read
        else:
            break
    try:
        return at != path and stat.S_ISDIR(at.stat().st_mode)
    except OSError:
        return False


PathText = Annotated[str, Field(min_length=1), AfterValidator(user_path)]
"""A path in the settings."""
