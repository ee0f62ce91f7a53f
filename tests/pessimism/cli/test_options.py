"""The bandit of a command: on the command line or in a file, with or without a reference."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import pessimism as ps
from pessimism.cli.options import Source
from tests.pessimism.cli.console import BANDIT, run


def test_reference_reaches_the_solver(capsys: pytest.CaptureFixture[str]) -> None:
    reference = ["--reference", "0.25,0.25,0.25,0.25"]
    said = json.loads(run(capsys, "target", *BANDIT, *reference, "--objective", "kimi", "--beta", "0.25", "--json"))
    expected = ps.induced_target([0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8], "kimi", beta=0.25, reference=[0.25] * 4)
    np.testing.assert_array_equal(said["policy"], expected.policy)


def test_a_reference_in_a_file_reaches_the_solver(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"behavior": [0.5, 0.5], "reward": [0, 1], "reference": [0.9, 0.1]}, {"behavior": [1, 0], "reward": [0, 1]}]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    source = Source(input=path)
    found = dict(source.solve(source.problems(), ps.Kimi(beta=0.5), unseen=False))
    expected = ps.induced_target([0.5, 0.5], [0.0, 1.0], "kimi", beta=0.5, reference=[0.9, 0.1])
    np.testing.assert_array_equal(found["0"].policy, expected.policy)
    np.testing.assert_array_equal(found["1"].policy, [1.0, 0.0])


def test_a_problem_without_a_solution_is_named_by_its_label(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('problem,behavior,reward\nfirst,"1,0","0,1"\nsecond,"0.5,0.6","0,1"\n', encoding="utf-8")
    source = Source(input=path)
    solved = source.solve(source.problems(), ps.Kimi(beta=0.5), unseen=False)
    assert next(solved)[0] == "first"
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: problem second: behavior must sum to 1"):
        next(solved)
