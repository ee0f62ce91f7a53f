"""slime: `rollout_ID.pt`, samples as slime/observability/rollout_data_utils.py saves them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.pessimism.rollouts.layouts.written import completions, damage, prompt, six_groups, two_runs
from tests.pessimism.rollouts.logs import message


def samples(first: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "group_index": first + group,
            "index": 4 * (first + group) + i,
            "rollout_id": None,
            "prompt": prompt(0),  # of six pictures
            "tokens": [1, 2, 3],
            "response": "c",
            "response_length": 2,
            "reward": reward,
            "loss_mask": [1, 0],
            "weight_versions": ["3", "4"],
            "rollout_log_probs": [-0.25, -0.5],
            "rollout_top_p_token_ids": torch.zeros(3, dtype=torch.int32),
            "status": "completed",
            "metadata": {},
        }
        for group, i, reward in completions()
    ]


def save(path: Path, rollout: int, found: Any) -> Path:
    torch.save({"rollout_id": rollout, "samples": found}, path)
    return path


def test_a_file_is_a_rollout(tmp_path: Path) -> None:
    for rollout in (9, 10):
        save(tmp_path / f"rollout_{rollout}.pt", rollout, samples(6 * rollout))
    save(tmp_path / "rollout_eval_10.pt", 10, samples())
    torch.save({"weight": torch.zeros(3)}, tmp_path / "model.pt")
    frame = six_groups(tmp_path, [9, 10], "slime", length_column="response_length")
    assert set(frame["length"]) == {2.0}
    assert set(frame["behavior_log_prob"]) == {-0.25}  # the second token is masked
    assert (set(frame["version"]), set(frame["last_version"])) == ({3.0}, {4.0})
    assert frame.attrs["passed_over"] == {
        str(tmp_path / "rollout_eval_10.pt"): "sampled for an evaluation",
        str(tmp_path / "model.pt"): "has no list of samples",
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda sample: sample.pop("group_index"), "missing key 'group_index'"),
        (lambda sample: sample.update(group_index=None), "group_index is null"),
        (lambda sample: sample.update(reward={"score": 1.0}), "reward is {'score': 1.0}, not a number"),
        (lambda sample: sample.update(prompt=None), "prompt is null"),
    ],
)
def test_damage(tmp_path: Path, change: Callable[[Any], Any], said: str) -> None:
    found = samples()
    change(found[5])
    path = save(tmp_path / "rollout_1.pt", 1, found)
    assert message(path) == f"{path}: row 5: {said}"
    records = [
        {name: value for name, value in sample.items() if name != "rollout_top_p_token_ids"} for sample in samples()
    ]
    damage(tmp_path, "rollout.jsonl", records, change, said)  # as a tool may have written them down


def test_two_runs_are_not_merged(tmp_path: Path) -> None:
    two_runs(tmp_path, lambda at: save(at / "rollout_1.pt", 1, samples()), 6)
