"""One prompt of a small model with every completion, its reward and its probability; prompts by their pass rate."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from llm.data.addition import Addition, digits_right
from llm.models.enumeration import Completions
from pessimism.arrays import Floats

Pair = tuple[int, int]

# Of one digit and with so few weights that it is made in seconds.
SMOKE_MODEL = (
    "tiny:digits=1,noise=0.3,hidden=32,heads=2,head_dim=16,feed_forward=64,train_steps=200,batch=64,learning_rate=0.003"
)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread: sums do not depend on the machine, and processes do not compete."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def without_bars() -> Iterator[None]:
    """Let transformers show no progress of loading inside a `with` block."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def load(folder: str) -> tuple[Any, Any, Addition]:
    """Load model, tokenizer and task of a folder that `llm.models.tiny.pretrained` made."""
    with without_bars():
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    about = json.loads((Path(folder) / "pretraining.json").read_text(encoding="utf-8"))
    return model, AutoTokenizer.from_pretrained(folder), Addition(**about["settings"]["task"])


def drawn(task: Addition, count: int, seed: int) -> list[dict[str, str]]:
    """Draw prompts and answers of different sums, by a seed."""
    pairs = np.random.default_rng(seed).choice(task.pairs(), size=count, replace=False).tolist()
    return [{"prompt": task.prompt(a, b), "answer": task.answer(a, b)} for a, b in pairs]


def completions_of(tokenizer: Any, task: Addition) -> Completions:
    """List all completions of up to one character more than the answer."""
    return Completions(len(tokenizer), tokenizer.eos_token_id, task.completion_length + 1, tokenizer.pad_token_id)


def rewards(completions: Completions, tokenizer: Any, answer: str) -> Floats:
    """Reward all completions ``(N,)`` by `digits_right`, as text without special tokens, as in training."""
    said = tokenizer.batch_decode(completions.tokens, skip_special_tokens=True)
    return np.array(digits_right(said, [answer] * len(said)))


class SumProblem:
    """A sum asked of a small model, with all completions of up to one character more than the answer.

    Parameters
    ----------
    folder : str
        Folder of the model.
    pair : tuple of int
        The two numbers.

    Attributes
    ----------
    model : transformers.PreTrainedModel
        The model as it comes.
    tokenizer : transformers.PreTrainedTokenizerBase
        Its tokenizer.
    completions : Completions
        The completions.
    prompt : list of int
        Token ids of the prompt.
    text : str
        The prompt in characters.
    reward : ndarray, shape (N,)
        Reward of each completion by `llm.data.addition.digits_right`. Partial credit is there for the shape of a
        target: with rewards of 0 and 1 every target is the nominal one of some temperature, and Lambert's curve has two
        points.
    """

    def __init__(self, folder: str, pair: Pair) -> None:
        self.model, self.tokenizer, task = load(folder)
        self.text = task.prompt(*pair)
        self.prompt: list[int] = self.tokenizer(self.text)["input_ids"]
        self.completions = completions_of(self.tokenizer, task)
        self.reward = rewards(self.completions, self.tokenizer, task.answer(*pair))

    @cached_property
    def log_behavior(self) -> Floats:
        """Log-probabilities ``(N,)`` of the model when they are first asked for, which must be before it is trained."""
        with torch.no_grad():
            return np.asarray(self.completions.log_probabilities(self.model, self.prompt).cpu())

    def said(self) -> list[str]:
        """Write all completions as text, with the name of each token that is no character."""
        rows = zip(self.completions.tokens.tolist(), self.completions.lengths.tolist(), strict=True)
        names = [self.tokenizer.convert_ids_to_tokens(token) for token in range(self.completions.vocabulary)]
        return ["".join(names[token] for token in row[:length]) for row, length in rows]


class Asked(NamedTuple):
    """A sum, its prompt and the probability that the model writes the right answer and ends."""

    pair: Pair
    text: str
    pass_rate: float


def by_pass_rate(folder: str, quantiles: Sequence[float]) -> list[Asked]:
    """Choose sums at quantiles of the pass rates of all sums.

    Parameters
    ----------
    folder : str
        Folder of the model.
    quantiles : sequence of float
        Quantiles in [0, 1].

    Returns
    -------
    list of Asked
        The sums, lowest pass rate first.

    Raises
    ------
    ValueError
        If a quantile is not in [0, 1].
    """
    if not all(0.0 <= quantile <= 1.0 for quantile in quantiles):
        raise ValueError(f"quantiles must be in [0, 1], got {tuple(quantiles)}")
    model, tokenizer, task = load(folder)
    pairs = task.pairs()
    rows = [task.prompt(a, b) + task.answer(a, b) + tokenizer.eos_token for a, b in pairs.tolist()]
    ids = torch.tensor(tokenizer(rows)["input_ids"])
    start = len(task.prompt(0, 0))
    with torch.no_grad():
        steps = model(input_ids=ids).logits[:, start - 1 : -1].double().log_softmax(dim=-1)
    rates = steps.gather(2, ids[:, start:, None]).sum(dim=(1, 2)).exp().numpy()
    order = np.argsort(rates, kind="stable")
    chosen = [int(order[round(quantile * (len(order) - 1))]) for quantile in sorted(quantiles)]
    asked = [(int(pairs[i, 0]), int(pairs[i, 1]), float(rates[i])) for i in chosen]
    return [Asked((a, b), task.prompt(a, b), rate) for a, b, rate in asked]
