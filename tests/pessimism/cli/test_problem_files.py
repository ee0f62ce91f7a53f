"""Problems from files: every format and shape alike, and bad files named by line and row."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from tests.pessimism.cli.console import fail, run


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
    assert said["objective"] == ["kimi(beta=0.5)"] * 2
    assert [row["kappa"] for row in said["conservatism"]] == said["kappa"]
    for policy, (q, r) in zip(said["policy"], problems.values(), strict=True):
        np.testing.assert_array_equal(policy, ps.induced_target(q, r, "kimi", beta=0.5).policy)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "behavior,rewards\n0.5,1\n", "no column 'reward'; found behavior, rewards"),
        ("a.csv", "", "the file is empty"),
        ("a.jsonl", "", "the file is empty"),
        ("a.csv", "behavior,reward\n", "no problem in it"),
        (
            "a.csv",
            'behavior,reward\n"0.5,0.5","0,one"\n',
            "row 0: reward must be numbers separated by commas, got 'one'",
        ),
        (
            "a.jsonl",
            '{"behavior": [1], "reward": [1]}\n{"behavior":\n',
            "a.jsonl:2: bad JSON, Expecting value (column 13)",
        ),
        ("a.jsonl", "[1, 2]\n", "a.jsonl:1: expected a JSON object, found [1, 2]"),
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


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_byte_order_marks_and_line_separators(capsys: pytest.CaptureFixture[str], tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    label = "a\u2028b"
    row = json.dumps({"problem": label, "behavior": [0.5, 0.5], "reward": [0, 1]}, ensure_ascii=False)
    table = f'behavior,reward,problem\n"0.5,0.5","0,1",{label}'
    path.write_text((table if suffix == "csv" else row) + "\n", encoding="utf-8-sig")
    assert "regime positive" in run(capsys, "target", "--input", str(path), "--objective", "kimi", "--beta", "0.5")
