"""The states in docs/architecture.md are those of the table that the journal goes by."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from hostup_mcp.execution.journal.records import GOES_TO

BLOCK = re.compile(r"```mermaid\nstateDiagram-v2\n.*?```\n", re.DOTALL)
STEP = re.compile(r"^\| `(\w+)` → `(\w+)` \|", re.MULTILINE)
STEPS = [(before, after) for before, following in GOES_TO.items() for after in following]


@pytest.fixture
def page(root: Path) -> Path:
    return root / "docs/architecture.md"


def diagram() -> str:
    ends = [(state, "[*]") for state, following in GOES_TO.items() if not following]
    steps = [("[*]", "intended"), *STEPS, *ends]
    lines = [f"    {before} --> {after}" for before, after in steps]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```", ""])


def test_the_diagram_is_made_from_the_table(page: Path) -> None:
    """`UPDATE_SNAPSHOT=1` writes it anew, for a change that is meant."""
    if os.environ.get("UPDATE_SNAPSHOT"):
        page.write_text(BLOCK.sub(lambda _: diagram(), page.read_text()))
    assert BLOCK.findall(page.read_text()) == [diagram()]


def test_each_step_of_the_table_has_its_reason_in_the_document(page: Path) -> None:
    assert STEP.findall(page.read_text()) == STEPS
