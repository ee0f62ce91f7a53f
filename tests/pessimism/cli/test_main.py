"""The console script, as a user meets it: tables, JSON, CSV, and one line for every mistake."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pessimism as ps
from pessimism.cli.main import main
from tests.pessimism.cli.console import run


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == f"pessimism {ps.__version__}\n"


@pytest.mark.parametrize("command", [[], ["target"], ["compare"], ["diagnose"], ["objectives"]])
def test_help_is_plain(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    out = run(capsys, *command, "--help")
    assert not any(noise in out for noise in ("``", "`", "{None}", "default: None", "default: False"))
    assert out.count("  pessimism ") == (4 if not command else 0)


def test_help_is_not_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "diagnose" in capsys.readouterr().out


def test_a_closed_pipe_is_not_a_traceback() -> None:
    command = f"{sys.executable} -m pessimism.cli.main objectives | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith("nominal")
