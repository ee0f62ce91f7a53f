"""verifiers: `results.jsonl` of an evaluation, as verifiers/legacy/utils/save_utils.py writes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.pessimism.rollouts.layouts.written import completions, damage, lines, six_groups, two_runs


def records() -> list[dict[str, Any]]:
    return [
        {
            "example_id": group,
            "prompt": [{"role": "user", "content": "What is in the picture?"}],
            "completion": [{"role": "assistant", "content": "c"}],
            "answer": "1",
            "info": {},
            "reward": reward,
            "error": None,
            "is_completed": True,
            "metrics": {"correct": reward},
        }
        for group, _, reward in completions()
    ]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
def test_groups_are_those_of_example_id(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"results{suffix}"
    if suffix == ".jsonl":
        lines(path, records())
        lines(tmp_path / "metadata.json", [{"env_id": "gsm8k", "model": "m", "num_examples": 6}])
    elif suffix == ".json":
        path.write_text(json.dumps(records()))
    else:
        kept = ("example_id", "prompt", "completion", "reward")
        pd.DataFrame([{name: record[name] for name in kept} for record in records()]).to_parquet(path)
    six_groups(tmp_path, [0], "verifiers")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record.pop("example_id"), "missing key 'example_id'"),
        (lambda record: record.update(example_id=None), "example_id is null"),
        (lambda record: record.update(reward=None), "reward is null"),
        (lambda record: record.update(prompt=None), "prompt is null"),
    ],
)
def test_damage(tmp_path: Path, change: Callable[[Any], Any], said: str) -> None:
    damage(tmp_path, "log.jsonl", records(), change, said)


def test_two_runs_are_not_merged(tmp_path: Path) -> None:
    two_runs(tmp_path, lambda at: lines(at / "results.jsonl", records()), 6)
