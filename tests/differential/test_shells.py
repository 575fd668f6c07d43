"""Every shell runs exactly what was judged: commands made at random, and the harness itself."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from hostup_mcp.policy.shell.grammar import parse
from hostup_mcp.policy.shell.tree import CommandLine, SyntaxRefusal
from tests.conftest import missing
from tests.differential.__main__ import main
from tests.differential.campaign import campaign
from tests.differential.commands import HOSTILE_WORDS, Commands
from tests.differential.oracle import expand
from tests.differential.shells import SHELLS, Runner, installed
from tests.differential.world import HOSTILE_FILES, World, read_records
from tests.everything import ALL

COMMANDS = 750 if ALL else 250
"""For each shell; `python -m tests.differential` runs as many as one likes."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.build(tmp_path)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_runs_what_was_judged(shell: str) -> None:
    if not installed(shell):
        missing(shell)
    # The same commands on every run of CI; elsewhere new ones.
    seed = "ci" if os.environ.get("CI") else secrets.token_hex(4)
    figures = campaign(COMMANDS, [shell], seed)
    assert not figures.divergences, "\n".join(map(str, figures.divergences[:10]))
    assert figures.accepted == figures.shell_runs == COMMANDS
    assert figures.alone >= COMMANDS // 100
    assert figures.accepted > figures.generated / 2


def test_what_is_made_is_varied_and_mostly_accepted(world: World) -> None:
    source = Commands("variety", world)
    refusals: Counter[str] = Counter()
    lines: list[CommandLine] = []
    for _ in range(6000):
        match parse(source.text()):
            case SyntaxRefusal(code=code):
                refusals[code] += 1
            case line:
                lines.append(line)
    assert len(lines) > 3000
    assert refusals.keys() >= {
        "assignment", "background", "brace", "bracket", "command_missing", "command_word",
        "comment", "control_character", "escape_refused", "exclamation_mark", "glob_refused",
        "here_document", "leading_equals", "line_break", "negation", "non_ascii",
        "operator_refused", "parenthesis", "redirection_first", "redirection_refused",
        "reserved_word", "substitution", "tilde", "unclosed_quote", "variable",
    }  # fmt: skip
    stages = [stage for line in lines for stage in line.stages]
    assert {stage.operator for stage in stages} == {None, "|", "&&", "||", ";"}
    assert {redirection for stage in stages for redirection in stage.redirections} == {
        "2>&1", ">&2", ">/dev/null", "2>/dev/null", "</dev/null",
    }  # fmt: skip
    words = [word for stage in stages for word in stage.words]
    assert {word.text for word in words} >= {"", *HOSTILE_WORDS}
    found = {
        path.rpartition("/")[2] for word in words if word.is_glob for path in expand(word.text)
    }
    assert found >= {*HOSTILE_FILES} - {".hidden"}


def test_the_same_seed_makes_the_same_commands(world: World, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    other = World.build(tmp_path / "elsewhere")
    first, second = Commands("7", world), Commands("7", other)
    for _ in range(200):
        made = second.text().replace(str(other.root), str(world.root))
        assert first.text() == made


def test_an_emitter_that_forgets_the_quotes_is_found_out() -> None:
    def unquoted(_text: str, line: CommandLine) -> str:
        parts = [(stage.operator or "", *stage.argv) for stage in line.stages]
        return " ".join(word for part in parts for word in part)

    if not installed("dash"):
        missing("dash")
    figures = campaign(100, ["dash"], "unquoted", emitter=unquoted)
    assert len(figures.divergences) > 20
    problems = "\n".join(divergence.problem for divergence in figures.divergences)
    for sign in ("did not run", "; ran", "exit status", "said"):
        assert sign in problems


def test_the_command_line_prints_figures_and_fails_on_a_divergence() -> None:
    if not installed("dash"):
        missing("dash")
    arguments = ["--commands", "200", "--shells", "dash", "--seed", "3"]
    ran = CliRunner().invoke(main, arguments)
    assert ran.exit_code == 0, ran.output
    assert re.search(r"seed 3, dash: \d+ generated, 200 accepted .* 0 divergences", ran.output)
    # Texts sent as they came: dash reads &> as & and >, which is why it is rewritten.
    ran = CliRunner().invoke(main, [*arguments, "--as-written"])
    assert ran.exit_code == 1, ran.output
    texts = re.findall("^  text (.*)$", ran.output, re.MULTILINE)
    assert texts
    assert all("&>" in text for text in texts)


def test_a_tree_that_cannot_be_emitted_is_a_divergence() -> None:
    refusal = SyntaxRefusal("not_rebuilt", "It cannot be rebuilt.", 0, 1, "")
    made = iter([refusal])
    figures = campaign(3, [], "any", emitter=lambda text, _line: next(made, text))
    assert [divergence.problem for divergence in figures.divergences] == [refusal.message]


def test_a_recorder_records_exactly_what_it_is_given(world: World) -> None:
    log = world.root / "log"
    given = (*HOSTILE_WORDS, *HOSTILE_FILES, "", "\n", "a\n", "\x01", "\u4ebd", "-n", "\\c", "%b")
    for name, status in (("c1", 0), ("d1", 1)):
        program = str(world.path_folder / name)
        ran = subprocess.run([program, *given], env=world.environment(log, 7), check=False)
        assert ran.returncode == status
        assert read_records(log) == {7: [(program, *given)]}
        log.unlink()


@pytest.mark.parametrize("shell", SHELLS)
def test_what_runs_on_after_the_shell_has_ended_counts(shell: str, world: World) -> None:
    if not installed(shell):
        missing(shell)
    recorder = world.path_folder / "c1"
    late = recorder.with_name("c2")
    late.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin sleep 0.2\nexec {recorder} late\n")
    ran = Runner(world, shell).run(shell, "c2 >/dev/null 2>/dev/null | c1")
    assert sorted(ran.records[0]) == [(str(recorder),), (str(recorder), "late")]
