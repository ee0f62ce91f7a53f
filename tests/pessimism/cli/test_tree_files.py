"""Token trees from JSON lines, on the command line and as a reader: what is printed, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from pessimism.cli.tree_files import read_tree
from tests.pessimism.cli.console import fail, run

LINES: list[dict[str, Any]] = [
    {"tokens": [5, 1], "log_probs": [np.log(0.6), np.log(0.5)], "reward": 1},
    {"tokens": [5, 2], "log_probs": [np.log(0.6), np.log(0.5)], "reward": 0},
    {"tokens": [7], "log_probs": [np.log(0.4)], "reward": 0.25},
]


def written(path: Path, lines: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return str(path)


def test_json_has_the_policy_of_the_library(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", LINES)
    said = json.loads(run(capsys, "target", "--tree", path, "--objective", "kimi", "--beta", "0.5", "--json"))
    target = ps.token_target(read_tree(Path(path)), "kimi", beta=0.5)
    assert [row["policy"] for row in said["completions"]] == target.completion_policy.tolist()
    assert [row["tokens"] for row in said["completions"]] == [line["tokens"] for line in LINES]
    assert [row["regime"] for row in said["prefixes"]] == target.regime.tolist()
    assert said["kl"] == target.kl


def test_table_and_csv_have_a_row_for_each_prefix(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", LINES)
    given = ("target", "--tree", path, "--objective", "kimi", "--beta", "0.5", "--baseline", "prefix")
    out = run(capsys, *given)
    assert out.splitlines()[0].split() == ["prefix", "reached", "value", "kappa", "kl", "regime", "status"]
    target = ps.token_target(read_tree(Path(path)), "kimi", baseline="prefix", beta=0.5)
    assert f"value {target.value:.4g} (behavior 0.4)" in out
    assert "0.0% of the visits to prefixes in the negative regime" in out
    frame = pd.read_csv(pd.io.common.StringIO(run(capsys, *given, "--csv")))
    assert frame["prefix"].tolist() == ["(start)", "5"]
    np.testing.assert_allclose(frame["value"], [0.4, 0.5])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--reward", "1,2"), "--tree already holds behavior and reward"),
        (("--group-size", "2.5"), "--group-size must be a whole number, got 2.5"),
        (("--rest-reward", "0,1"), "--rest-reward must be one number, got 0,1"),
        (("--aggregation", "mean"), "aggregation must be 'sum' or"),
    ],
)
def test_options_that_do_not_fit(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    path = written(tmp_path / "a.jsonl", LINES)
    assert message in fail(capsys, "target", "--tree", path, "--objective", "kimi", *options)


def test_tokens_need_a_tree(capsys: pytest.CaptureFixture[str]) -> None:
    given = ("target", "--behavior", "1", "--reward", "1", "--objective", "kimi", "--level", "token")
    assert "--level needs --tree FILE" in fail(capsys, *given)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"tokens": [1]}, "2: no log_probs, reward; found tokens"),
        ({**LINES[2], "tokens": ["a"]}, "2: tokens must be a list of token ids, got ['a']"),
        ({**LINES[2], "reward": "1"}, "2: reward must be a number, got '1'"),
        ({**LINES[2], "reward": [1]}, "2: reward must be a number, got [1]"),
        ({**LINES[2], "log_probs": None}, "2: log_probs must be a list of numbers, got null"),
        (
            {**LINES[2], "truncated": True},
            "2: it has tokens, log_probs, reward, truncated, but the first line tokens,",
        ),
        ({**LINES[2], "tokens": [5, 1]}, "log_probs[1] must have one entry for each of its 2 tokens, got 1"),
    ],
)
def test_lines_that_are_refused(tmp_path: Path, line: dict[str, Any], message: str) -> None:
    path = written(tmp_path / "a.jsonl", [LINES[0], line])
    with pytest.raises(ValueError, match="a.jsonl") as error:
        read_tree(Path(path))
    assert message in str(error.value)


def test_an_empty_file_has_no_completion(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no completion in it"):
        read_tree(Path(written(tmp_path / "a.jsonl", [])))
