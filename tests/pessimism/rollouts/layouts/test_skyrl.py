"""SkyRL: `dumped_evals/global_step_N_evals/SOURCE.jsonl`, as skyrl/train/utils/trainer_utils.py dumps them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pessimism.rollouts.layouts.written import completions, damage, lines, prompt, six_groups


def records(tokens: bool = False) -> list[dict[str, Any]]:
    return [
        {
            "input_prompt": prompt(group),
            "output_response": "c",
            "score": [0.0, 0.0, reward] if tokens else reward,
            "stop_reason": "stop",
            "env_class": "gsm8k",
            "env_extras": {"reward_spec": {"ground_truth": "1"}},
            "data_source": "gsm8k",
        }
        for group, _, reward in completions()
    ]


@pytest.mark.parametrize("tokens", [False, True])
def test_scores_of_completions_or_of_their_tokens(tmp_path: Path, tokens: bool) -> None:
    for step in (5, 10):
        folder = tmp_path / "dumped_evals" / f"global_step_{step}_evals"
        lines(folder / "gsm8k.jsonl", records(tokens))
        lines(folder / "aggregated_results.jsonl", [{"eval/all/avg_score": 0.5}])
    frame = six_groups(tmp_path, [5, 10], "SkyRL")
    assert len(frame.attrs["passed_over"]) == 2


def test_without_training_there_is_no_step(tmp_path: Path) -> None:
    frame = six_groups(lines(tmp_path / "eval_only" / "gsm8k.jsonl", records()), [0], "SkyRL")
    assert frame.attrs["step_note"] == "no step column: all rows are one step"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record.update(score=[]), "score is [], neither a number nor one for each token"),
        (
            lambda record: record.update(score=[1.0, "x"]),
            "score[1] is 'x', not a number",
        ),
        (lambda record: record.update(score=None), "score is null, not a number"),
        (lambda record: record.pop("score"), "missing key 'score'"),
    ],
)
def test_damage(tmp_path: Path, change: Callable[[Any], Any], said: str) -> None:
    damage(tmp_path, "log.jsonl", records(), change, said)
