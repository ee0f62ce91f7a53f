"""Completions sampled by transformers, with the log-probability of each token (see `llm.generation.sampler`)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import LogitsProcessor, LogitsProcessorList

from llm.data.prompts import required_tokens
from llm.generation.sampler import (
    Samples,
    finite_probabilities,
    generation_settings,
    only_ours,
    require_request,
)
from llm.generation.seeding import seeded
from llm.models.load import load_model
from llm.models.scoring import evaluating


class TransformersSampler:
    """Sampler that uses transformers' own `generate`.

    Parameters
    ----------
    model : str, Path or transformers.PreTrainedModel
        Hub id, folder or model. A model in memory is sampled from with the weights that it has at the time, until
        `load`.
    tokenizer : transformers.PreTrainedTokenizerBase
        Tokenizer with eos and pad.
    batch_size : int, default 64
        Number of completions drawn together; with another one a seed gives other completions.
    dtype : str, default "auto"
        "float32", "bfloat16", ... for a hub id or folder; "auto" is the dtype of the checkpoint.
    device : str, optional
        Device for a hub id or folder; a GPU by default, where there is one.

    Raises
    ------
    ValueError
        If `batch_size` < 1, or the tokenizer has no eos or no pad.
    """

    def __init__(
        self,
        model: str | Path | Any,
        tokenizer: Any,
        *,
        batch_size: int = 64,
        dtype: str = "auto",
        device: str | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {batch_size!r}")
        if isinstance(model, str | Path):
            model = load_model(model, dtype=dtype, device=device)
        self.ends, self.pad = required_tokens(tokenizer, model)
        self.model, self.batch_size = model, batch_size

    def sample(self, prompts: Sequence[Sequence[int]], count: int, *, length: int, seed: int) -> Samples:
        """Draw completions for each prompt.

        Parameters
        ----------
        prompts : sequence of sequence of int
            Token ids of each prompt.
        count : int
            Number of completions of each prompt.
        length : int
            Largest number of tokens of a completion.
        seed : int
            Equal seeds give equal completions.

        Returns
        -------
        Samples
            Completions and the log-probabilities of their tokens.

        Raises
        ------
        ValueError
            If a prompt is empty, ``count``, ``length`` or ``seed`` is out of range, or a prompt and ``length`` tokens
            are more than the model has positions.
        FloatingPointError
            If the model gives no probabilities.
        """
        require_request(
            prompts, count, length, seed, positions=getattr(self.model.config, "max_position_embeddings", None)
        )
        rows = [list(prompt) for prompt in prompts for _ in range(count)]
        starts = range(0, len(rows), self.batch_size)
        found = Samples([], [])
        with seeded(seed), evaluating(self.model), only_ours(self.model), finite_probabilities():
            for start in tqdm(starts, desc="sample", unit="batch", delay=2, disable=None, leave=False):
                completions, log_probs = self._draw(rows[start : start + self.batch_size], length)
                found.completions.extend(completions)
                found.log_probs.extend(log_probs)
        return found

    def load(self, model: Any) -> None:
        """Sample from a copy of the model as it is now."""
        self.model = copy.deepcopy(model)

    def _draw(self, rows: list[list[int]], length: int) -> tuple[list[list[int]], list[list[float]]]:
        width = max(map(len, rows))
        device = self.model.device
        record = _Record(width)
        tokens = self.model.generate(
            input_ids=torch.tensor([[self.pad] * (width - len(row)) + row for row in rows], device=device),
            attention_mask=torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device),
            generation_config=generation_settings(
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                max_new_tokens=length,
                eos_token_id=self.ends,
                pad_token_id=self.pad,
            ),
            logits_processor=LogitsProcessorList([record]),
        )
        completions = [_until(row, self.ends) for row in tokens[:, width:].tolist()]
        log_probs = [row[: len(c)] for row, c in zip(record.log_probs(tokens), completions, strict=True)]
        return completions, log_probs


def _until(row: list[int], ends: list[int]) -> list[int]:
    """Cut a completion after the first token that ends it; a pad that was drawn is a token like any other."""
    return row[: next((i for i, token in enumerate(row) if token in ends), len(row)) + 1]


class _Record(LogitsProcessor):
    """Records the log-probability of each drawn token, with the logits of one step at a time in memory."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.found: list[Tensor] = []
        self.last: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._keep(input_ids)
        self.last = scores.float().log_softmax(dim=-1)
        return scores

    def _keep(self, tokens: Tensor) -> None:
        if self.last is not None and tokens.shape[1] > self.width + len(self.found):
            self.found.append(self.last.gather(1, tokens[:, -1:]))

    def log_probs(self, tokens: Tensor) -> list[list[float]]:
        """Log-probabilities of the tokens ``(B, width + T)`` after the prompts."""
        self._keep(tokens)
        return torch.cat(self.found, dim=1).tolist()
