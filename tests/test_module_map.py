"""docs/modules.md is the map of all modules, and the documents name only what exists."""

from __future__ import annotations

import ast
import os
import re
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

HEAD = """# Modules

Each module with the first line of its docstring, by room. `tests/test_module_map.py` holds this
page, and `UPDATE_SNAPSHOT=1` in front of pytest writes it. [architecture.md](architecture.md) says
how the rooms work together.
"""
NAMED = re.compile(r"`((?:[a-z_]+/)+[a-z_.]*|[a-z_]+\.py)`")
METHODS = re.compile(r"(?:tools/list|tasks/get|tasks/cancel|notifications/tasks)")  # MCP's


def first_line(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]


def rooms(root: Path) -> dict[Path, dict[str, str]]:
    """By folder, the first line of each module's docstring."""
    package = root / "hostup_mcp"
    found: dict[Path, dict[str, str]] = defaultdict(dict)
    for path in sorted(package.rglob("*.py")):
        found[path.parent.relative_to(root)][path.stem] = first_line(path)
    return dict(sorted(found.items()))


def module_map(root: Path) -> str:
    parts = [HEAD]
    for folder, modules in rooms(root).items():
        lines = [f"- `{name}`: {line}" for name, line in modules.items() if name != "__init__"]
        parts.append("\n".join([f"## `{folder}/`", "", modules["__init__"], "", *lines, ""]))
    return "\n".join(parts)


def test_the_map_is_made_from_the_docstrings(root: Path) -> None:
    """`UPDATE_SNAPSHOT=1` writes it anew, for a change that is meant."""
    page = root / "docs/modules.md"
    if os.environ.get("UPDATE_SNAPSHOT"):
        page.write_text(module_map(root))
    assert page.read_text() == module_map(root)


def test_every_docstring_begins_with_a_whole_sentence(root: Path) -> None:
    for folder, modules in rooms(root).items():
        for name, line in modules.items():
            assert line.endswith("."), (folder, name)


def documents(root: Path) -> list[Path]:
    return [root / "docs/architecture.md", *sorted((root / "docs/decisions").glob("*.md"))]


def exists(root: Path, name: str) -> bool:
    places = (root / name, root / "hostup_mcp" / name, root / "hostup_mcp" / f"{name}.py")
    return bool(METHODS.fullmatch(name)) or any(place.exists() for place in places)


def test_every_module_and_test_that_the_documents_name_exists(root: Path) -> None:
    named = [
        (document.name, name)
        for document in documents(root)
        for name in NAMED.findall(document.read_text())
    ]
    assert len(named) > 90
    assert not [where for where in named if not exists(root, where[1])]


def test_the_table_of_rooms_is_the_import_contract(root: Path) -> None:
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = " | ".join(contracts["contracts"][0]["layers"]).split(" | ")
    table = re.findall(r"^\| `(\w+)` \|", documents(root)[0].read_text(), re.MULTILINE)
    assert table[: len(layers) - 1] == [layer for layer in layers if layer != "__main__"]
    assert len(layers) - 1 <= 13


@pytest.mark.parametrize("section", ["Context", "Decision", "Consequences", "Held by"])
def test_every_decision_has_its_sections(root: Path, section: str) -> None:
    for document in documents(root)[1:]:
        if document.name != "README.md":
            text = document.read_text()
            assert f"\n## {section}\n\n" in text, document.name
            assert "`tests/" in text.partition("## Held by")[2], document.name


def test_the_index_of_decisions_lists_each_with_its_title(root: Path) -> None:
    folder = root / "docs/decisions"
    files = [path for path in sorted(folder.glob("*.md")) if path.name != "README.md"]
    assert [path.name[:3] for path in files] == [f"{n:03}" for n in range(1, len(files) + 1)]
    titles = [re.sub(r"^# \d+\. ", "", path.read_text().split("\n")[0]) for path in files]
    listed = re.findall(r"^- \[(.+)\]\((.+)\)$", (folder / "README.md").read_text(), re.MULTILINE)
    assert listed == list(zip(titles, [path.name for path in files], strict=True))
