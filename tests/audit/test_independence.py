"""The second implementation knows the package by its public names alone, and the losses not even by those."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = sorted(HERE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Modules that a file imports anywhere, `a.b` for `from a import b` as well as `a`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HERE)))
def test_only_the_public_package_is_imported(path: Path) -> None:
    names = imported(path)
    assert not {name for name in names if name.startswith("pessimism.")}
    assert not {name for name in names if name.startswith("tests.") and not name.startswith("tests.audit")}
    assert "import_module" not in path.read_text(encoding="utf8").replace('"import_module"', "")


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in FILES
        if path.parent.name == "published" or path.name in ("harness.py", "programs.py", "audits.py")
    ],
    ids=lambda path: path.stem,
)
def test_what_is_published_imports_nothing_of_the_package(path: Path) -> None:
    assert not {name for name in imported(path) if name.partition(".")[0] == "pessimism"}
