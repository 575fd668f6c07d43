"""Programs that are scripts run only what was judged, and each of them is known to be one."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hostup_mcp.policy.judge import ApprovedCommand, Policy, Refusal
from hostup_mcp.policy.models import Getopt, Shapes
from hostup_mcp.policy.policies import Policies, PolicyData
from hostup_mcp.policy.preset import preset_data
from hostup_mcp.policy.programs.script_words import check_script_words
from hostup_mcp.policy.shell.tree import Word
from hostup_mcp.policy.traits import Script
from tests.conftest import missing
from tests.differential.scripts import (
    EXPECTED,
    FILE_NAMES,
    INTERPRETERS,
    ScriptLines,
    ScriptWorld,
    argv_of,
    problem,
)
from tests.everything import ALL

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
COMMANDS = preset_data().command
LINES = 400 if ALL else 25
"""Lines that are run, for each script; in turn by each interpreter."""


def policy_for(readable: str) -> Policy:
    return Policies(PolicyData(readable=(readable,))).default


@pytest.fixture
def world(tmp_path: Path) -> ScriptWorld:
    return ScriptWorld(tmp_path, policy_for)


def script_of(name: str) -> str:
    """The path of a program, if it is a script on this system; else empty."""
    found = shutil.which(name, path=PATH)
    return found if found and Path(found).read_bytes()[:2] == b"#!" else ""


def test_every_script_of_this_system_is_known_as_one() -> None:
    scripts = {name for name, entry in COMMANDS.items() if not entry.builtin and script_of(name)}
    assert not {name for name in scripts if COMMANDS[name].script is None}
    getopts = {name for name in scripts if isinstance(COMMANDS[name], Getopt)}
    assert getopts <= {*EXPECTED}, "not run with recorders"


@dataclass
class Figures:
    """What a campaign found."""

    run: int = 0
    refused: int = 0
    options: int = 0
    problems: list[str] = field(default_factory=list[str])


def try_lines(name: str, script: str, world: ScriptWorld, policy: Policy) -> Figures:
    """Run made-up lines that a policy lets through."""
    # The same lines on every run of CI, and where they are few; elsewhere new ones.
    seed = "ci" if os.environ.get("CI") or not ALL else secrets.token_hex(4)
    entry = COMMANDS[name]
    assert isinstance(entry, Getopt)
    lines = ScriptLines(seed, name, entry, world)
    figures = Figures()
    while figures.run < LINES:
        text = lines.text()
        approved = policy.judge(text)
        if not isinstance(approved, ApprovedCommand):
            figures.refused += 1
            continue
        words = argv_of(approved)
        shell, kind = shell_for(figures.run), figures.run % 4
        found = problem(name, words, world.run(script, words, shell, kind))
        if found:
            figures.problems.append(f"seed {seed}, {shell}, kind {kind}, {text}: {found}")
        figures.run += 1
        figures.options += any(word.startswith("-") for word in words)
    return figures


def shell_for(number: int) -> str:
    there = [shell for shell in INTERPRETERS if shutil.which(shell)]
    return there[number // 4 % len(there)]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_script_runs_only_what_was_judged(name: str, world: ScriptWorld) -> None:
    script = script_of(name)
    if not script:
        missing(f"{name} as a script")
    figures = try_lines(name, script, world, world.policy)
    assert not figures.problems, "\n".join(figures.problems[:5])
    assert figures.refused > LINES // 10
    assert figures.options > LINES // 4 or name == "zcat"


@pytest.mark.parametrize("name", EXPECTED)
def test_whatever_a_pattern_matches_is_only_a_name(name: str, world: ScriptWorld) -> None:
    script = script_of(name)
    if not script:
        missing(f"{name} as a script")
    pattern = "" if name == "zcat" else "-i 'a b' "
    approved = world.policy.judge(f"{name} {pattern}{world.files}/*.gz")
    assert isinstance(approved, ApprovedCommand)
    words = argv_of(approved)
    assert len([word for word in words if word[:1] == "/"]) == len(FILE_NAMES)
    for number in range(0, 16 if ALL else 8, 1 if ALL else 3):
        ran = world.run(script, words, shell_for(number), number % 4)
        assert not problem(name, words, ran), shell_for(number)


def test_apachectl_hands_its_words_on(world: ScriptWorld) -> None:
    """Debian's, which is not installed everywhere; its words are literal, whatever it is."""
    script = script_of("apache2ctl")
    entry = COMMANDS["apache2ctl"]
    assert isinstance(entry, Shapes)
    for words in entry.shapes:
        assert check_script_words(Script(), [Word(word) for word in words]) is None
        if script:
            ran = world.run(script, words)
            handed_on = ["-t"] if words == ("configtest",) else words
            assert ("httpd", *handed_on) in ran.runs
            assert {argv[0] for argv in ran.runs} <= {"httpd", "id"}


# ------------------------------------------------------------------ the test can fail

ESCAPE = ("-ex'", "-e;d1>made;", "-ey'")
"""gzip 1.3.12 to 1.14: an option that ends in one quote goes into eval unescaped."""

FAULTY = {
    "quotes": """args=; for i; do args="$args '$i'"; done; eval "gzip -cd$args"\n""",
    "blanks": "exec gzip -cd $*\n",
    "names": """for i; do echo x | sed "s|^|$i:|" >/dev/null; done; exec gzip -cd "$@"\n""",
}


def without_the_rule(world: ScriptWorld, name: str) -> Policy:
    entry = COMMANDS[name]
    policy = policy_for(f"{world.files}/**")
    policy.preset.commands = {**COMMANDS, name: entry.model_copy(update={"script": None})}
    return policy


@pytest.mark.parametrize("fault", FAULTY)
def test_a_faulty_script_is_found_out(fault: str, world: ScriptWorld) -> None:
    script = world.root / "zcat"
    script.write_text(FAULTY[fault])
    assert try_lines("zcat", str(script), world, world.policy).problems


def test_without_the_rule_the_escape_is_found_out(world: ScriptWorld) -> None:
    script = script_of("zgrep")
    if not script:
        missing("zgrep as a script")
    if r"(*\'?*)" not in Path(script).read_text():
        pytest.skip("this zgrep has been mended")
    policy = without_the_rule(world, "zgrep")
    line = f"zgrep {shlex.join(ESCAPE)} {world.files}/plain.gz"
    approved = policy.judge(line)
    assert isinstance(approved, ApprovedCommand)
    ran = world.run(script, argv_of(approved))
    assert ran.made == [str(world.working / "made")]
    assert ("d1",) in ran.runs
    assert any(try_only_refused(script, world, policy))


def try_only_refused(script: str, world: ScriptWorld, without: Policy) -> Iterator[str]:
    """What goes wrong with made-up lines of zgrep that nothing but the rule refuses."""
    entry = COMMANDS["zgrep"]
    assert isinstance(entry, Getopt)
    lines = ScriptLines("fixed", "zgrep", entry, world)
    for _ in range(2000):
        text = lines.text()
        approved = without.judge(text)
        refusal = world.policy.judge(text)
        if isinstance(approved, ApprovedCommand) and isinstance(refusal, Refusal):
            words = argv_of(approved)
            if found := problem("zgrep", words, world.run(script, words)):
                yield f"{text}: {found}"
