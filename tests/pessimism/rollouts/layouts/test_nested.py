"""A prompt a line with its list of responses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pessimism.rollouts.read import read_rollouts
from tests.pessimism.rollouts.layouts.written import completions, damage, lines, six_groups

SHAPES: dict[str, Callable[[str, list[float]], dict[str, Any]]] = {
    "responses with a score": lambda text, rewards: {
        "prompt": text,
        "responses": [{"text": "c", "score": reward} for reward in rewards],
    },
    "completions with a reward": lambda text, rewards: {
        "question": text,
        "completions": [{"content": "c", "reward": reward} for reward in rewards],
    },
    "rewards beside": lambda text, rewards: {"prompt": text, "outputs": ["c"] * len(rewards), "rewards": rewards},
    "scores beside": lambda text, rewards: {"input": text, "samples": ["c"] * len(rewards), "scores": rewards},
}


def records(shape: str = "responses with a score", **more: Any) -> list[dict[str, Any]]:
    rewards = [[reward for of, _, reward in completions() if of == group] for group in range(6)]
    return [SHAPES[shape]("Describe it.", of) | more for of in rewards]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("how", ["jsonl", "json", "parquet", "frame", "list"])
def test_a_line_is_a_group(tmp_path: Path, shape: str, how: str) -> None:
    found = records(shape, step=4)
    source: Any = tmp_path
    if how == "jsonl":  # the third group begins the second file, as the first began the first
        lines(tmp_path / "a.jsonl", found[:2])
        lines(tmp_path / "b.jsonl", found[2:])
    elif how == "json":
        (tmp_path / "a.json").write_text(json.dumps(found))
    elif how == "parquet":
        pd.DataFrame(found).to_parquet(tmp_path / "a.parquet")
    else:
        source = pd.DataFrame(found) if how == "frame" else found
    six_groups(source, [4], "a prompt with its responses")


def test_turns_of_one_completion_are_no_responses(tmp_path: Path) -> None:
    turns = [{"prompt": "a", "responses": ["x", "y"], "rewards": [0.0, 1.0], "reward": 1.0}]
    frame = read_rollouts(lines(tmp_path / "log.jsonl", turns))
    assert frame["reward"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record.update(responses=[]), "has no list of responses with rewards"),
        (lambda record: record["responses"].__setitem__(1, "x"), "responses[1] is 'x', not a JSON object as the first"),
        (lambda record: record["responses"][2].pop("score"), "responses[2] has no reward or score"),
        (lambda record: record.pop("prompt"), "has no list of responses with rewards"),
    ],
)
def test_damage(tmp_path: Path, change: Callable[[Any], Any], said: str) -> None:
    damage(tmp_path, "log.jsonl", records(), change, said, 4)
