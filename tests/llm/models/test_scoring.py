"""Scores of completions against the exact enumeration, and against each completion fed to the model by itself."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from llm.models.enumeration import Completions
from llm.models.scoring import score


@pytest.fixture(scope="module")
def loaded(folder: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def ragged(tokenizer: Any) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts and completions of many lengths, pad among the tokens of some, one completion empty."""
    rng = torch.Generator().manual_seed(0)
    prompts, completions = [], []
    for _ in range(40):
        p, t = torch.randint(1, 9, (2,), generator=rng).tolist()
        prompts.append(torch.randint(len(tokenizer), (p,), generator=rng).tolist())
        completions.append(torch.randint(len(tokenizer), (t,), generator=rng).tolist())
    assert any(tokenizer.pad_token_id in c for c in completions)
    return [*prompts, [5]], [*completions, []]


def test_sums_are_those_of_the_enumeration(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    pad = tokenizer.pad_token_id
    completions = Completions(len(tokenizer), tokenizer.eos_token_id, 2, pad)
    rows = [completions.tokens[i, :n].tolist() for i, n in enumerate(completions.lengths.tolist())]
    for text in ("3+4=", "5+1="):
        prompt = tokenizer(text)["input_ids"]
        with torch.no_grad():
            exact = completions.log_probabilities(model, prompt)
        found = score(model, [prompt] * len(rows), rows, pad=pad)
        sums = torch.stack([row.sum() for row in found.log_probs])
        torch.testing.assert_close(sums.double(), exact.double(), rtol=0, atol=1e-5)


def test_long_rows_share_forwards_as_far_as_memory_goes(
    loaded: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = loaded
    prompts, completions = ragged(tokenizer)
    whole = score(model, prompts, completions, pad=0)
    sizes: list[tuple[int, ...]] = []
    handle = model.register_forward_pre_hook(
        lambda _, __, given: sizes.append(given["input_ids"].shape), with_kwargs=True
    )
    monkeypatch.setattr("llm.models.scoring._LOGITS", 40 * len(tokenizer))
    monkeypatch.setattr("llm.models.scoring._STEPS", 3 * len(tokenizer))
    parts = score(model, prompts, completions, pad=0)
    handle.remove()
    assert len(sizes) > 5
    assert all(rows * width <= 40 for rows, width in sizes)
    assert max(rows for rows, _ in sizes) > 4
    for one, other in zip((*whole.log_probs, *whole.entropies), (*parts.log_probs, *parts.entropies), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    monkeypatch.setattr("llm.models.scoring._LOGITS", 1)
    assert len(score(model, prompts[:3], completions[:3], pad=0).log_probs) == 3  # a row at least


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_lengths_may_differ(loaded: tuple[Any, Any], batch_size: int) -> None:
    model, tokenizer = loaded
    prompts, completions = ragged(tokenizer)
    found = score(model, prompts, completions, pad=tokenizer.pad_token_id, batch_size=batch_size)
    for prompt, completion, log_probs, entropies in zip(prompts, completions, *found, strict=True):
        assert log_probs.shape == entropies.shape == (len(completion),)
        assert log_probs.dtype == torch.float32
        with torch.no_grad():
            every = model(torch.tensor([prompt + completion])).logits[0].double()
        p = every.softmax(-1)[len(prompt) - 1 : len(prompt) - 1 + len(completion)]
        expected = p.gather(1, torch.tensor(completion, dtype=torch.long)[:, None])[:, 0].log()
        torch.testing.assert_close(log_probs.double(), expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(entropies.double(), -(p * p.log()).sum(-1), rtol=0, atol=1e-5)


def test_a_token_that_cannot_be_drawn_costs_no_entropy() -> None:
    class Certain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = LlamaConfig(vocab_size=4)
            self.one = torch.nn.Parameter(torch.tensor(0.0))

        def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
            logits = torch.full((*input_ids.shape, 4), -torch.inf)
            logits[..., :2] = self.one
            return type("Output", (), {"logits": logits})

    found = score(Certain(), [[0]], [[1, 3]], pad=0)
    assert found.log_probs[0].tolist() == [pytest.approx(-math.log(2.0)), -math.inf]
    torch.testing.assert_close(found.entropies[0], torch.full((2,), 2.0).log())


def test_the_softmax_is_in_float32(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    found = score(model, [[5, 6]], [[7]], pad=0)
    with torch.no_grad():
        logits = model(torch.tensor([[5, 6]])).logits[0, -1]
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(found.log_probs[0][0], logits.float().log_softmax(-1)[7], rtol=0, atol=1e-6)


def test_dropout_is_off_and_back_after(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder, attention_dropout=0.5)
    first = score(model, [[5, 6, 7]], [[7]], pad=0)
    model.train()
    assert torch.equal(score(model, [[5, 6, 7]], [[7]], pad=0).log_probs[0], first.log_probs[0])
    assert model.training
    with pytest.raises(IndexError):
        score(model, [[99]], [[7]], pad=0)
    assert model.training
    assert not score(model, [[5]], [[7]], pad=0).log_probs[0].requires_grad


def test_nothing_to_score(loaded: tuple[Any, Any]) -> None:
    assert score(loaded[0], [], [], pad=0) == ([], [])


@pytest.mark.parametrize(
    ("prompts", "completions", "batch_size", "said"),
    [
        ([[1]], [[1], [2]], 64, "prompts must be one per completion, got 1 and 2"),
        ([[1], []], [[1], [2]], 64, r"prompts\[1\] must have at least one token, got none"),
        ([[1]], [[1]], 0, "batch_size must be >= 1, got 0"),
    ],
)
def test_bad_input_is_named(
    loaded: tuple[Any, Any], prompts: Any, completions: Any, batch_size: int, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        score(loaded[0], prompts, completions, pad=0, batch_size=batch_size)
