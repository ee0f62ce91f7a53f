"""What is read of the imports of a module, and what is reached through them."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.imports import imported, modules, reached

SOURCES = {
    "a/__init__.py": "",
    "a/start.py": "import os\nfrom a import near\n\ndef f():\n    from b.deep.lazy import thing\n",
    "a/near.py": "from .beside import x\n",
    "a/beside.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import b.typed\n",
    "a/unrelated.py": "import a.start\n",
    "b/__init__.py": "import b.from_package\n",
    "b/from_package.py": "",
    "b/typed.py": "import a.near\n",
    "b/unrelated.py": "",
    "b/deep/__init__.py": "from ..unseen import nothing\n",
    "b/deep/lazy.py": "class C:\n    def m(self):\n        with f():\n            from . import last\n",
    "b/deep/last.py": "",
}


@pytest.fixture
def known(tmp_path: Path) -> dict[str, Path]:
    for name, text in SOURCES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return modules(tmp_path, "a", "b")


def test_modules_have_dotted_names(known: dict[str, Path], tmp_path: Path) -> None:
    assert len(known) == len(SOURCES)
    assert known["b.deep"] == tmp_path / "b" / "deep" / "__init__.py"
    assert known["b.deep.lazy"] == tmp_path / "b" / "deep" / "lazy.py"


def test_imports_are_those_that_run_on_import_or_all(known: dict[str, Path]) -> None:
    def found(name: str, *, lazy: bool) -> set[str]:
        return imported(name, known[name], known, lazy=lazy)

    assert found("a.start", lazy=False) == {"os", "a.near"}
    assert found("a.start", lazy=True) == {"os", "a.near", "b.deep.lazy"}
    assert found("a.beside", lazy=False) == {"typing"}
    assert found("a.beside", lazy=True) == {"typing", "b.typed"}
    assert found("b.deep.lazy", lazy=True) == {"b.deep.last"}
    assert found("b.deep", lazy=True) == {"b.unseen"}


def test_what_is_reached_is_all_that_may_run(known: dict[str, Path]) -> None:
    """Lazily imported, in a subfolder, through a package's own imports, in a circle; nothing else."""
    found = reached("a.start", known["a.start"], known)
    assert set(known) - found == {"a.unrelated", "b.unrelated"}
    assert reached("b.from_package", known["b.from_package"], known) == {"b", "b.from_package"}


def test_a_file_outside_reaches_what_it_imports(known: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import a.near\n")
    assert reached("script", tmp_path / "script.py", known) >= {"a", "a.near", "a.beside"}
    assert "script" not in reached("script", tmp_path / "script.py", known)
