"""`pessimism target`: the fields of the result, the policy in every format, and why there is none."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from pessimism.target.result import FIELDS
from tests.pessimism.cli.console import BANDIT, run


def test_target_json_has_the_fields_of_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    said = json.loads(run(capsys, "target", *BANDIT, "--objective", "shifted_mean", "--beta", "0.25", "--json"))
    assert tuple(said) == (*FIELDS, "objective", "conservatism")
    target = ps.induced_target([0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8], "shifted_mean", beta=0.25)
    assert {name: said[name] for name in FIELDS} == target.to_dict()
    assert said["objective"] == "shifted_mean(beta=0.25, shift=1.0)"
    assert said["conservatism"] == target.conservatism().to_dict("records")[0]
    np.testing.assert_array_equal(said["policy"], target.policy)
    assert said["regime"] == "positive"


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
    assert out.endswith("(no_target)\nno target: shift must be below 0, the loss is unbounded\n")


def test_several_problems_have_a_column_of_labels(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('problem,behavior,reward\nfirst,"1,0","0,1"\nsecond,"0.5,0.3,0.2","0,1,2"\n', encoding="utf-8")
    said = run(capsys, "target", "--input", str(path), "--objective", "kimi", "--beta", "1", "--csv")
    frame = pd.read_csv(io.StringIO(said))
    assert frame["problem"].tolist() == ["first"] * 2 + ["second"] * 3
    assert frame["action"].tolist() == [0, 1, 0, 1, 2]
    policy = ps.induced_target([0.5, 0.3, 0.2], [0.0, 1.0, 2.0], "kimi", beta=1.0).policy
    np.testing.assert_array_equal(frame["policy"][2:], policy)
