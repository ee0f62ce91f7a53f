"""What is installed is `pessimism` alone, and what pyproject.toml promises is there."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import pessimism as ps

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def imports(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Import a module as a user does, whose path knows nothing of the checkout."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-c", f"import {name}"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_pessimism_is_importable_everywhere(tmp_path: Path) -> None:
    assert imports("pessimism", tmp_path).returncode == 0


@pytest.mark.parametrize("name", ["analysis", "benchmarks", "figures", "llm", "tests"])
def test_its_neighbours_are_not(name: str, tmp_path: Path) -> None:
    assert f"No module named '{name}'" in imports(name, tmp_path).stderr


def test_the_editable_folder_holds_the_package_alone() -> None:
    (folder,) = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"].get("dev-mode-dirs", ["?"])
    assert [path.resolve() for path in (ROOT / folder).iterdir()] == [ROOT / "pessimism"]


def test_the_wheel_is_the_package_and_its_extras_are_imported_by_it() -> None:
    assert PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["pessimism"]
    assert set(PYPROJECT["project"]["optional-dependencies"]) == {"convex"}
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "pessimism").rglob("*.py"))
    ours = PYPROJECT["project"]["dependencies"] + PYPROJECT["project"]["optional-dependencies"]["convex"]
    names = [re.split(r"[<>=]", line)[0] for line in ours]
    unused = [name for name in names if not re.search(rf"\b{name.replace('-', '_')}\b", source, re.IGNORECASE)]
    assert not unused
    assert (ROOT / "pessimism" / "py.typed").exists()


def test_what_the_source_distribution_names_exists() -> None:
    names = PYPROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["only-include"]
    assert not [name for name in names if not (ROOT / name).exists()]


def test_the_version_is_written_once() -> None:
    assert "version" not in PYPROJECT["project"]
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?", ps.__version__)


def test_what_is_asked_for_is_pinned() -> None:
    pins = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    groups = [line for name, group in PYPROJECT["dependency-groups"].items() if name != "release" for line in group]
    lines = [line for line in groups if isinstance(line, str)] + PYPROJECT["project"]["dependencies"]
    lines += PYPROJECT["project"]["optional-dependencies"]["convex"]
    names = {re.split(r"[<>=]", line)[0].replace(".", "-") for line in lines}
    assert not names - pins
