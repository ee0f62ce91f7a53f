"""Who may import whom: a light core, one direction between packages and between their folders, no circles."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Set
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from analysis.imports import imported, modules, with_packages

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "matplotlib", "seaborn", "cvxpy", "clarabel", "transformers", "trl", "vllm", "mpmath")
ALLOWED = {
    "pessimism": {"pessimism"},
    "analysis": {"pessimism", "analysis"},
    "figures": {"pessimism", "analysis", "figures"},
    "llm": {"pessimism", "analysis", "figures", "llm"},
}
OURS = {*ALLOWED, "tests", "benchmarks"}
FILES = ""  # stands for the files beside the folders of a package; `__main__` is a layer of its own
LAYERS = {  # a folder may import from itself and from earlier layers, not from the others of its layer
    "pessimism": (
        {FILES},
        {"core"},
        {"closed_forms", "evaluation", "rollouts", "contrib"},
        {"fixed_point", "losses"},
        {"target", "trainers"},
        {"dynamics", "groups", "convex"},
        {"tokens"},
        {"diagnosis"},
        {"comparison"},
        {"advice"},
        {"cli"},
        {"__main__"},
    ),
    "llm": (
        {FILES},
        {"data"},
        {"models", "storage"},
        {"generation"},
        {"measurement", "evaluation"},
        {"training"},
        {"commands", "validation"},
        {"__main__"},
    ),
}
UNUSED = {"pessimism": {"contrib"}}  # folders that no other folder may import


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
    """Modules in an order in which each comes after what it imports; `CycleError` if there is none.

    What imports `a.b` imports the packages `a` and, if that is one, `a.b`, too: their `__init__.py` runs first.
    """
    found = modules(root, package)
    graph = {
        name: {part for one in imported(name, path, found, lazy=False) for part in with_packages(one)}
        & set(found) - {name}
        for name, path in found.items()
    }
    return list(TopologicalSorter(graph).static_order())


def folder(module: str, path: Path) -> str:
    """Name of the folder of its package that a module is in, `FILES` if in none, but `__main__` of `__main__.py`."""
    below = module.split(".")[1:]
    return below[0] if path.name == "__init__.py" or len(below) > 1 or below == ["__main__"] else FILES


def out_of_order(root: Path, package: str, layers: tuple[set[str], ...], unused: Set[str] = frozenset()) -> list[str]:
    """Imports between folders, lazy ones and those for type checkers included, that the layers do not allow."""
    found = modules(root, package)
    where = {name: folder(name, path) if name != package else FILES for name, path in found.items()}
    level = {name: number for number, layer in enumerate(layers) for name in layer}
    return [
        f"{name} imports {target}"
        for name, path in found.items()
        for target in sorted(imported(name, path, found, lazy=True) & set(found))
        if where[target] != where[name] and (level[where[target]] >= level[where[name]] or where[target] in unused)
    ]


def more_than_a_docstring(root: Path, package: str) -> list[str]:
    """Folders whose `__init__.py` holds more than a docstring."""
    inits = [path for path in modules(root, package).values() if path.name == "__init__.py"]
    bodies = {path: ast.parse(path.read_text()) for path in inits}
    return [
        str(path.parent.relative_to(root))
        for path, tree in bodies.items()
        if len(tree.body) != 1 or ast.get_docstring(tree) is None
    ]


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


def test_a_circle_through_a_package_is_found(tmp_path: Path) -> None:
    (tmp_path / "llm" / "deep").mkdir(parents=True)
    for name, text in (
        ("__init__", ""),
        ("a", "from llm.deep import b\n"),
        ("deep/__init__", ""),
        ("deep/b", "X = 1\n"),
    ):
        (tmp_path / "llm" / f"{name}.py").write_text(text)
    assert order(tmp_path, "llm")[-1] == "llm.a"
    for init in ("__init__", "deep/__init__"):
        file = tmp_path / "llm" / f"{init}.py"
        file.write_text("from llm import a\n")
        with pytest.raises(CycleError):
            order(tmp_path, "llm")
        file.write_text("")


@pytest.mark.parametrize("package", [name for name in LAYERS if (ROOT / name).is_dir()])
def test_folders_are_in_order(package: str) -> None:
    assert out_of_order(ROOT, package, LAYERS[package], UNUSED.get(package, set())) == []


def test_an_upward_import_between_folders_is_found(tmp_path: Path) -> None:
    layers = ({FILES}, {"low", "beside"}, {"high"}, {"__main__"})
    for name, text in (
        ("__init__", ""),
        ("ground", "import p.low\n"),
        ("__main__", "import p.high.c\n"),
        ("low/__init__", "X = 1\n"),
        ("low/a", "from p import ground\nfrom . import X\ndef f():\n    from p.high import c\n"),
        ("beside/b", "from p.low.a import f\n"),
        ("high/__init__", ""),
        ("high/c", "import p.low.a\nfrom p import beside\n"),
    ):
        file = tmp_path / "p" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    upwards = ["p.beside.b imports p.low.a", "p.ground imports p.low", "p.low.a imports p.high.c"]
    assert sorted(out_of_order(tmp_path, "p", layers)) == upwards
    assert sorted(out_of_order(tmp_path, "p", layers, {"low"})) == sorted([*upwards, "p.high.c imports p.low.a"])


@pytest.mark.parametrize("package", [name for name in ALLOWED if (ROOT / name).is_dir()])
def test_folders_export_nothing(package: str) -> None:
    assert more_than_a_docstring(ROOT, package) == ([package] if package == "pessimism" else [])


def test_an_export_of_a_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "p" / "deep").mkdir(parents=True)
    (tmp_path / "p" / "__init__.py").write_text('"""What it is."""\n')
    (tmp_path / "p" / "deep" / "__init__.py").write_text('"""What it is."""\n\nfrom p.deep.a import f\n')
    assert more_than_a_docstring(tmp_path, "p") == ["p/deep"]


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
