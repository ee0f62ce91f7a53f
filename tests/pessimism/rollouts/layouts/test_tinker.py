"""tinker-cookbook: `iteration_N/train_rollout_summaries.jsonl` of tinker_cookbook/rl/rollout_logging.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pessimism.rollouts.layouts.written import completions, damage, lines, six_groups, two_runs


def records(iteration: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "schema_version": 1,
            "split": "train",
            "iteration": iteration,
            "group_idx": group,
            "traj_idx": i,
            "tags": ["math"],
            "sampling_client_step": max(iteration - 2, 0),
            "total_reward": reward,
            "final_reward": 0.0,
            "trajectory_metrics": {},
            "steps": [
                {"step_idx": 0, "ob_len": 9, "ac_len": 3, "reward": reward, "episode_done": False},
                {"step_idx": 1, "ob_len": 9, "ac_len": 4, "reward": 0.0, "episode_done": True},
            ],
            "final_ob_len": 512,
        }
        for group, i, reward in completions()
    ]


def test_groups_are_those_of_group_idx(tmp_path: Path) -> None:
    for iteration in (3, 12):
        folder = tmp_path / f"iteration_{iteration:06d}"
        lines(folder / "train_rollout_summaries.jsonl", records(iteration))
        lines(folder / "eval_gsm8k_rollout_summaries.jsonl", records(iteration))
        (folder / "train_logtree.json").write_text('{"title": "RL", "children": []}')
        (folder / "train.html").write_text("<html>")
    frame = six_groups(tmp_path, [3, 12], "tinker-cookbook", length_column="completion_length")
    assert set(frame["length"]) == {7.0}
    assert (frame["version"] == frame["step"] - 2).all()
    assert len(frame.attrs["passed_over"]) == 6
    assert frame["prompt"].iloc[0] == "group 0 of iteration 3"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record.update(steps=7), "steps is 7, not a list"),
        (lambda record: record["steps"][1].pop("ac_len"), "not a list of steps with their ac_len"),
        (lambda record: record.update(total_reward="x"), "total_reward is 'x', not a number"),
        (lambda record: record.update(iteration=None), "iteration is null, not an integer"),
        (lambda record: record.pop("group_idx"), "missing key 'group_idx'"),
    ],
)
def test_damage(tmp_path: Path, change: Callable[[Any], Any], said: str) -> None:
    damage(tmp_path, "log.jsonl", records(), change, said)


def test_two_runs_are_not_merged(tmp_path: Path) -> None:
    two_runs(tmp_path, lambda at: lines(at / "iteration_000003" / "train_rollout_summaries.jsonl", records(3)), 6)
