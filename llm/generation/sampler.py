"""Completions sampled from a language model with the log-probability of each token: what every engine gives.

A behavior policy has to be the model itself: temperature 1, all tokens, whatever its folder recommends. Only where a
completion ends is taken from there: at the eos of the tokenizer and at those of the model's generation config, as TRL
has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from transformers import GenerationConfig

from llm.data.prompts import require_room
from llm.models.scoring import require_tokens


class Samples(NamedTuple):
    """What a sampler gives.

    Attributes
    ----------
    completions : ``len(prompts) * count`` lists of token ids, those of a prompt one after another; an eos, where the
        completion ended, is its last token.
    log_probs : of each of these tokens, natural logarithm, under the distribution it was drawn from.
    """

    completions: list[list[int]]
    log_probs: list[list[float]]


class Sampler(Protocol):
    """What draws completions from a model."""

    def sample(self, prompts: Sequence[Sequence[int]], count: int, *, length: int, seed: int) -> Samples:
        """Draw ``count`` completions of at most ``length`` tokens for each prompt; the same for a seed."""

    def load(self, model: Any) -> None:
        """Take over the weights of a transformers model as they are now."""


def require_request(
    prompts: Sequence[Sequence[int]], count: int, length: int, seed: int, *, positions: int | None
) -> None:
    """Raise `ValueError` for what no sampler can do: see `TransformersSampler.sample`.

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
    """Settings of `generate` that are these alone."""
    return GenerationConfig(**options)  # type: ignore[no-untyped-call]


@contextmanager
def only_ours(model: Any) -> Iterator[None]:
    """No sampling settings of the model's folder: `generate` fills in from them whatever it is not told."""
    theirs, model.generation_config = model.generation_config, generation_settings()
    try:
        yield
    finally:
        model.generation_config = theirs


@contextmanager
def finite_probabilities() -> Iterator[None]:
    """Inside, a model whose probabilities are not finite is a `FloatingPointError`, as a loss that is not finite is."""
    try:
        yield
    except RuntimeError as error:
        if "probability tensor contains" not in str(error):
            raise
        raise FloatingPointError(
            "generation: the probabilities of the model are not finite; it has diverged, or its dtype is too narrow"
        ) from error
