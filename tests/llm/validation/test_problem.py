"""Prompts of the validation with all their completions: probabilities and rewards by other ways."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset

from llm.data.rewards import reward_function
from llm.evaluation.evaluate import evaluate
from llm.generation.make import make_sampler
from llm.validation.problem import SumProblem, by_pass_rate, load, one_thread


def test_a_problem_is_the_model_s_own_view_of_a_sum(folder: Path) -> None:
    at = SumProblem(str(folder), (3, 4))
    said = at.said()
    assert at.text == "3+4="
    assert np.exp(at.log_behavior).sum() == pytest.approx(1.0, abs=1e-6)
    plain = [re.sub(r"<\w+>", "", text) for text in said]
    np.testing.assert_array_equal(at.reward, [float(text == "7") for text in plain])
    assert at.reward[said.index("7<eos>")] == 1.0


def test_prompts_by_pass_rate(folder: Path) -> None:
    low, middle, high = by_pass_rate(str(folder), (1.0, 0.0, 0.5))
    assert 0.0 <= low.pass_rate < middle.pass_rate < high.pass_rate <= 1.0
    for asked in (low, high):
        at = SumProblem(str(folder), asked.pair)
        assert at.text == asked.text
        right = at.said().index(f"{sum(asked.pair)}<eos>")
        assert float(np.exp(at.log_behavior[right])) == pytest.approx(asked.pass_rate, abs=1e-6)
    model, tokenizer, task = load(str(folder))
    rows = Dataset.from_list([{"prompt": high.text, "answer": task.answer(*high.pair)}])
    worth, sampler = reward_function("exact"), make_sampler("transformers", model, tokenizer)
    frame = evaluate(model, tokenizer, rows, worth, sampler=sampler, length=2, samples=400, ks=(1,), seed=0)
    assert frame["pass@1"].iloc[0] == pytest.approx(high.pass_rate, abs=0.1)
    with pytest.raises(ValueError, match=r"quantiles must be in \[0, 1\], got \(1.5,\)"):
        by_pass_rate(str(folder), (1.5,))


def test_one_thread_is_put_back() -> None:
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
