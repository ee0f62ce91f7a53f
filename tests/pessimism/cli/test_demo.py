"""`pessimism demo`: the commands on the log in the wheel."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import pessimism as ps
from examples.make_demo import GROUP, LOG, rollouts
from pessimism.cli.demo import _SHOWN
from tests.pessimism.cli.console import fail, run


def test_every_command_answers(capsys: pytest.CaptureFixture[str]) -> None:
    said = run(capsys, "demo")
    parts = said.split("\n$ pessimism ")[1:]
    assert [part.partition(" ")[0] for part in parts] == [arguments[0] for _, arguments in _SHOWN]
    assert all(part.count("\n") > 2 for part in parts)
    assert "verdict: " in parts[0]


def test_what_is_shown_can_be_typed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = run(capsys, "demo", "--copy", str(tmp_path / "new")).split()
    assert sorted(Path(path).name for path in copied) == ["grpo.yaml", "rollouts.jsonl"]
    monkeypatch.chdir(tmp_path / "new")
    for _, arguments in _SHOWN:
        assert run(capsys, *arguments)
    assert "must be a folder" in fail(capsys, "demo", "--copy", "grpo.yaml")


def test_the_log_is_what_its_script_simulates() -> None:
    """It also holds what it says: whole groups, data of the policy itself before the first step, and later not."""
    lines = LOG.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == rollouts()
    log = ps.read_rollouts(LOG)
    assert set(log.groupby(["step", "prompt"], observed=True).size()) == {GROUP}
    raw = pd.DataFrame(map(json.loads, lines))
    first = raw[raw["step"] == 0]
    assert (first["behavior_log_prob"] == first["policy_log_prob"]).all()
    assert (raw["behavior_log_prob"] != raw["policy_log_prob"]).any()
