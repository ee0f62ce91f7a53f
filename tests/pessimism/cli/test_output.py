"""What the commands print: tables, CSV, JSON, and facts in a line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from pessimism.core.solution import read_status
from pessimism.target.result import FIELDS
from tests.pessimism.cli.console import BANDIT, EXAMPLES, run


def test_target_json_has_the_fields_of_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    said = json.loads(run(capsys, "target", *BANDIT, "--objective", "shifted_mean", "--beta", "0.25", "--json"))
    assert tuple(said) == (*FIELDS, "objective", "conservatism")
    target = ps.induced_target([0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8], "shifted_mean", beta=0.25)
    assert {name: said[name] for name in FIELDS} == target.to_dict()
    assert said["objective"] == "shifted_mean(beta=0.25, shift=1.0)"
    assert said["conservatism"] == target.conservatism().to_dict("records")[0]
    np.testing.assert_array_equal(said["policy"], target.policy)
    assert said["regime"] == "positive"


def test_json_writes_null_for_what_is_undefined(capsys: pytest.CaptureFixture[str]) -> None:
    said = json.loads(run(capsys, "target", *BANDIT, "--objective", "asym_re", "--json"))
    assert said["kappa"] is None
    assert said["nominal"] == [None] * 4
    assert said["log_policy"][0] is None  # log 0
    assert said["conservatism"]["pessimism_factor"] is None
    assert said["conservatism"]["regime"] == "positive"


def test_target_table_and_csv_show_the_policy(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("target", *BANDIT, "--objective", "kimi", "--beta", "0.25")
    policy = ps.induced_target([0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8], "kimi", beta=0.25).policy
    table = run(capsys, *arguments)
    assert all(f"{p:.4g}" in table for p in policy)
    assert "regime positive, kappa 0.2209" in table
    csv = pd.read_csv(pd.io.common.StringIO(run(capsys, *arguments, "--csv")))
    np.testing.assert_allclose(csv["policy"], policy, rtol=1e-12)


def test_no_target_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "target", *BANDIT, "--objective", "asym_re", "--shift", "0.1")
    assert read_status("kimi", "converged") is None
    assert str(read_status("mine", "no_target")).startswith("no target: the loss has no fixed point here")
    assert str(read_status("mine", "not_converged")).startswith("not converged: ")
    assert out.endswith("(no_target)\nno target: shift must be below 0, the loss is unbounded\n")


def test_json_of_a_diagnosis_has_every_number(capsys: pytest.CaptureFixture[str]) -> None:
    log = str(EXAMPLES / "verl_rollouts")
    said = json.loads(run(capsys, "diagnose", log, "--objective", "kimi", "--beta", "0.1", "--json"))
    report = ps.diagnose(log, "kimi", beta=0.1)
    for name in ("kappa", "kl", "tv_nominal"):
        assert [row[name] for row in said["groups"]] == report[name].tolist()
    unknown = json.loads(run(capsys, "diagnose", log, "--objective", "asym_re", "--json"))["groups"]
    assert {row["critical_beta"] for row in unknown} == {None}


def test_table_of_a_diagnosis(capsys: pytest.CaptureFixture[str]) -> None:
    log = str(EXAMPLES / "trl_completions")
    table = run(capsys, "diagnose", log, "--objective", "kimi", "--beta", "0.1", "--rows", "2")
    header, first = table.splitlines()[:2]
    assert header.split()[-1] == "reading"
    assert "positive: " in first
    assert not {"Z", "baseline"} & set(header.split())
    assert "median_tv_nominal: " in table
    assert "\nshare: positive 0.9896, boundary 0.01042, negative 0 (of 192 solved groups)\n" in table
    assert "\npopulation_share: positive 0.9896, boundary 0.01042, negative 0 (of 192 groups)\n" in table
    assert "share_of" not in table
    none = run(capsys, "diagnose", log, "--objective", "kimi", "--beta", "0.1", "--rows", "0")
    assert none.startswith("objective: kimi(beta=0.1)\n")


def test_an_undefined_population_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "diagnose", str(EXAMPLES / "verl_rollouts"), "--objective", "ppo", "--rows", "0")
    why = "its weight is not affine in the advantage, so that finite groups have no expected advantage"
    shares = "positive 0, boundary 0, negative 0, undefined 1 (of 64 groups)"
    assert f"\npopulation_share: {shares}; undefined: {why}\n" in out
    assert "population_note" not in out


def test_merged_steps_are_printed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("prompt,reward,Iteration\na,1,1\na,0,2\n")
    out = run(capsys, "diagnose", str(path))
    assert "\nno step column: all rows are one step (column 'Iteration' looks like one: step_column, or" in out
    assert "no step column" not in run(capsys, "diagnose", str(path), "--step-column", "Iteration")
