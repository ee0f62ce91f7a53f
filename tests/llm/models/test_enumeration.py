"""All completions by one forward, against each of them fed to the model by itself."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from llm.models.enumeration import Completions


@pytest.fixture(scope="module")
def loaded(folder: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def one_by_one(model: Any, prompt: list[int], rows: list[list[int]]) -> torch.Tensor:
    """Sum of the log-probabilities of the tokens of each completion, teacher-forced."""
    found = []
    for row in rows:
        logits = model(torch.tensor([prompt + row])).logits[0, len(prompt) - 1 : -1]
        found.append(logits.log_softmax(-1).gather(1, torch.tensor(row)[:, None]).sum())
    return torch.stack(found)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_completions_are_the_leaves_of_the_tree(length: int) -> None:
    completions = Completions(vocabulary=4, eos=1, length=length, pad=0)
    expected = set()
    for size in range(1, length + 1):
        for row in itertools.product(range(4), repeat=size):
            ends_only_there = 1 not in row[:-1]
            if ends_only_there and (row[-1] == 1 or size == length):
                expected.add(row)
    rows = [tuple(t[:n]) for t, n in zip(completions.tokens.tolist(), completions.lengths.tolist(), strict=True)]
    assert len(rows) == len(set(rows)) == len(completions)
    assert set(rows) == expected
    assert all(
        t[n:] == [0] * (length - n) for t, n in zip(completions.tokens.tolist(), completions.lengths, strict=True)
    )


def test_any_logits_are_normalized_in_float64(loaded: tuple[Any, Any]) -> None:
    _, tokenizer = loaded
    completions = Completions(len(tokenizer), tokenizer.eos_token_id, 2, tokenizer.pad_token_id)

    class Uneven(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Parameter(torch.randn(16, 16, generator=torch.Generator().manual_seed(0)))

        def forward(self, input_ids: torch.Tensor) -> Any:
            return type("Output", (), {"logits": self.table[input_ids]})

    found = completions.log_probabilities(Uneven(), tokenizer("3+4=")["input_ids"])
    assert found.dtype == torch.float64
    assert abs(float(found.detach().exp().sum()) - 1.0) < 1e-14


@pytest.mark.parametrize("length", [1, 2, 3])
def test_probabilities_sum_to_one(loaded: tuple[Any, Any], length: int) -> None:
    model, tokenizer = loaded
    completions = Completions(len(tokenizer), tokenizer.eos_token_id, length, tokenizer.pad_token_id)
    with torch.no_grad():
        total = completions.log_probabilities(model, tokenizer("3+4=")["input_ids"]).exp().sum()
    assert abs(float(total) - 1.0) < 1e-12


def test_log_probabilities_are_those_of_each_completion_fed_by_itself(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    prompt = tokenizer("2+5=")["input_ids"]
    completions = Completions(len(tokenizer), tokenizer.eos_token_id, 3, tokenizer.pad_token_id)
    chosen = torch.randperm(len(completions), generator=torch.Generator().manual_seed(0))[:60]
    chosen = torch.cat([torch.arange(3), chosen])  # the short ones, too
    rows = [completions.tokens[i, : completions.lengths[i]].tolist() for i in chosen]
    with torch.no_grad():
        found = completions.log_probabilities(model, prompt)[chosen]
        torch.testing.assert_close(found, one_by_one(model, prompt, rows).double(), rtol=0, atol=5e-6)


def test_gradients_are_those_of_each_completion_fed_by_itself(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    prompt = tokenizer("2+5=")["input_ids"]
    completions = Completions(len(tokenizer), tokenizer.eos_token_id, 2, tokenizer.pad_token_id)
    weights = torch.randn(len(completions), generator=torch.Generator().manual_seed(1))
    rows = [completions.tokens[i, : completions.lengths[i]].tolist() for i in range(len(completions))]
    parameters = list(model.parameters())
    together = torch.autograd.grad((weights * completions.log_probabilities(model, prompt)).sum(), parameters)
    alone = torch.autograd.grad((weights * one_by_one(model, prompt, rows)).sum(), parameters)
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_a_model_with_other_tokens_is_refused(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    with pytest.raises(ValueError, match="model has 16 tokens, the completions are over 8"):
        Completions(8, 2, 2, 0).log_probabilities(model, tokenizer("1+1=")["input_ids"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((16, 2, 0, 0), "length must be >= 1, got 0"),
        ((16, 16, 2, 0), "eos must be one of the 16 tokens, got 16"),
        ((16, 2, 9, 0), "length: .* completions of up to 9 tokens are too many to enumerate"),
    ],
)
def test_bad_settings_are_named(arguments: tuple[int, int, int, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Completions(*arguments)
