"""README is true: its Python runs and prints what it says, its commands run, its table is the registry."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

import pessimism as ps
from pessimism.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^pessimism .*$", README, re.MULTILINE)


@pytest.mark.parametrize("code", PYTHON)
def test_python_prints_its_comments(code: str) -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(code, {})
    numbers = [float(x) for line in code.splitlines() if "print(" in line for x in _numbers(line.partition("#")[2])]
    printed = _numbers(said.getvalue())
    assert numbers, "an example without a stated result"
    for number in numbers:
        assert any(abs(number - p) <= 0.005 * abs(number) for p in printed), f"{number} is not printed"


def _numbers(text: str) -> list[float]:
    return [float(x) for x in re.findall(r"(?<![\w.])\d+\.\d+(?:e-?\d+)?", text)]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    assert main(shlex.split(command)[1:]) == 0
    out, err = capsys.readouterr()
    assert out
    assert not err


def test_table_is_the_registry() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| \[([\d.]+)\]", README, re.MULTILINE)
    assert [name for name, _, _ in rows] == list(ps.objectives())
    for name, defaults, paper in rows:
        cls = ps.objectives()[name]
        assert str(cls()) == f"{name}({defaults})"
        assert cls.paper == paper


def test_there_is_something_to_check() -> None:
    assert len(PYTHON) == 2
    assert len(COMMANDS) == 6
