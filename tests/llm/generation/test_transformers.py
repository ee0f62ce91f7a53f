"""Samples of the transformers sampler: their frequencies, their log-probabilities, their ends."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from llm.data.prompts import required_tokens
from llm.generation.make import make_sampler
from llm.generation.transformers import TransformersSampler
from llm.models.scoring import score
from tests.llm.frequencies import assert_drawn_from


def test_frequencies_are_the_probabilities(model: Any, tokenizer: Any, prompts: list[list[int]]) -> None:
    sampler = make_sampler("transformers", model, tokenizer, batch_size=2000)
    assert_drawn_from(model, tokenizer, prompts, sampler, count=6000)


@pytest.mark.parametrize("batch_size", [5, 64])
def test_log_probabilities_are_those_of_the_model(
    model: Any, tokenizer: Any, prompts: list[list[int]], batch_size: int
) -> None:
    sampler = make_sampler("transformers", model, tokenizer, batch_size=batch_size)
    found = sampler.sample(prompts, 20, length=5, seed=1)
    repeated = [prompt for prompt in prompts for _ in range(20)]
    scored = score(model, repeated, found.completions, pad=tokenizer.pad_token_id).log_probs
    assert len({len(c) for c in found.completions}) > 2
    for completion, ours, theirs in zip(found.completions, found.log_probs, scored, strict=True):
        assert len(ours) == len(completion)
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=1e-5)


def test_they_end_at_eos_or_at_the_limit(model: Any, tokenizer: Any, prompts: list[list[int]]) -> None:
    eos = tokenizer.eos_token_id
    sampler = make_sampler("transformers", model, tokenizer)
    for length in (1, 4):
        found = sampler.sample(prompts, 60, length=length, seed=2).completions
        assert all(eos not in c[:-1] for c in found)
        assert all(c[-1] == eos or len(c) == length for c in found)
    assert {len(c) for c in found} >= {1, 2, 3}
    assert any(c[-1] != eos for c in sampler.sample(prompts, 60, length=1, seed=2).completions)


def test_a_drawn_pad_is_a_token(model: Any, tokenizer: Any) -> None:
    pad = tokenizer.pad_token_id

    class OnlyPad(type(model)):  # type: ignore[misc]
        def forward(self, *arguments: Any, **options: Any) -> Any:
            output = super().forward(*arguments, **options)
            output.logits = torch.full_like(output.logits, -torch.inf)
            output.logits[..., pad] = 0.0
            return output

    model.__class__ = OnlyPad
    found = make_sampler("transformers", model, tokenizer).sample([[5, 6]], 2, length=4, seed=0)
    assert found == ([[pad] * 4] * 2, [[0.0] * 4] * 2)


def test_all_may_end_at_once(model: Any, tokenizer: Any, prompts: list[list[int]]) -> None:
    model.lm_head = torch.nn.Linear(model.config.hidden_size, len(tokenizer))
    model.lm_head.weight.data.zero_()
    model.lm_head.bias.data.zero_()[tokenizer.eos_token_id] = 50.0
    found = make_sampler("transformers", model, tokenizer).sample(prompts, 2, length=4, seed=0)
    assert found.completions == [[tokenizer.eos_token_id]] * 6
    np.testing.assert_allclose(found.log_probs, 0.0, atol=1e-6)


def test_every_end_that_the_model_names_is_one(model: Any, tokenizer: Any, prompts: list[list[int]]) -> None:
    """As for TRL: the tokenizer's eos and those of the generation config, the draws being the same up to there."""
    plain = make_sampler("transformers", model, tokenizer).sample(prompts, 40, length=4, seed=5)
    other = tokenizer.convert_tokens_to_ids("1")
    assert required_tokens(tokenizer, model) == ([tokenizer.eos_token_id], tokenizer.pad_token_id)
    model.generation_config.eos_token_id = [other, tokenizer.eos_token_id]
    ends = [tokenizer.eos_token_id, other]
    assert required_tokens(tokenizer, model) == (ends, tokenizer.pad_token_id)
    found = make_sampler("transformers", model, tokenizer).sample(prompts, 40, length=4, seed=5)
    assert any(c[-1] == other for c in found.completions)
    assert all(len(c) == 4 or c[-1] in ends for c in found.completions)
    assert not any(token in ends for c in found.completions for token in c[:-1])
    cut = [c[: c.index(other) + 1] if other in c else c for c in plain.completions]
    assert [c[0] for c in found.completions] == [c[0] for c in cut]


def test_dropout_is_off_and_back_after(folder: Path, tokenizer: Any, prompts: list[list[int]]) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder, attention_dropout=0.5).train()
    found = make_sampler("transformers", model, tokenizer).sample(prompts, 4, length=4, seed=0)
    assert model.training
    assert found == make_sampler("transformers", folder, tokenizer).sample(prompts, 4, length=4, seed=0)


def test_load_takes_the_weights_of_the_moment(model: Any, tokenizer: Any, prompts: list[list[int]]) -> None:
    sampler = make_sampler("transformers", model, tokenizer)
    changed = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.mul_(1.3)
    sampler.load(changed)
    first = sampler.sample(prompts, 20, length=3, seed=0)
    repeated = [prompt for prompt in prompts for _ in range(20)]
    scored = torch.cat(score(changed, repeated, first.completions, pad=0).log_probs)
    np.testing.assert_allclose(np.concatenate(first.log_probs), scored, rtol=0, atol=1e-5)
    with torch.no_grad():
        changed.model.norm.weight.zero_()
    assert sampler.sample(prompts, 20, length=3, seed=0) == first
    assert make_sampler("transformers", model, tokenizer).sample(prompts, 20, length=3, seed=0) != first


def test_no_prompts(model: Any, tokenizer: Any) -> None:
    assert TransformersSampler(model, tokenizer).sample([], 3, length=2, seed=0) == ([], [])


def test_bad_settings_are_named(model: Any, folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        TransformersSampler(model, tokenizer, batch_size=0)
    tokenizer.pad_token = None
    with pytest.raises(ValueError, match="tokenizer has no pad_token"):
        TransformersSampler(model, tokenizer)
