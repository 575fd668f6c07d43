"""No accepted form of `ps` shows an environment: accepted ones are run beside a marked process."""

from __future__ import annotations

import itertools
import os
import random
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from hostup_mcp.policy.models import Ps
from hostup_mcp.policy.preset import Preset
from hostup_mcp.policy.shell.tree import Word
from tests.conftest import missing

PRESET = Preset("diagnostics")
RUNS = int(os.environ.get("PS_SHAPES", "350"))
"""How many accepted forms are run; with PS_SHAPES=5000 it takes a minute."""

LETTERS = "axuwfjlvsrhcnmLSHTXeEgkNopqtUZ"
"""Letters that ps knows in one of its styles, among them those the policy leaves out."""


@dataclass(frozen=True)
class Marked:
    """A process with a secret in its environment."""

    pid: int
    secret: str
    argument: str


@pytest.fixture(scope="module")
def marked() -> Iterator[Marked]:
    if not shutil.which("ps"):
        missing("ps (Debian: procps)")
    secret, argument = secrets.token_hex(12), f"86{random.SystemRandom().randint(100, 999)}"
    # A process of its own program: its environment is what it was started with.
    started = subprocess.Popen(
        ["sleep", argument], env={"PATH": "/usr/bin:/bin", "SECRET_MARKER": secret}
    )
    try:
        deadline = time.monotonic() + 30
        while argument not in shown("ps", "ax", "-ww"):
            assert time.monotonic() < deadline, "the marked process does not appear"
        yield Marked(started.pid, secret, argument)
    finally:
        started.kill()
        started.wait()


def shown(*argv: str) -> str:
    """What a command prints, with lines as long as they get."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "COLUMNS": "9999"}
    ran = subprocess.run(argv, env=environment, capture_output=True, timeout=30, check=False)
    return (ran.stdout + ran.stderr).decode("utf-8", "replace")


def spec() -> Ps:
    command = PRESET.commands["ps"]
    assert isinstance(command, Ps)
    return command


def accepts(*words: str) -> bool:
    return PRESET.check([Word("ps"), *(Word(word) for word in words)]) is None


def single_forms(pid: int) -> list[tuple[str, ...]]:
    """Every option of the policy by itself, with values that go through all its columns."""
    ps = spec()
    columns = ("pid,args", "cmd", "pid,ppid,user,%cpu,%mem,command:500", "args=", "pid=,cmd=E")
    columns += ("comm,ucmd,exe,fname,label,supgrp,cgroup,unit", "user:20,stat,wchan:9,etime,args")
    values = {"ints": (str(pid), f"1,{pid}"), "word": ("sleep",), "users": ("root", "0")}
    values |= {"ps_keys": ("-%mem", "pid", "-rss,+pid", "args"), "width": ("9", "2000")}
    forms: list[tuple[str, ...]] = [(), *((word,) for word in (*ps.clusters, *ps.aux, *ps.plain))]
    forms += [(name, value) for name in ps.out for value in columns]
    for name, kind in {**ps.select, **ps.modifiers}.items():
        forms += [(name, value) for value in values[kind]]
        forms += [(f"{name}={value}",) for value in values[kind] if name.startswith("--")]
    return forms


def words_of_letters() -> Iterator[tuple[str, ...]]:
    """Every word of up to three letters, with and without a dash, and longer ones at random."""
    rng = random.Random("ps")  # noqa: S311 - the same words every time
    for length in (1, 2, 3):
        for letters in itertools.product(LETTERS, repeat=length):
            yield ("".join(letters),)
            yield (f"-{''.join(letters)}",)
    for _ in range(4000):
        letters = "".join(rng.choices(LETTERS[:18] if rng.random() < 0.8 else LETTERS, k=5))
        yield (letters[: rng.randint(4, 5)] + letters * rng.randint(0, 1),)


def joined(singles: list[tuple[str, ...]], letters: list[tuple[str, ...]]) -> Iterator[list[str]]:
    """Two and three of the forms after each other, in every order."""
    rng = random.Random("joined")  # noqa: S311 - the same forms every time
    few = [*singles, *rng.sample(letters, 30), ("e",), ("-e", "e"), ("axe",), ("-E",), ("E",)]
    for two in itertools.product(few, repeat=2):
        yield [*itertools.chain.from_iterable(two)]
    for _ in range(6000):
        yield [*itertools.chain.from_iterable(rng.choices(few, k=3))]


def test_no_accepted_form_shows_an_environment(marked: Marked) -> None:
    singles = single_forms(marked.pid)
    letters = [words for words in words_of_letters() if accepts(*words)]
    alone = [words for words in singles if accepts(*words)]
    several = [tuple(words) for words in joined(singles, letters) if accepts(*words)]
    assert len(letters) > 3000
    assert len(alone) > 50
    assert len(several) > 1000
    rng = random.Random("sample")  # noqa: S311 - the same sample every time
    rest = max(RUNS - len(alone), 100) // 2
    chosen = [*alone, *rng.sample(letters, rest), *rng.sample(several, rest)]
    with_marker = 0
    for words in chosen:
        out = shown("ps", *words)
        assert marked.secret not in out, words
        assert "SECRET_MARKER" not in out, words
        with_marker += marked.argument in out
    # The marked process is there to be seen: what is not shown is its environment.
    assert with_marker > len(chosen) // 4


UNSAFE = (
    "axe", "e", "auxe", "auxeww", "axeww", "aux e", "-aux e", "-ef e", "-e e", "e -p {pid}",
    "aux -o args e", "axwwe", "-p {pid} e", "-o pid,args ae", "a -e e", "eax",
)  # fmt: skip


@pytest.mark.parametrize("text", UNSAFE)
def test_what_shows_an_environment_is_refused(text: str, marked: Marked) -> None:
    words = text.format(pid=marked.pid).split(" ")
    assert not accepts(*words)


def test_an_unsafe_form_would_be_found_out(marked: Marked) -> None:
    found = [
        text
        for text in UNSAFE
        if marked.secret in shown("ps", *text.format(pid=marked.pid).split(" "))
    ]
    assert {"axe", "axeww", "auxe", "e -p {pid}"} <= {*found}
