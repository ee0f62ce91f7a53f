"""AReaL: `rollout/VERSION/TASK.jsonl`, as areal/infra/workflow_executor.py dumps a trajectory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pessimism.rollouts.layouts.written import completions, damage, lines, prompt, six_groups, two_runs


def records(version: int, task: int) -> list[dict[str, Any]]:
    return [
        {
            "task_id": task,
            "sample_idx": i,
            "seqlen": 9,
            "prompt_len": 5,
            "head_version": version - 1,
            "tail_version": version,
            "reward": reward,
            "prompt": prompt(0),  # two tasks with one prompt are two groups
            "completion": "c",
        }
        for group, i, reward in completions()
        if group == task
    ]


def dump(folder: Path) -> None:
    for version in (2, 10):
        for task in range(6):
            lines(folder / str(version) / f"{task}.jsonl", records(version, task))


def test_a_folder_a_version_and_a_file_a_task(tmp_path: Path) -> None:
    dump(tmp_path / "rollout")
    dump(tmp_path / "eval-rollout")
    frame = six_groups(tmp_path, [2, 10], "AReaL", length_column="completion_length")
    assert set(frame["length"]) == {4.0}
    assert (frame["version"] == frame["step"] - 1).all()
    assert (frame["last_version"] == frame["step"]).all()
    assert len(frame.attrs["files"]) == len(frame.attrs["passed_over"]) == 12


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record.update(seqlen="x"), "seqlen and prompt_len are 'x' and 5, not numbers of tokens"),
        (lambda record: record.pop("prompt_len"), "missing key 'prompt_len'"),
        (lambda record: record.update(tail_version=1.5), "tail_version is 1.5, not an integer"),
        (lambda record: record.update(task_id=None), "task_id is null"),
    ],
)
def test_damage(tmp_path: Path, change: Callable[[Any], Any], said: str) -> None:
    damage(tmp_path, "log.jsonl", records(1, 3), change, said)


def test_two_runs_are_not_merged(tmp_path: Path) -> None:
    two_runs(tmp_path, dump, 12)
