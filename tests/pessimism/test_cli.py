"""The console script, as a user meets it: tables, JSON, CSV, and one line for every mistake."""

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from pessimism.cli import main, parse_objective
from pessimism.cli_options import Hyper
from pessimism.result import FIELDS

EXAMPLES = Path(__file__).parents[2] / "examples"
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


def test_target_json_has_the_fields_of_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    said = json.loads(run(capsys, "target", *BANDIT, "--objective", "shifted_mean", "--beta", "0.25", "--json"))
    assert tuple(said) == FIELDS
    target = ps.induced_target([0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8], "shifted_mean", beta=0.25)
    assert said == target.to_dict()
    np.testing.assert_array_equal(said["policy"], target.policy)
    assert said["regime"] == "positive"


def test_json_writes_null_for_what_is_undefined(capsys: pytest.CaptureFixture[str]) -> None:
    said = json.loads(run(capsys, "target", *BANDIT, "--objective", "asym_re", "--json"))
    assert said["kappa"] is None
    assert said["nominal"] == [None] * 4
    assert said["log_policy"][0] is None  # log 0


def test_target_table_and_csv_show_the_policy(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("target", *BANDIT, "--objective", "kimi", "--beta", "0.25")
    policy = ps.induced_target([0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8], "kimi", beta=0.25).policy
    table = run(capsys, *arguments)
    assert all(f"{p:.4g}" in table for p in policy)
    assert "regime positive, kappa 0.2209" in table
    csv = pd.read_csv(pd.io.common.StringIO(run(capsys, *arguments, "--csv")))
    np.testing.assert_allclose(csv["policy"], policy, rtol=1e-12)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("shape", ["problem a row", "action a row"])
def test_input_files_agree_with_the_library(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, suffix: str, shape: str
) -> None:
    problems = {"a": ([0.5, 0.5], [0.0, 1.0]), "b": ([0.2, 0.3, 0.5], [1.0, 0.0, 0.5])}
    if shape == "problem a row":
        rows = [{"problem": k, "behavior": q, "reward": r} for k, (q, r) in problems.items()]
        frame = pd.DataFrame(rows)
        if suffix == "csv":
            frame["behavior"] = frame["behavior"].map(json.dumps)
            frame["reward"] = frame["reward"].map(lambda r: ",".join(map(str, r)))
    else:
        rows = [
            {"problem": k, "behavior": q, "reward": r}
            for k, pair in problems.items()
            for q, r in zip(*pair, strict=True)
        ]
        frame = pd.DataFrame(rows)
    path = tmp_path / f"bandits.{suffix}"
    if suffix == "csv":
        frame.to_csv(path, index=False)
    elif suffix == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    said = json.loads(run(capsys, "target", "--input", str(path), "--objective", "kimi", "--beta", "0.5", "--json"))
    assert said["problem"] == ["a", "b"]
    for policy, (q, r) in zip(said["policy"], problems.values(), strict=True):
        np.testing.assert_array_equal(policy, ps.induced_target(q, r, "kimi", beta=0.5).policy)


def test_reference_reaches_the_solver(capsys: pytest.CaptureFixture[str]) -> None:
    reference = ["--reference", "0.25,0.25,0.25,0.25"]
    said = json.loads(run(capsys, "target", *BANDIT, *reference, "--objective", "kimi", "--beta", "0.25", "--json"))
    expected = ps.induced_target([0.4, 0.3, 0.2, 0.1], [0.2, 0.4, 0.6, 0.8], "kimi", beta=0.25, reference=[0.25] * 4)
    np.testing.assert_array_equal(said["policy"], expected.policy)


def test_compare_covers_the_registry_at_one_temperature(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(run(capsys, "compare", *BANDIT, "--beta", "0.25", "--json"))["comparison"]
    assert [row["objective"] for row in rows] == list(ps.objectives())
    nominal = {row["objective"]: row["pi[0]"] for row in rows if row["regime"] == "boundary"}
    assert set(nominal) == {"nominal", "a_star_po", "optimal_value", "tba", "rebel", "awr"}
    assert np.ptp(list(nominal.values())) < 1e-12


def test_compare_takes_settings_per_objective(capsys: pytest.CaptureFixture[str]) -> None:
    specs = ["kimi", "shifted_mean:shift=2", "a_star_po:beta1=0.5,sampling=off_policy"]
    out = run(capsys, "compare", *BANDIT, "--beta", "0.25", "--objectives", *specs)
    assert all(spec in out for spec in specs)


def test_temperature_of_a_comparison() -> None:
    assert parse_objective("oapl", 0.25) == ps.OAPL(beta2=0.25)
    assert parse_objective("oapl:beta2=0.5", 0.25) == ps.OAPL(beta2=0.5)
    assert parse_objective("rebel", 0.25) == ps.REBEL(eta=4.0)
    assert parse_objective("rebel:eta=2", 0.25) == ps.REBEL(eta=2.0)
    assert parse_objective("asym_re", 0.25) == ps.AsymRE()


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


def test_objectives_lists_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(run(capsys, "objectives", "--json"))["objectives"]
    assert [row["name"] for row in rows] == list(ps.objectives())
    assert all(row[key] for row in rows for key in ("title", "paper", "loss", "defaults", "induces"))
    table = run(capsys, "objectives")
    assert all(f"{name}(" in table for name in ps.objectives())


def test_every_hyper_parameter_is_an_option() -> None:
    known = {f.name for cls in ps.objectives().values() for f in fields(cls)}
    assert {f.name for f in fields(Hyper)} == known


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Expected one of"),
        (["nonsense"], "nonsense"),
        (["target", *BANDIT], "--objective"),
        (["target", *BANDIT, "--objective", "kimi", "--beta", "hot"], "--beta"),
        (["target", *BANDIT, "--objective", "kimi", "--beta", "-1"], "kimi: beta must be > 0, got -1.0"),
        (["target", *BANDIT, "--objective", "kimi", "--gamma", "1"], "has no hyper-parameter 'gamma'; it has beta"),
        (["target", *BANDIT, "--objective", "nope"], "unknown objective 'nope'"),
        (["target", "--behavior", "0.5,x", "--reward", "0,1", "--objective", "kimi"], "--behavior must be numbers"),
        (["target", "--behavior", "0.5,0.6", "--reward", "0,1", "--objective", "kimi"], "behavior must sum to 1"),
        (["target", "--behavior", "1", "--reward", "0,1", "--objective", "kimi"], "number of actions"),
        (["target", "--objective", "kimi"], "give --behavior and --reward, or --input FILE"),
        (["target", *BANDIT, "--input", "x.csv", "--objective", "kimi"], "one or the other"),
        (["target", "--input", "missing.csv", "--objective", "kimi"], "missing.csv: no such file"),
        (["target", "--input", "x.txt", "--objective", "kimi"], "x.txt: suffix must be one of"),
        (["compare", *BANDIT, "--objectives", "kimi:beta"], "'beta' must be key=value"),
        (["diagnose", "missing.parquet"], "missing.parquet"),
    ],
)
def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert message in fail(capsys, *arguments)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "behavior,rewards\n0.5,1\n", "no column 'reward'; found behavior, rewards"),
        ("a.csv", "", "cannot be read"),
        ("a.csv", "behavior,reward\n", "no problem in it"),
        (
            "a.csv",
            'behavior,reward\n"0.5,0.5","0,one"\n',
            "row 0: reward must be numbers separated by commas, got 'one'",
        ),
        ("a.jsonl", '{"behavior": [1], "reward": [1]}\n{"behavior":\n', "a.jsonl:2: not JSON"),
        ("a.jsonl", "[1, 2]\n", "a.jsonl:1: must be an object"),
        ("a.jsonl", '{"behavior": [0.5, 0.5], "reward": [1, null]}\n', "row 0: reward must be a list of numbers"),
        (
            "a.jsonl",
            '{"problem": "p", "behavior": [0.5, 0.6], "reward": [0, 1]}\n',
            "problem p: behavior must sum to 1",
        ),
    ],
)
def test_bad_files_name_the_place(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, text: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    said = fail(capsys, "target", "--input", str(path), "--objective", "kimi", "--beta", "0.5")
    assert str(path) in said
    assert message in said


def test_help_is_not_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "diagnose" in capsys.readouterr().out


def test_a_closed_pipe_is_not_a_traceback() -> None:
    command = f"{sys.executable} -m pessimism.cli objectives | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith("nominal")
