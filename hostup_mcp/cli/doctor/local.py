"""Checks this machine: the policy, the journal, and the files that hold a secret."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hostup_mcp.cli.doctor.bounded import within
from hostup_mcp.cli.doctor.report import Check, Status
from hostup_mcp.config.http import HttpSettings
from hostup_mcp.config.loading import Settings
from hostup_mcp.config.sections import is_absent, open_pipe, read_file, shown_path
from hostup_mcp.execution.journal.errors import JournalError
from hostup_mcp.execution.journal.sqlite.inspection import JournalState, inspect
from hostup_mcp.policy.lint import lint
from hostup_mcp.policy.policies import Policies
from hostup_mcp.transports.errors import ServeError
from hostup_mcp.transports.remote_access import check_remote_access, is_exposed, shown_host
from hostup_mcp.transports.tls_certificate import tls_context
from hostup_mcp.transports.tokens import read_tokens, token_path

_SECONDS: Final = 10.0
_INTEGRITY_SECONDS: Final = 5.0
_MIB: Final = 1024 * 1024
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def local_checks(settings: Settings, policies: Policies) -> list[Check]:
    """All checks on this machine, each with a limit of ten seconds."""
    state = settings.state
    journal = state.path / "journal.sqlite3"
    made = [
        _bounded("policy", lambda: _policy(policies)),
        _bounded("journal", lambda: _journal(journal, state.keep_mebibytes)),
        _bounded("http_token", lambda: _http_token(settings)),
    ]
    http = settings.http
    if http.tls_cert is not None or http.tls_key is not None:
        made.append(_bounded("http_tls", lambda: _http_tls(http)))
    if is_exposed(http):
        made.append(_bounded("remote_access", lambda: _remote_access(http)))
    if settings.hostup.api_key_file is not None:
        key_file = Path(settings.hostup.api_key_file)
        made.append(_bounded("key_file", lambda: _private("key_file", key_file)))
    return made


def _bounded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return within(_SECONDS, check)
    except TimeoutError:
        return Check(
            name,
            "fail",
            f"The check did not end within {_SECONDS:.0f} seconds.",
            "Check the disk that its files are on.",
            "check_timeout",
        )


def _policy(policies: Policies) -> Check:
    found = lint(policies)
    label = policies.default.label
    if not found:
        return Check("policy", "ok", f"{label}, no findings.")
    first, *rest = found
    more = f" ({len(rest)} more)" if rest else ""
    return Check(
        "policy",
        "warn",
        f"{label}. {first.place}: {first.message}{more}",
        f"{first.advice} All findings: hostup-mcp policy lint",
        first.code,
    )


def _journal(path: Path, keep_mebibytes: float) -> Check:
    try:
        state = inspect(path, _INTEGRITY_SECONDS)
    except JournalError as error:
        return Check.of("journal", error)
    if state.mode is None:
        return Check("journal", "ok", f"{path} does not exist yet; the first start creates it.")
    found = f"{path}: {_described(state, keep_mebibytes)}."
    if state.mode & _OTHERS:
        return _open_to_others("journal", path, state.mode, "warn")
    return Check("journal", "ok", found)


def _described(state: JournalState, keep_mebibytes: float) -> str:
    size = f"{state.size_bytes / _MIB:.1f} MiB (at most {keep_mebibytes:g} MiB of output)"
    condition = "sound" if state.was_checked else "too large to check it for damage in time"
    return f"{condition}, {size}, {state.unfinished} commands without a result yet"


def _http_token(settings: Settings) -> Check:
    http, state = settings.http, settings.state.path
    if http.uds is not None:
        return Check("http_token", "ok", "Not used: access to the Unix socket is by file mode.")
    path = token_path(http, state)
    if path is None:
        found = Check("http_token", "ok", "Set by HOSTUP_MCP_HTTP_TOKEN or http.token.")
    elif http.token_file is None and is_absent(path):
        found = f"{path} does not exist yet; serving over HTTP creates it."
        return Check("http_token", "ok", found)
    else:
        found = _private("http_token", path)
        # The server does not replace the operator's own empty file; its parser says what to do.
        to_remake = found.code == "file_empty" and http.token_file is None
        if found.code == "file_unreadable" or to_remake:
            return found
    try:
        read_tokens(http, state)
    except ServeError as error:
        return Check.of("http_token", error)
    return found


def _http_tls(http: HttpSettings) -> Check:
    try:
        tls_context(http)
    except ServeError as error:
        return Check.of("http_tls", error)
    return Check("http_tls", "ok", f"{http.tls_cert} and its key match.")


def _remote_access(http: HttpSettings) -> Check:
    try:
        check_remote_access(http)
    except ServeError as error:
        return Check.of("remote_access", error)
    return Check(
        "remote_access",
        "ok",
        f"Other machines can reach {shown_host(http.host)}, as configured.",
    )


def _private(name: str, path: Path) -> Check:
    """Whether a file with a secret exists, is not empty, and only its owner can use it."""
    if open_pipe(path) is not None:
        return Check(name, "ok", f"{path}: a pipe, which is read once.")
    try:
        is_empty = not read_file(path, 0)
        status = path.stat()
    except OSError as error:
        return Check(
            name,
            "fail",
            f"{shown_path(str(path))} cannot be read ({error.strerror}).",
            "Check who owns it.",
            "file_unreadable",
        )
    if is_empty:
        remake = "Remove it; the server creates a new one."
        advice = remake if name == "http_token" else "Write the key into it."
        return Check(name, "fail", f"{path} is empty.", advice, "file_empty")
    mode = stat.S_IMODE(status.st_mode)
    if mode & _OTHERS:
        return _open_to_others(name, path, mode, "fail" if name == "http_token" else "warn")
    return Check(name, "ok", f"{path}: mode {mode:04o}.")


def _open_to_others(name: str, path: Path, mode: int, status: Status) -> Check:
    return Check(
        name,
        status,
        f"Others than its owner can use {path} (mode {mode:04o}).",
        f"chmod 600 {shlex.quote(str(path))}",
        "file_open_to_others",
    )
