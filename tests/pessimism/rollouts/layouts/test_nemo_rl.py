"""NeMo-RL: `train_data_stepN.jsonl` of nemo_rl/algorithms/grpo.py, a line as nemo_rl/utils/logger.py writes it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pessimism.rollouts.layouts.written import completions, damage, lines, prompt, six_groups


def records(system: bool = False) -> list[dict[str, Any]]:
    """Four tokens each: two of the prompt, two sampled with probabilities 1/2 and 1/4, policy 1/4 and 1/2."""
    return [
        {
            "content": [[*(["You add."] if system else []), prompt(group), "an answer"]],
            "rewards": [reward],
            "input_lengths": [4],
            "token_ids": [[1, 10 + group, 5, 6]],
            "token_loss_mask": [[0, 0, 1, 1]],
            "sample_loss_mask": [1.0],
            "advantages": [[0.0, 0.0, reward, reward]],
            "generation_logprobs": [[0.0, 0.0, -math.log(2), -math.log(4)]],
            "prev_logprobs": [[0.0, 0.0, -math.log(4), -math.log(2)]],
            "idx": i,
        }
        for i, (group, _, reward) in enumerate(completions())
    ]


@pytest.mark.parametrize("system", [False, True])
def test_a_line_is_a_completion(tmp_path: Path, system: bool) -> None:
    path = lines(tmp_path / "train_data_step7.jsonl", records(system))
    frame = six_groups(path, [7], "NeMo-RL", length_column="completion_length")
    assert set(frame["length"]) == {2.0}
    assert set(frame["tokens"]) == {2.0}
    assert frame["behavior_log_prob"].to_numpy() == pytest.approx(-math.log(8))
    # w = (1/2, 2) with its products before a token 1, 1/2: the sum of w - 1 - log w.
    assert frame["token_kl_reverse"].to_numpy() == pytest.approx(0.5)


def test_filtered_rewards_are_those_of_the_lines(tmp_path: Path) -> None:
    filtered = [{**record, "filtered_rewards": record["rewards"], "rewards": [9.0]} for record in records()]
    six_groups(lines(tmp_path / "train_data_step7.jsonl", filtered), [7], "NeMo-RL")


def test_what_was_sampled_to_validate_is_passed_over(tmp_path: Path) -> None:
    lines(tmp_path / "train_data_step1.jsonl", records())
    path = lines(tmp_path / "val_data_step1.jsonl", records())
    assert six_groups(tmp_path, [1], "NeMo-RL").attrs["passed_over"] == {str(path): "sampled for an evaluation"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record.update(content=["x"]), "content is 'x', not the messages"),
        (lambda record: record.update(content=[]), "content has 0 entries, not the one of a completion"),
        (lambda record: record.update(rewards=1.0), "rewards is 1.0, not a list"),
        (lambda record: record.update(rewards=["x"]), "reward is 'x', not a number"),
        (lambda record: record["prev_logprobs"][0].pop(), "prev_logprobs has 3 entries, but the mask of tokens has 4"),
        (lambda record: record["token_ids"][0].pop(), "token_ids has 3 entries, but the mask of tokens has 4"),
        (lambda record: record.update(token_loss_mask=[1]), "token_loss_mask is 1, not a list of one list"),
        (lambda record: record.pop("content"), "missing key 'content'"),
    ],
)
def test_damage(tmp_path: Path, change: Callable[[Any], Any], said: str) -> None:
    damage(tmp_path, "train_data_step1.jsonl", records(), change, said)
