"""The console script, as a user meets it: tables, JSON, CSV, and one line for every mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import pessimism as ps
from pessimism.cli.main import main
from tests.pessimism.cli.console import EXAMPLES, run


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == f"pessimism {ps.__version__}\n"


def test_diagnose_writes_what_it_prints(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    log = str(EXAMPLES / "trl_completions")
    table = run(capsys, "diagnose", log, "--objective", "kimi", "--beta", "0.1", "--rows", "3", "--out", str(tmp_path))
    assert "recommendation: " in table
    assert "189 more groups" in table
    frame = pd.read_csv(tmp_path / "diagnose_kimi.csv")
    summary = json.loads((tmp_path / "diagnose_kimi.json").read_text(encoding="utf-8"))
    assert len(frame) == summary["groups"] == 192
    said = json.loads(run(capsys, "diagnose", log, "--objective", "kimi", "--beta", "0.1", "--json"))
    assert said["summary"] == summary
    assert len(said["groups"]) == 192
    always = {row["critical_beta"] for row in said["groups"] if not row["all_equal"]}
    assert always == {sys.float_info.max}
    assert {type(row["all_equal"]) for row in said["groups"]} == {bool}


def test_objectives_lists_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(run(capsys, "objectives", "--json"))["objectives"]
    assert [row["name"] for row in rows] == list(ps.objectives())
    assert all(row[key] for row in rows for key in ("title", "paper", "loss", "defaults", "induces"))
    table = run(capsys, "objectives")
    assert all(f"{name}(" in table for name in ps.objectives())


@pytest.mark.parametrize("command", [[], ["target"], ["compare"], ["diagnose"], ["objectives"]])
def test_help_is_plain(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    out = run(capsys, *command, "--help")
    assert not any(noise in out for noise in ("``", "`", "{None}", "default: None", "default: False"))
    assert out.count("  pessimism ") == (3 if not command else 0)


def test_help_is_not_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "diagnose" in capsys.readouterr().out


def test_a_closed_pipe_is_not_a_traceback() -> None:
    command = f"{sys.executable} -m pessimism.cli.main objectives | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith("nominal")
