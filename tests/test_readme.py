"""README is true: its Python runs and prints what it says, its commands run, its table is the registry."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

import pessimism as ps
from pessimism.cli.main import main
from pessimism.losses import index

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^pessimism .*$", README, re.MULTILINE)


@pytest.mark.parametrize("code", PYTHON)
def test_python_prints_its_comments(code: str) -> None:
    """What stands after `print(...)  # ` is what that line prints, up to a comma and words of explanation."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(code, {})
    claims = [line.partition("  # ")[2] for line in code.splitlines() if line.startswith("print(") and "  # " in line]
    assert claims, "an example without a stated result"
    printed = iter(said.getvalue().splitlines())
    for claim in claims:
        result = claim.partition(", ")[0]
        assert any(line == result for line in printed), f"{result!r} is not printed, or not in this place"


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    assert main(shlex.split(command)[1:]) == 0
    out, err = capsys.readouterr()
    assert out
    assert not err


def test_the_quoted_lines_are_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The verdict and the recommendation of the fifth command, and the first two lines of the sixth."""
    said, first = re.findall(r"^```\n((?:.*\n){1,2})```$", README, re.MULTILINE)
    monkeypatch.chdir(ROOT)
    assert main(shlex.split(COMMANDS[4])[1:]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line.startswith(("verdict: ", "recommendation: "))] == said.splitlines()
    assert main(shlex.split(COMMANDS[5])[1:]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == first.splitlines()


def test_families_are_the_registry() -> None:
    rows = re.findall(r"^\| [^|]* \| ((?:`\w+` ?)+) \| [^|]* \|$", README, re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"\w+", row)]
    assert sorted(names) == sorted(ps.objectives())
    assert f"\n{len(names)} published objectives" in README


def test_the_page_is_the_registry_and_what_was_measured() -> None:
    page = (ROOT / "docs" / "objectives.md").read_text(encoding="utf-8")
    assert index.markdown() in page
    assert set(index.measured()) == set(ps.objectives())


def test_there_is_something_to_check() -> None:
    assert len(PYTHON) == 2
    assert len(COMMANDS) == 10
