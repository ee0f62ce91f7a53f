"""What is alike for all engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from llm.generation.make import make_sampler
from llm.generation.transformers import TransformersSampler


def test_settings_of_the_folder_are_not_used_nor_lost(model: Any, tokenizer: Any, prompts: list[list[int]]) -> None:
    plain = make_sampler("transformers", model, tokenizer).sample(prompts, 40, length=4, seed=5)
    theirs = GenerationConfig(
        do_sample=True,
        temperature=0.1,
        top_k=2,
        top_p=0.5,
        min_p=0.5,
        repetition_penalty=3.0,
        suppress_tokens=[5],
        eos_token_id=tokenizer.eos_token_id,
    )
    model.generation_config = theirs
    assert make_sampler("transformers", model, tokenizer).sample(prompts, 40, length=4, seed=5) == plain
    assert model.generation_config is theirs


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompts": [[1], []]}, r"prompts\[1\] must have at least one token, got none"),
        ({"count": 0}, "count must be an integer >= 1, got 0"),
        ({"length": 1.0}, "length must be an integer >= 1, got 1.0"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"length": 128}, r"prompts\[0\]: 1 tokens and a completion of up to 128 are over the 128 positions"),
    ],
)
def test_bad_requests_are_named(model: Any, tokenizer: Any, change: dict[str, Any], said: str) -> None:
    sampler = TransformersSampler(model, tokenizer)
    with pytest.raises(ValueError, match=said):
        sampler.sample(**{"prompts": [[1]], "count": 1, "length": 1, "seed": 0} | change)


def test_a_model_without_probabilities(folder: Path, tokenizer: Any) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.lm_head.weight.data[5] = torch.inf
    with pytest.raises(FloatingPointError, match="^generation: the probabilities of the model are not finite; it has"):
        TransformersSampler(model, tokenizer).sample([[5, 6]], 2, length=2, seed=0)
