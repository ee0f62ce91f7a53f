"""Who may import whom: a light core, one direction between the packages, no cycles inside the core."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "matplotlib", "seaborn", "cvxpy", "clarabel", "transformers", "trl", "vllm", "mpmath")
ALLOWED = {
    "pessimism": {"pessimism"},
    "analysis": {"pessimism", "analysis"},
    "figures": {"pessimism", "analysis", "figures"},
    "llm": {"pessimism", "analysis", "figures", "llm"},
}
OURS = {*ALLOWED, "tests", "benchmarks"}


def modules(root: Path, package: str) -> dict[str, Path]:
    """Dotted name -> file of every module of a package."""
    found = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _statements(body: list[ast.stmt], *, lazy: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements; without `lazy` only those that run on import (no function bodies, no TYPE_CHECKING)."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not lazy:
            continue
        elif isinstance(node, ast.If) and not lazy and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _statements(node.orelse, lazy=lazy)
        else:
            for field in ("body", "orelse", "finalbody", "handlers", "cases"):
                yield from _statements(getattr(node, field, []), lazy=lazy)


def imported(name: str, path: Path, known: set[str], *, lazy: bool) -> set[str]:
    """Dotted names a module imports; `from p import m` counts as `p.m` where `p.m` is in `known`, else as `p`."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in _statements(ast.parse(path.read_text()).body, lazy=lazy):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            continue
        base = node.module or ""
        if node.level:
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*parents, base]).rstrip(".")
        found |= {f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names}
    return found


def upward(root: Path, package: str) -> list[str]:
    """Imports, lazy ones included, of packages of this repository that `package` may not know."""
    found = modules(root, package)
    return [
        f"{name} imports {target}"
        for name, path in found.items()
        for target in sorted(imported(name, path, set(found), lazy=True))
        if target.partition(".")[0] in OURS - ALLOWED[package]
    ]


def order(root: Path, package: str) -> list[str]:
    """Modules in an order in which each comes after what it imports; `CycleError` if there is none."""
    found = modules(root, package)
    graph = {name: imported(name, path, set(found), lazy=False) & set(found) for name, path in found.items()}
    return list(TopologicalSorter(graph).static_order())


def test_import_is_light() -> None:
    code = f"import sys, pessimism; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


@pytest.mark.parametrize("package", [name for name in ALLOWED if (ROOT / name).is_dir()])
def test_imports_go_one_way(package: str) -> None:
    assert upward(ROOT, package) == []


@pytest.mark.parametrize("package", [name for name in ALLOWED if (ROOT / name).is_dir()])
def test_no_cycles(package: str) -> None:
    assert set(order(ROOT, package)) == set(modules(ROOT, package))


def test_a_cycle_is_found(tmp_path: Path) -> None:
    (tmp_path / "pessimism").mkdir()
    (tmp_path / "pessimism" / "a.py").write_text("from pessimism import b\n")
    (tmp_path / "pessimism" / "b.py").write_text("def f():\n    import pessimism.a\n")
    assert order(tmp_path, "pessimism") == ["pessimism.b", "pessimism.a"]
    (tmp_path / "pessimism" / "b.py").write_text("try:\n    from .a import x\nexcept ImportError:\n    pass\n")
    with pytest.raises(CycleError):
        order(tmp_path, "pessimism")


def test_an_upward_import_is_found(tmp_path: Path) -> None:
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "a.py").write_text("import pessimism\ndef f():\n    from figures.style import rc\n")
    assert upward(tmp_path, "analysis") == ["analysis.a imports figures.style"]


def test_a_type_checking_import_is_no_cycle(tmp_path: Path) -> None:
    (tmp_path / "pessimism").mkdir()
    (tmp_path / "pessimism" / "a.py").write_text("from . import b\n")
    (tmp_path / "pessimism" / "b.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pessimism import a\n"
    )
    assert order(tmp_path, "pessimism") == ["pessimism.b", "pessimism.a"]
