"""Programs that are scripts: what may be given to one, by how it treats its words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hostup_mcp.policy.preset import preset_data
from hostup_mcp.policy.programs.script_words import check_script_words
from hostup_mcp.policy.shell.tree import Word
from hostup_mcp.policy.traits import Script

DOCS = Path(__file__).parents[1] / "docs" / "script_programs.md"
ZGREP = Script(words="quoted", hint="Write it otherwise.")
WHOLE = Script(words="whole")
EXPANDED = Script(words="expanded")
PLAIN = Script()


def misread(script: Script, *texts: str) -> int | None:
    """Which word is refused."""
    fault = check_script_words(script, [Word(text) for text in texts])
    return fault.index if fault else None


@pytest.mark.parametrize("text", ["x'", "'", "-e'", "-ex'", "-i'", "--", "-e x", "a\nb", "-e;id;"])
def test_what_is_handed_on_may_be_anything(text: str) -> None:
    assert misread(WHOLE, "-c", text) is None


@pytest.mark.parametrize(
    "text", ["a b", "a|b", '"x', "\\d", "$(id)", "`id`", ";id", "[0-9]*", "-", "--", "-A5", "-ex"]
)
def test_between_single_quotes_all_else_is_text(text: str) -> None:
    assert misread(ZGREP, "-c", text) is None


@pytest.mark.parametrize("text", ["x'", "'", "a'b", "-e'", "-ex'", "-e x", "-e;", "-e$x", "-e*"])
def test_nothing_ends_the_quotes_and_options_are_plain(text: str) -> None:
    assert misread(ZGREP, "-c", text) == 1


@pytest.mark.parametrize("text", ["", "a b", "a|b", "x'", "*", "\\", "$x", "~", "#", "(", "{a,b}"])
def test_a_script_of_another_kind_gets_plain_words_only(text: str) -> None:
    assert misread(PLAIN, "status", "sshd") is None
    assert misread(PLAIN, "status", text) == 1


@pytest.mark.parametrize("text", ["nginx*", "?", "~n", "*"])
def test_bare_in_a_text_a_word_may_become_names(text: str) -> None:
    assert misread(EXPANDED, "list", text) is None


@pytest.mark.parametrize(
    "text", ["", "a b", "a|b", "x'", "\\", "$x", "#", "(", "{a,b}", "[a]", "!"]
)
def test_bare_in_a_text_nothing_else_may_stand(text: str) -> None:
    assert misread(EXPANDED, "list", text) == 1


def test_a_script_of_another_kind_gets_no_names_from_the_shell() -> None:
    glob = Word("/var/log/*", is_glob=True)
    assert check_script_words(PLAIN, [glob]) is not None
    assert check_script_words(ZGREP, [glob]) is None


def test_the_refusal_says_what_to_write() -> None:
    fault = check_script_words(ZGREP, [Word("x'")])
    assert fault is not None
    assert (fault.code, fault.hint) == ("script_word", ZGREP.hint)


def test_the_table_has_every_script_and_how_it_is_judged() -> None:
    told: dict[str, set[str]] = {}
    for row in DOCS.read_text().splitlines():
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        if len(cells) == 7 and cells[0].startswith("`"):
            for name in re.findall(r"`([^`]+)`", cells[0]):
                told.setdefault(name, set()).add(cells[5].strip("`"))
    entries = preset_data().command.items()
    assert told == {name: {entry.script.words} for name, entry in entries if entry.script}
