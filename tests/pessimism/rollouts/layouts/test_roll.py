"""ROLL: `rollout_dump_data.step_N.jsonl` of roll/pipeline/rlvr/utils.py, one line with a list for each column."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pessimism.rollouts.layouts.written import completions, damage, lines, prompt, six_groups


def record(step: int, name: str = "prompt") -> dict[str, Any]:
    rows = completions()
    return {
        "id": [f"q{group}" for group, _, _ in rows],
        name: [prompt(group) for group, _, _ in rows],
        "tag": ["math"] * len(rows),
        "responses": ["c"] * len(rows),
        "scores": [reward for _, _, reward in rows],
        "sampling_params": ["{}"] * len(rows),
        "global_step": [step] * len(rows),
    }


@pytest.mark.parametrize("name", ["prompt", "messages"])
def test_a_file_is_a_step(tmp_path: Path, name: str) -> None:
    for step in (9, 10):
        lines(tmp_path / f"rollout_dump_data.step_{step}.jsonl", [record(step, name)])
    frame = six_groups(tmp_path, [9, 10], "ROLL")
    assert frame["step"].is_monotonic_increasing  # in natural order


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record["scores"].pop(), "has 24 entries, but scores has 23"),
        (lambda record: record.pop("prompt"), "missing key 'messages'"),
        (lambda record: record.pop("scores"), "missing key 'scores'"),
    ],
)
def test_damage(tmp_path: Path, change: Callable[[Any], Any], said: str) -> None:
    damage(tmp_path, "log.jsonl", [record(1), record(2), record(3)], change, said, 24)
