"""open-instruct: `RUN_rollouts_NNNNNN.jsonl` beside `RUN_metadata.jsonl`, as open_instruct/rl_utils.py writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pessimism.diagnosis.logged_groups import LoggedGroups
from pessimism.rollouts.log_probs import KNOWN
from pessimism.rollouts.read import read_rollouts
from tests.pessimism.rollouts.layouts.written import completions, damage, lines, six_groups, two_runs


def records(step: int = 1) -> list[dict[str, Any]]:
    return [
        {
            "step": step,
            "sample_idx": i,
            "prompt_idx": group,
            "prompt_tokens": [10, 3],  # the same picture prompt for all: the groups are those of prompt_idx
            "response_tokens": [4, 5],
            "reward": reward,
            "advantage": reward - 0.5,
            "finish_reason": "stop",
            "dataset": "math",
            "ground_truth": [1],
            "request_info": None,
            "logprobs": [-0.25, -0.5],
        }
        for i, (group, _, reward) in enumerate(completions())
    ]


def test_groups_are_those_of_prompt_idx_over_shards(tmp_path: Path) -> None:
    both = records(1) + records(2)
    lines(tmp_path / "run_rollouts_000000.jsonl", both[:22])  # a group goes on in the next file
    lines(tmp_path / "run_rollouts_000001.jsonl", both[22:])
    metadata = lines(tmp_path / "run_metadata.jsonl", [{"run_name": "run", "git_commit": "0", "model_name": "m"}])
    frame = six_groups(tmp_path, [1, 2], "open-instruct", length_column="completion_length")
    assert set(frame["length"]) == {2.0}
    assert set(frame["behavior_log_prob"]) == {-0.75}
    (passed,) = frame.attrs["passed_over"].items()
    assert passed[0] == str(metadata)
    assert passed[1] == "no column completion_length"  # which was asked for; else "no column of a prompt"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record.update(response_tokens=3), "response_tokens is 3, not a list"),
        (lambda record: record.update(reward=None), "reward is null, not a number"),
        (lambda record: record.pop("prompt_idx"), "missing key 'prompt_idx'"),
        (lambda record: record.update(prompt_idx=None), "prompt_idx is null"),
        (lambda record: record.update(step="one"), "step is 'one', not an integer"),
    ],
)
def test_damage(tmp_path: Path, change: Callable[[Any], Any], said: str) -> None:
    damage(tmp_path, "log.jsonl", records(), change, said)


def test_two_runs_are_not_merged(tmp_path: Path) -> None:
    two_runs(tmp_path, lambda at: lines(at / "run_rollouts_000000.jsonl", records()), 6)
    for name in ("c", "d"):  # in one folder
        found = [record | {"dataset": name} for record in records()]
        lines(tmp_path / "one" / f"{name}_rollouts_000000.jsonl", found)
    assert len(LoggedGroups.of(read_rollouts(tmp_path / "one")).groups) == 12


def test_columns_that_the_first_record_lacks_are_found(tmp_path: Path) -> None:
    rows = records()
    for name in ("logprobs", "advantage"):
        del rows[0][name]
    lines(tmp_path / "log.jsonl", rows)
    frame = read_rollouts(tmp_path, log_prob_columns=KNOWN)
    assert frame["advantage"].isna().tolist() == [True] + [False] * (len(rows) - 1)
    assert frame["behavior_log_prob"].isna().tolist() == [True] + [False] * (len(rows) - 1)
    assert set(frame["behavior_log_prob"].iloc[1:]) == {-0.75}
    with pytest.raises(ValueError, match=r"log\.jsonl:1: missing key 'logprobs'"):  # asked for, by name
        read_rollouts(tmp_path, log_prob_columns="logprobs")
    del rows[0]["prompt_idx"], rows[1]["step"]  # what no row may lack is said
    lines(tmp_path / "log.jsonl", rows)
    with pytest.raises(ValueError, match=r"log\.jsonl:1: missing key 'prompt_idx'"):
        read_rollouts(tmp_path)
    assert read_rollouts(tmp_path, skip_bad=True).attrs["skipped"] == 2
