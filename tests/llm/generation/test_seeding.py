"""Global generators are seeded for a while, and as they were after."""

from __future__ import annotations

from typing import Any

import torch

from llm.generation.make import make_sampler
from llm.generation.seeding import generators_kept, seeded


def test_a_seed_gives_the_same_samples_and_leaves_the_global_generator_alone(
    model: Any, tokenizer: Any, prompts: list[list[int]]
) -> None:
    sampler = make_sampler("transformers", model, tokenizer)
    torch.manual_seed(9)
    before = torch.get_rng_state()
    first = sampler.sample(prompts, 8, length=4, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(5)
    assert sampler.sample(prompts, 8, length=4, seed=3) == first
    assert sampler.sample(prompts, 8, length=4, seed=4) != first


def test_inside_there_is_a_seed_and_outside_nothing_has_happened() -> None:
    before = torch.get_rng_state()
    with seeded(3):
        first = torch.rand(4)
    with seeded(3):
        assert torch.equal(torch.rand(4), first)
    with generators_kept():
        torch.rand(4)
    assert torch.equal(torch.get_rng_state(), before)
