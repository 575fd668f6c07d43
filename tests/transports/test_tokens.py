"""Token files: what is made, what is read, and whose a token is."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hostup_mcp.config.http import HttpSettings
from hostup_mcp.transports.errors import ServeError
from hostup_mcp.transports.tokens import find_tokens

TOKEN = "elsewhere-0123456789abcdef"
SWITCH = "--i-understand-remote-access"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n# nobody\n",
        "short",
        "name short",
        f"two names {TOKEN}",
        "å" * 20,
        f"local {TOKEN}",
        f"a:b {TOKEN}",
        f"a {TOKEN}\nb {TOKEN}",
        TOKEN * 10_000,
    ],
    ids=lambda content: content[:12],
)
def test_a_token_file_that_cannot_be_used(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ServeError) as refused:
        find_tokens(HttpSettings(token_file=str(path)), tmp_path)
    assert refused.value.code == "http_token_unusable"
    assert TOKEN not in str(refused.value)


def test_whose_token_it_is(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"ann {TOKEN}1\n  ann\t{TOKEN}2\n{TOKEN}3\n")
    path.chmod(0o600)
    tokens, texts = find_tokens(HttpSettings(token_file=str(path)), tmp_path)
    assert texts == [f"{TOKEN}{number}" for number in (1, 2, 3)]
    unnamed = hashlib.sha256(f"{TOKEN}3".encode()).hexdigest()[:16]
    whose = [tokens.principal(text) for text in (*texts, TOKEN, "", "\udcff")]
    assert whose == ["ann", "ann", f"token:{unnamed}", None, None, None]
    assert TOKEN not in repr(vars(tokens))


def test_a_made_token_stays(tmp_path: Path) -> None:
    first = find_tokens(HttpSettings(), tmp_path)[1]
    assert find_tokens(HttpSettings(), tmp_path)[1] == first
    assert [path.name for path in tmp_path.iterdir()] == ["http-token"]
    other = tmp_path / "other"
    other.mkdir()
    assert find_tokens(HttpSettings(), other)[1] != first


@pytest.mark.parametrize("refusal", [errno.EPERM, errno.ENOTSUP, errno.EMLINK])
def test_a_token_is_made_where_there_are_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    def refuse(*_paths: object, **_more: object) -> None:
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(os, "link", refuse)
    made = find_tokens(HttpSettings(), tmp_path)[1]
    assert find_tokens(HttpSettings(), tmp_path)[1] == made
    (file,) = tmp_path.iterdir()
    assert file.read_text() == f"{made[0]}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_no_draft_and_no_empty_token_is_left_where_nothing_can_be_written(tmp_path: Path) -> None:
    """With a limit of no bytes on files, as on a full disk."""
    program = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from hostup_mcp.config.http import HttpSettings\n"
        "from hostup_mcp.transports.tokens import find_tokens\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "find_tokens(HttpSettings(), Path(sys.argv[1]))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-B", "-c", program, str(tmp_path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "ServeError" in ended.stderr
    assert "it cannot be made: File too large" in ended.stderr
    assert list(tmp_path.iterdir()) == []
