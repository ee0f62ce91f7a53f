"""Who may import whom: a light core, one direction between the packages, no cycles inside the core."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from analysis.imports import imported, modules

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "matplotlib", "seaborn", "cvxpy", "clarabel", "transformers", "trl", "vllm", "mpmath")
ALLOWED = {
    "pessimism": {"pessimism"},
    "analysis": {"pessimism", "analysis"},
    "figures": {"pessimism", "analysis", "figures"},
    "llm": {"pessimism", "analysis", "figures", "llm"},
}
OURS = {*ALLOWED, "tests", "benchmarks"}


def upward(root: Path, package: str) -> list[str]:
    """Imports, lazy ones included, of packages of this repository that `package` may not know."""
    found = modules(root, package)
    return [
        f"{name} imports {target}"
        for name, path in found.items()
        for target in sorted(imported(name, path, found, lazy=True))
        if target.partition(".")[0] in OURS - ALLOWED[package]
    ]


def order(root: Path, package: str) -> list[str]:
    """Modules in an order in which each comes after what it imports; `CycleError` if there is none."""
    found = modules(root, package)
    graph = {name: imported(name, path, found, lazy=False) & set(found) for name, path in found.items()}
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


def without_namesake(root: Path, package: str) -> list[str]:
    """Modules with a function or a class whose tests are not where their name says; `__main__` has test_main.py."""
    return [
        name
        for name, path in modules(root, package).items()
        if path.name != "__init__.py"
        and any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in ast.parse(path.read_text()).body)
        and not (root / "tests" / path.relative_to(root)).with_name(f"test_{path.stem.strip('_')}.py").is_file()
    ]


@pytest.mark.parametrize("package", [name for name in ALLOWED if (ROOT / name).is_dir()])
def test_every_module_has_a_test_file_of_its_name(package: str) -> None:
    assert without_namesake(ROOT, package) == []


def test_a_module_without_tests_is_found(tmp_path: Path) -> None:
    (tmp_path / "analysis" / "deep").mkdir(parents=True)
    (tmp_path / "tests" / "analysis").mkdir(parents=True)
    for name, text in (
        ("a", "X = 1\n"),
        ("b", "def f(): ...\n"),
        ("__main__", "def g(): ...\n"),
        ("deep/c", "class C: ...\n"),
    ):
        (tmp_path / "analysis" / f"{name}.py").write_text(text)
    (tmp_path / "tests" / "analysis" / "test_main.py").touch()
    assert without_namesake(tmp_path, "analysis") == ["analysis.b", "analysis.deep.c"]
