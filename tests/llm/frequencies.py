"""Whether a sampler draws from the model: frequencies of completions against their probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import stats

from llm.models.enumeration import Completions


def assert_drawn_from(model: Any, tokenizer: Any, prompts: list[list[int]], sampler: Any, count: int) -> None:
    """Chi-square over all completions of two tokens, those expected fewer than 5 times as one."""
    found = sampler.sample(prompts, count, length=2, seed=0)
    every = Completions(len(tokenizer), tokenizer.eos_token_id, 2, tokenizer.pad_token_id)
    keys = [tuple(every.tokens[i, :n].tolist()) for i, n in enumerate(every.lengths.tolist())]
    for k, prompt in enumerate(prompts):
        with torch.no_grad():
            expected = every.log_probabilities(model, prompt).double().exp().numpy() * count
        drawn = [tuple(c) for c in found.completions[k * count : (k + 1) * count]]
        observed = np.array([drawn.count(key) for key in keys])
        assert observed.sum() == count
        rare = expected < 5
        groups = [np.append(a[~rare], a[rare].sum()) for a in (observed, expected)]
        assert stats.chisquare(groups[0], groups[1] * count / groups[1].sum()).pvalue > 0.01
