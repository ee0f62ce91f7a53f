"""Completions sampled from a language model with the log-probability of each token: the interface of all engines.

A behavior policy has to be the model itself, at temperature 1 over all tokens, whatever sampling its folder
recommends. Only the ends of a completion are taken from there: the eos of the tokenizer, and the ends in the generation
config of the model, as TRL does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from transformers import GenerationConfig

from llm.data.prompts import require_room
from llm.models.scoring import require_tokens


class Samples(NamedTuple):
    """Completions and the log-probabilities that they were drawn with.

    Attributes
    ----------
    completions : list of list of int
        ``len(prompts) * count`` lists of token ids, those of a prompt one after another. Where a completion ended, its
        eos is its last token.
    log_probs : list of list of float
        Natural log-probability of each of these tokens under the distribution that it was drawn from.
    """

    completions: list[list[int]]
    log_probs: list[list[float]]


class Sampler(Protocol):
    """Interface of an engine that draws completions from a model."""

    def sample(self, prompts: Sequence[Sequence[int]], count: int, *, length: int, seed: int) -> Samples:
        """Draw `count` completions of at most `length` tokens for each prompt; equal seeds give equal completions."""

    def load(self, model: Any) -> None:
        """Take over the weights of a transformers model as they are now."""


def require_request(
    prompts: Sequence[Sequence[int]], count: int, length: int, seed: int, *, positions: int | None
) -> None:
    """Refuse a request that no sampler can meet.

    Parameters
    ----------
    prompts : sequence of sequence of int
        Token ids of each prompt.
    count : int
        Number of completions of each prompt.
    length : int
        Largest number of tokens of a completion.
    seed : int
        Seed of the draws.
    positions : int or None
        Number of positions that the model has; None where there is no limit.

    Raises
    ------
    ValueError
        If a prompt is empty or leaves no room for a completion, or a number is out of range.

    Examples
    --------
    >>> require_request([[1, 2]], 0, 6, 0, positions=8)
    Traceback (most recent call last):
    ...
    ValueError: count must be an integer >= 1, got 0
    """
    require_tokens(prompts)
    for name, value, least in (("count", count, 1), ("length", length, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
    for i, prompt in enumerate(prompts):
        require_room(prompt, length, positions, f"prompts[{i}]")


def generation_settings(**options: Any) -> GenerationConfig:
    """Make settings of `generate` that hold the given options and nothing else."""
    return GenerationConfig(**options)  # type: ignore[no-untyped-call]


@contextmanager
def only_ours(model: Any) -> Iterator[None]:
    """Keep the sampling settings of the model's folder from `generate`, which takes from them what it is not told."""
    theirs, model.generation_config = model.generation_config, generation_settings()
    try:
        yield
    finally:
        model.generation_config = theirs


@contextmanager
def finite_probabilities() -> Iterator[None]:
    """Turn the error of a model whose probabilities are not finite into a `FloatingPointError`, as for a loss."""
    try:
        yield
    except RuntimeError as error:
        if "probability tensor contains" not in str(error):
            raise
        raise FloatingPointError(
            "generation: the probabilities of the model are not finite; it has diverged, or its dtype is too narrow"
        ) from error
