"""Settings that do not go together or are out of range are named when they are made."""

from __future__ import annotations

import re
from typing import Any

import pytest

from llm.settings import EvaluateConfig, MeasureConfig, mapping

MODELS: dict[str, Any] = {"policy": "x", "behavior": "y", "objective": "kimi"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"policy": "x"}, "run must be given, or policy, behavior and objective"),
        ({"policy": "x", "behavior": "y"}, "run must be given, or policy, behavior and objective"),
        ({**MODELS, "checkpoint": "z"}, "checkpoint is for run: give its folder as policy, got 'z'"),
        ({**MODELS, "num_generations": 7}, "samples must be whole groups of num_generations, got 256 and 7"),
        ({**MODELS, "hyper": "{beta"}, "hyper must be a mapping, or one in JSON, got '{beta'"),
        ({"run": "x", "objective": "kimi"}, "objective is the run's own: leave it out beside run, got 'kimi'"),
        ({"run": "x", "reward": "final"}, "reward is the run's own: leave it out beside run, got 'final'"),
        ({"run": "x", "seed": -1}, "seed must be >= 0, got -1"),
    ],
    ids=str,
)
def test_what_measure_refuses(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        MeasureConfig(**given)


def test_a_run_has_the_limit_that_is_asked_for_and_groups_count_for_samples_only() -> None:
    assert MeasureConfig(run="x", limit=3).limit == 3
    assert MeasureConfig(**MODELS, num_generations=7, exact=True).samples == 256


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "model must be given"),
        ({"model": "x", "ks": [1, 17]}, "ks must be from 1 to the 16 samples, got 17"),
        ({"model": "x", "max_completion_length": 0}, "max_completion_length must be >= 1, got 0"),
        ({"model": "x", "samples": 0}, "samples must be >= 1, got 0"),
        ({"model": "x", "batch_size": 0}, "batch_size must be >= 1, got 0"),
        (
            {"model": "x", "out": "x.jsonl"},
            "out must not end in .jsonl, which is where finished prompts are kept, got 'x.jsonl'",
        ),
        ({"chat_template_kwargs": "[1]"}, "chat_template_kwargs must be a mapping, or one in JSON, got '[1]'"),
    ],
    ids=str,
)
def test_what_evaluate_refuses(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        EvaluateConfig(**given)


def test_a_mapping_may_be_json() -> None:
    assert mapping('{"a": 1}', "hyper") == mapping({"a": 1}, "hyper") == {"a": 1}
    assert mapping(None, "hyper") is None
