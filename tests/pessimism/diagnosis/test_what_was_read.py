"""What a report says that it read, on logs laid out as TRL writes them, and what it warns of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pessimism as ps
from pessimism.diagnosis.what_was_read import clusters

PASSES = (0, 1, 2, 3, 3, 4)
BASE = ["step", "prompt", "completion"]


def trl(folder: Path, columns: dict[str, Any], groups: int = 6) -> Path:
    """A file of completions as TRL writes it (trainer/grpo_trainer.py), of groups of four."""
    log = pd.DataFrame({"step": 1, "prompt": [f"What is {i}?" for i in range(groups) for _ in range(4)]})
    log = log.assign(completion=[f"c{k}" for _ in range(groups) for k in range(4)], **columns)
    log.to_parquet(folder / "completions_00001.parquet")
    return folder


def accuracy(*passes: int) -> list[float]:
    return [float(k < n) for n in passes for k in range(4)]


def grpo(reward: Any) -> list[float]:
    """TRL's advantages, in single precision as it computes them."""
    rows = np.asarray(reward, dtype=np.float32).reshape(-1, 4)
    centered = rows - rows.mean(axis=-1, keepdims=True)
    found = centered / (rows.std(axis=-1, ddof=1, keepdims=True) + np.float32(1e-4))
    return list(map(float, found.ravel()))


def test_two_functions_with_weights_one_of_which_abstains(tmp_path: Path) -> None:
    math: list[Any] = [None if (i // 4) % 2 else x for i, x in enumerate(accuracy(*PASSES))]
    style = [float(k % 2) for _ in range(6) for k in range(4)]
    total = [(m or 0.0) + 0.1 * s for m, s in zip(math, style, strict=True)]
    columns = {"math_reward": math, "format_reward": style, "answer_length": range(30, 54), "advantage": grpo(total)}
    log = trl(tmp_path, columns)
    with pytest.raises(ValueError, match=r"'math_reward,format_reward' for their sum"):  # not the length
        ps.diagnose(log, "grpo")
    report = ps.diagnose(log, "grpo", reward_column={"math_reward": 1, "format_reward": 0.1})
    assert report["n"].tolist() == [4] * 6
    means = np.reshape(total, (6, 4)).mean(axis=-1)
    np.testing.assert_allclose(report["reward_mean"].to_numpy(dtype=float), means, rtol=1e-15)
    said = report.read
    assert said["warnings"] == []
    assert said["lines"][1].startswith("columns: prompt: prompt, reward: math_reward + 0.1 format_reward, step: step, ")
    assert said["lines"][3].startswith("the logged advantages are those of grpo, the mean and std of the group with 1e")
    assert said["advantages"]["fits"]
    wrong = ps.diagnose(log, "grpo", reward_column="math_reward:1,format_reward:1").read
    assert not wrong["advantages"]["fits"]
    assert any("passed over" in text for text in ps.diagnose(log, "grpo", reward_column="math_reward").read["warnings"])


def test_sums_of_single_precision_that_are_equal(tmp_path: Path) -> None:
    """Items of a log in float32: the totals are equal, and their differences are rounding."""
    first = np.array([0.1, 0.3, 0.3, 0.2, 0.5, 0.4, 0.6, 0.3], dtype=np.float32).astype(float)
    second = np.array([0.2, 0.0, 0.0, 0.1, 0.1, 0.2, 0.0, 0.3], dtype=np.float32).astype(float)
    log = trl(tmp_path, {"format_reward": first, "accuracy_reward": second, "advantage": 0.0}, groups=2)
    options: dict[str, Any] = {"reward_column": ["format_reward", "accuracy_reward"]}
    report = ps.diagnose(log, "grpo", **options)
    assert report["all_equal"].all()
    assert report.summary["informative"] == 0
    assert "in 2 of 2 groups rewards differ by the rounding" in report.read["warnings"][0]
    read = ps.read_rollouts(log, **options)
    assert ps.diagnose(read, "grpo")["all_equal"].all()  # the tolerance stays with the frame
    assert ps.diagnose(read.iloc[:4], "grpo")["all_equal"].all()


def test_a_logged_column_called_score_is_not_the_reward(tmp_path: Path) -> None:
    right = accuracy(1)
    log = trl(tmp_path, {"accuracy_reward": right, "score": 7.0, "advantage": np.round(grpo(right), 4)}, groups=1)
    report = ps.diagnose(log, "grpo")
    assert report["reward_mean"].tolist() == [0.25]
    said = report.read
    assert said["columns"]["reward"] == "accuracy_reward"
    assert said["warnings"] == [
        "score looks like a reward, too, and was passed over for accuracy_reward: --reward-column reads another, or a "
        "sum as in accuracy_reward:1,score:0.5"
    ]
    assert said["advantages"]["fits"]
    assert ps.read_rollouts(log, reward_column="score")["reward"].tolist() == [7.0] * 4


def test_completions_that_no_function_applies_to_are_left_out(tmp_path: Path) -> None:
    right: list[Any] = accuracy(*PASSES)
    right[3::4] = [None] * 6
    report = ps.diagnose(trl(tmp_path, {"accuracy_reward": right, "advantage": 0.0}), "grpo")
    assert report["n"].tolist() == [3] * 6
    np.testing.assert_allclose(report["pass_rate"].to_numpy(dtype=float) * 3, [0, 1, 2, 3, 3, 3], rtol=1e-15)
    first, second = report.read["warnings"]
    assert first == "6 completions without a reward (no reward function applies) left out, as the means of TRL do"
    assert second.startswith("the logged advantages are all 0 and fit no form")


def test_numbers_of_what_was_read(tmp_path: Path) -> None:
    log = pd.DataFrame({"prompt": [*"aaaab"], "points": [1, 0, 0, 1, 1], "reward": [0.0] * 5})
    said = ps.diagnose(log, "kimi", reward_column="points", drop_equal=True).read
    assert (said["rows"], said["groups"], said["steps"], said["sizes"]) == (5, 2, 1, {"1": 1, "4": 1})
    assert said["lines"][0] == "a frame: 5 rows"
    assert said["lines"][2] == "2 groups by prompt and step, at 1 step; completions of a group: 1 of 1, 1 of 4"
    assert any(text.startswith("reward looks like a reward, too") for text in said["warnings"])


def test_clusters_are_prompts_unless_groups_share_one() -> None:
    frame = pd.DataFrame({"step": [0, 0, 1], "prompt": [*"aba"], "group": [5, 6, 7]})
    assert clusters(frame).tolist() == [0, 1, 0]
    assert clusters(frame.assign(prompt="a")).tolist() == [0, 1, 2]


def test_files_that_were_passed_over_are_named_by_their_reason(tmp_path: Path) -> None:
    trl(tmp_path, {"accuracy_reward": accuracy(*PASSES), "advantage": 0.0})
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text('{"lr": 1}')
    (tmp_path / "notes.md").write_text("x")
    assert (
        "3 files passed over: a.json, b.json (no column of a prompt); notes.md ('.md' is not the suffix of a log)"
        in ps.diagnose(tmp_path, "grpo").read["warnings"]
    )
