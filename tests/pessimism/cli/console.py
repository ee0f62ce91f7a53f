"""The console script in this process: what it prints, and the one line of a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from pessimism.cli.main import main

EXAMPLES = Path(__file__).parents[3] / "examples"
BANDIT = ["--behavior", "0.4,0.3,0.2,0.1", "--reward", "0.2,0.4,0.6,0.8"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def fail(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """One line on stderr, nothing on stdout, exit code 2."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("pessimism: ")
    return err
