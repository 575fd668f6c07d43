"""What stands around the words: the prologue, redirections, and names that are a shell's own."""

from __future__ import annotations

import dataclasses
import itertools
import re
import subprocess
from collections.abc import Callable

import pytest

from hostup_mcp.policy.shell.emit import PROLOGUE, emit_checked
from hostup_mcp.policy.shell.grammar import RESERVED_WORDS, parse
from hostup_mcp.policy.shell.tree import CommandLine, Stage, SyntaxRefusal, Word
from tests.conftest import missing
from tests.differential.campaign import problem
from tests.differential.commands import REDIRECTIONS, SHELL_WORDS, Commands
from tests.differential.oracle import predict
from tests.differential.shells import SHELLS, Runner, installed, shell_argv
from tests.differential.world import ABSOLUTE, SAYS, WHERE, World, exit_status

FEW_REDIRECTIONS = ("2>&1", "1>&2", ">/dev/null", "2>>/dev/null", "&>/dev/null", "< /dev/null")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.build(tmp_path_factory.mktemp("world"))


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    if not installed(request.param):
        missing(request.param)
    return request.param


def body(text: str) -> str:
    line = parse(text)
    assert isinstance(line, CommandLine), line
    sent = emit_checked(line)
    assert isinstance(sent, str), sent
    return sent


def test_the_prologue_sets_folder_path_and_pager(shell: str, world: World) -> None:
    where = world.at_home(WHERE)
    sent = PROLOGUE + body(f"{where} | {where} && {where}")
    ran = Runner(world, shell).run(shell, sent)
    found = (where, "/", "/usr/sbin:/usr/bin:/sbin:/bin", "cat", "cat", str(world.working))
    assert ran.records == {0: [found] * 3}
    assert (ran.status, ran.said) == (0, "")


def test_commands_run_alike_behind_the_prologue(shell: str, world: World) -> None:
    source, runner = Commands("prologue", world), Runner(world, shell)
    left = 25
    while left:
        line = parse(source.text())
        if isinstance(line, SyntaxRefusal):
            continue
        line = dataclasses.replace(line, stages=tuple(map(absolute(world), line.stages)))
        prediction = predict(line, world)
        if prediction is None:
            continue
        sent = emit_checked(line)
        assert isinstance(sent, str), sent
        assert not problem(prediction, runner.run(shell, PROLOGUE + sent)), sent
        left -= 1


def absolute(world: World) -> Callable[[Stage], Stage]:
    """A stage with a recorder that is found without PATH, of the same exit status."""
    by_status = {exit_status(path.rpartition("/")[2]): world.at_home(path) for path in ABSOLUTE}

    def changed(stage: Stage) -> Stage:
        first, *rest = stage.words
        path = by_status[exit_status(first.text.rpartition("/")[2])]
        return dataclasses.replace(stage, words=(Word(path), *rest))

    return changed


def test_redirections_lead_where_they_say(shell: str, world: World) -> None:
    pairs = [*itertools.product(FEW_REDIRECTIONS, repeat=2), *((one,) for one in REDIRECTIONS)]
    for redirections in pairs:
        sent = body(f"{world.at_home(SAYS)} {' '.join(redirections)}")
        ran = subprocess.run(
            shell_argv(shell, sent),
            env=world.environment(world.root / "log"),
            input=b"line\n",
            capture_output=True,
            check=False,
        )
        assert (ran.stdout.decode(), ran.stderr.decode()) == led(redirections), sent


def led(redirections: tuple[str, ...]) -> tuple[str, str]:
    """What comes out of stdout and of stderr, by what each redirection means."""
    streams = {"1": "out", "2": "err"}
    line = "line"
    for redirection in redirections:
        sign, sink, _ = redirection.partition("/dev/null")
        sign = sign.strip().replace(">>", ">")
        if not sink:
            to, _, source = sign.partition(">&")
            streams[to or "1"] = streams[source]
        elif sign in ("<", "0<"):
            line = ""
        elif sign == "&>":
            streams = {"1": "", "2": ""}
        else:
            streams[sign.rstrip(">") or "1"] = ""
    came: dict[str, str] = {"out": "", "err": "", "": ""}
    for number, name in (("1", "out"), ("2", "err")):
        came[streams[number]] += f"{name} {line}\n"
    return came["out"], came["err"]


def test_no_word_of_a_shells_syntax_names_a_program(shell: str, world: World) -> None:
    words = sorted({*RESERVED_WORDS, *SHELL_WORDS, "!", "[[", "{", "}"})
    ran = subprocess.run(
        shell_argv(shell, "\n".join(f"type '{word}'" for word in words)),
        env=world.environment(world.root / "log"),
        capture_output=True,
        text=True,
        check=False,
    )
    keywords = re.findall(r"^(\S+?):? .*(?:keyword|reserved)", ran.stdout, re.MULTILINE)
    assert {*keywords} >= {"if", "then", "while", "case", "{", "!"}
    for word in keywords:
        assert isinstance(parse(f"{word} c1"), SyntaxRefusal), word
