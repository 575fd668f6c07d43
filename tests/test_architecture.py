"""The rooms: who may import whom, and what stays in one place."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

HTTP = "hostup_mcp/hostup/http.py"


def modules(root: Path) -> dict[str, ast.Module]:
    return {
        str(path.relative_to(root)): ast.parse(path.read_text())
        for path in sorted((root / "hostup_mcp").rglob("*.py"))
    }


def imports(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_rooms_import_one_way(root: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        capture_output=True,
        text=True,
        cwd=root,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "0 broken" in ran.stdout


def test_only_one_module_knows_the_http_library(root: Path) -> None:
    users = [
        name
        for name, tree in modules(root).items()
        if any(module.split(".")[0] in ("httpx", "httpx2") for module in imports(tree))
    ]
    assert users == [HTTP]


def test_commands_are_started_in_one_place(root: Path) -> None:
    callers = [
        name
        for name, tree in modules(root).items()
        if any(isinstance(n, ast.Attribute) and n.attr == "start_command" for n in ast.walk(tree))
    ]
    assert callers == ["hostup_mcp/execution/starting.py"]


def test_nothing_prints_and_no_module_is_too_long(root: Path) -> None:
    for name, tree in modules(root).items():
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert "print" not in names, name
        assert len((root / name).read_text().splitlines()) <= 420, name


def test_every_dependency_has_its_reason(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    reasons = (root / "docs/dependencies.md").read_text()
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    for requirement in (item for group in groups for item in group):
        name = requirement.split(">")[0].split("=")[0]
        assert f"`{name}`" in reasons, name


@pytest.mark.parametrize("name", ["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"])
def test_the_usual_files_are_there(root: Path, name: str) -> None:
    assert (root / name).stat().st_size > 100
