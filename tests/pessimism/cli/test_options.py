"""The bandit of a command: on the command line or in a file, with or without a reference."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pessimism as ps
from pessimism.cli.main import main
from pessimism.cli.options import Source
from pessimism.losses.registry import make_objective
from tests.pessimism.cli.console import BANDIT, EXAMPLES, fail, run


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


LOG = str(EXAMPLES / "verl_rollouts")


def settings(folder: Path, **given: object) -> tuple[str, str]:
    """Option that names a file of these settings."""
    path = folder / "grpo.json"
    path.write_text(json.dumps(given), encoding="utf-8")
    return "--trainer", str(path)


def test_the_objective_of_a_trainer_is_diagnosed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    trainer = settings(tmp_path, loss_type="grpo", beta=0.5, mask_truncated_completions=True)
    lines = run(capsys, "diagnose", LOG, *trainer, "--rows", "0").splitlines()
    assert lines[0].startswith("trl, loss grpo: grpo:beta=0.5,eps=0.0001,unbiased_kl=True; token level; group size 8; ")
    assert lines[1].startswith("not modelled: mask_truncated_completions = True: ")
    assert lines[2].startswith("read: ")
    assert any(line.startswith("objective: grpo(beta=0.5, ") for line in lines[3:8])
    assert "objective: kimi" in run(capsys, "diagnose", LOG, *trainer, "--rows", "0", "--objective", "kimi")


def test_what_was_read_is_beside_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    trainer = settings(tmp_path, loss_type="cispo", epsilon_high=3.0)
    assert main(["diagnose", LOG, *trainer, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["summary"]["objective"].startswith("cispo(cap=3.0")
    assert err.startswith("trl, loss cispo: cispo:cap=3,eps=0.0001; ")


def test_the_objective_of_a_trainer_is_matched(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    trainer = settings(tmp_path, loss_type="grpo", beta=0.5)
    found = run(capsys, "match", *BANDIT, *trainer, "--kl", "0.01").splitlines()[1]
    at = ps.match([0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8], ps.GRPO(eps=1e-4, unbiased_kl=True), kl=0.01)
    read = make_objective(found)
    assert read.temperature == pytest.approx(at.temperature, rel=1e-4)  # of the digits that are printed
    assert read == replace(at, beta=read.temperature)


def test_the_objective_of_a_trainer_has_the_first_row(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """As it is set, whatever the temperature of the others; and once."""
    trainer = settings(tmp_path, loss_type="grpo", beta=0.5)
    assert main(["compare", LOG, *trainer, "--objectives", "kimi", "--beta", "0.2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    specs = [row["objective"] for row in rows["comparison"]]
    assert specs == ["grpo:beta=0.5,eps=0.0001,unbiased_kl=True", "kimi"]
    trainer = settings(tmp_path, loss_type="dr_grpo", scale_rewards="none")
    assert main(["compare", LOG, *trainer, "--objectives", "kimi", "dr_grpo", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["objective"] for row in rows["comparison"]] == ["dr_grpo", "kimi"]


def test_settings_without_an_objective_need_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    own = ("--trainer", settings(tmp_path, trainer={"loss": {"type": "custom", "import_path": "a.b"}})[1])
    fails = ("diagnose", LOG, "--json"), ("match", *BANDIT, "--kl", "0.1", "--json")
    for command in fails:
        assert main([*command, *own]) == 2
        assert "has a loss that is no objective of this package: give --objective" in capsys.readouterr().err
    assert "kimi" in run(capsys, "compare", *BANDIT, *own, "--objectives", "kimi")
    assert "give --objective, or --trainer FILE" in fail(capsys, "match", *BANDIT, "--kl", "0.1")
    assert "none: no such file" in fail(capsys, "diagnose", LOG, "--trainer", str(tmp_path / "none"))
