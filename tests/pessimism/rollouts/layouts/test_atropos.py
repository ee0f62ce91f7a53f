"""Atropos: the JSONL of `data_path_to_save_groups`, in which atroposlib/envs/base.py writes a group a line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pessimism.rollouts.layouts.written import completions, damage, lines, prompt, six_groups


def records() -> list[dict[str, Any]]:
    """Two tokens of the prompt, which the mask has as -100, and two that were sampled."""
    found = []
    for group in range(6):
        rewards = [reward for of, _, reward in completions() if of == group]
        found.append(
            {
                "tokens": [[1, 2, 7, 8]] * 4,
                "masks": [[-100, -100, 7, 8]] * 4,
                "scores": rewards,
                "advantages": [[0.0, 0.0, reward, reward] for reward in rewards],
                "ref_logprobs": None,
                "inference_logprobs": [[1.0, 1.0, -0.25, -0.5]] * 4,
                "messages": [[{"role": "user", "content": prompt(group)}, {"role": "assistant", "content": "c"}]] * 4,
                "group_overrides": {},
                "overrides": None,
            }
        )
    return found


@pytest.mark.parametrize("messages", [True, False])
def test_a_line_is_a_group(tmp_path: Path, messages: bool) -> None:
    groups = [record if messages else record | {"messages": None} for record in records()]
    frame = six_groups(lines(tmp_path / "gsm8k_1.jsonl", groups), [0], "Atropos", length_column="completion_length")
    assert set(frame["length"]) == {2.0}
    assert set(frame["behavior_log_prob"]) == {-0.75}
    assert frame["prompt"].nunique() == (6 if messages else 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record["tokens"].pop(), "scores has 4 entries, but tokens has 3"),
        (lambda record: record["masks"].__setitem__(2, [1]), "tokens has 4 entries, but the mask of tokens has 1"),
        (
            lambda record: record["masks"].__setitem__(2, 5),
            "entry 2 of tokens and masks is [1, 2, 7, 8] and 5, not two lists",
        ),
        (
            lambda record: record["inference_logprobs"].__setitem__(0, [0.5]),
            "inference_logprobs has 1 entries, but the mask of tokens has 4",
        ),
        (lambda record: record.pop("masks"), "missing key 'masks'"),
    ],
)
def test_damage(tmp_path: Path, change: Callable[[Any], Any], said: str) -> None:
    damage(tmp_path, "log.jsonl", records(), change, said, 4)
