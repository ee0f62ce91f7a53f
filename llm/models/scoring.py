"""Log-probabilities of given completions under a language model, and entropies of its next tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

_LOGITS = 2**30  # numbers in the logits of one forward; a single long row may have more
_STEPS = 2**26  # numbers in a softmax


class Scores(NamedTuple):
    """Log-probabilities and entropies that `score` computes, in the order of the completions.

    Attributes
    ----------
    log_probs : list of Tensor
        For each completion ``(T,)``: natural log-probability of each token, float32 on the CPU.
    entropies : list of Tensor
        For each completion ``(T,)``: entropy in nats of the distribution that each token was drawn from.
    """

    log_probs: list[Tensor]
    entropies: list[Tensor]


def score(
    model: Any,
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    *,
    pad: int,
    batch_size: int = 64,
) -> Scores:
    """Compute the log-probability at temperature 1 of each token of each completion after its prompt.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A causal language model.
    prompts : sequence of sequence of int
        Token ids of the prompt of each completion.
    completions : sequence of sequence of int
        Token ids, eos included where the completion ended.
    pad : int
        Token that fills up.
    batch_size : int, default 64
        Largest number of completions in one forward; there are fewer where their logits would have more than 2^30
        numbers.

    Returns
    -------
    Scores
        Log-probabilities and entropies of the tokens.

    Raises
    ------
    ValueError
        If there are not as many prompts as completions, a prompt is empty (its first token has no distribution), or
        `batch_size` < 1.

    Notes
    -----
    Completions of about the same length share a forward, padded on the right, where causal attention does not see the
    padding. The softmax is over all tokens, in float32 whatever the model computes in. Dropout is off, and afterwards
    as it was before. There is no gradient.

    Examples
    --------
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> size = {"hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1}
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=5, **size))
    >>> _ = model.lm_head.weight.data.zero_()  # uniform over the 5 tokens
    >>> found = score(model, [[1, 2], [3]], [[4, 2], [2]], pad=0)
    >>> found.log_probs, found.entropies
    ([tensor([-1.6094, -1.6094]), tensor([-1.6094])], [tensor([1.6094, 1.6094]), tensor([1.6094])])
    """
    if len(prompts) != len(completions):
        raise ValueError(f"prompts must be one per completion, got {len(prompts)} and {len(completions)}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size!r}")
    require_tokens(prompts)
    texts = [[*prompt, *completion] for prompt, completion in zip(prompts, completions, strict=True)]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]), reverse=True)
    found = Scores([torch.empty(0)] * len(texts), [torch.empty(0)] * len(texts))
    batches = list(
        _batches(order, [len(text) for text in texts], batch_size, model.config.get_text_config().vocab_size)
    )
    with evaluating(model), torch.inference_mode():
        for batch in tqdm(batches, desc="score", unit="batch", delay=2, disable=None, leave=False):
            rows = _forward(model, [texts[i] for i in batch], [len(completions[i]) for i in batch], pad)
            for i, log_probs, entropies in zip(batch, *rows, strict=True):
                found.log_probs[i], found.entropies[i] = log_probs, entropies
    return found


def _batches(order: Sequence[int], lengths: Sequence[int], most: int, vocabulary: int) -> Iterator[list[int]]:
    """Split rows, ordered from the longest on, into those that share a forward."""
    start = 0
    while start < len(order):
        size = min(most, max(1, _LOGITS // (lengths[order[start]] * vocabulary)))
        yield list(order[start : start + size])
        start += size


def require_tokens(prompts: Sequence[Sequence[int]]) -> None:
    """Refuse prompts of which one has no tokens, with a `ValueError` that names the first."""
    for i, prompt in enumerate(prompts):
        if len(prompt) == 0:
            raise ValueError(f"prompts[{i}] must have at least one token, got none")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Turn dropout off inside a `with` block; afterwards the model is as it was."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _forward(
    model: Any, texts: list[list[int]], lengths: list[int], pad: int
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Compute log-probabilities and entropies of the last ``lengths[i]`` tokens of each text."""
    width = max(map(len, texts))
    device = next(model.parameters()).device
    ids = torch.tensor([text + [pad] * (width - len(text)) for text in texts], device=device)
    mask = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in texts], device=device)
    # From the one before the first scored token on; read from the end, so a model that returns all logits will do.
    keep = width - min(len(text) - length for text, length in zip(texts, lengths, strict=True)) + 1
    logits = model(input_ids=ids, attention_mask=mask, logits_to_keep=keep, use_cache=False).logits
    log_probs, entropies = [], []
    for i, (text, length) in enumerate(zip(texts, lengths, strict=True)):
        end = len(text) - width - 1
        scored = logits[i, logits.shape[1] + end - length : logits.shape[1] + end]
        tokens = ids[i, len(text) - length : len(text), None]
        # Some steps at a time: beside the logits there is never another tensor over all steps and tokens.
        size = max(1, _STEPS // logits.shape[-1])
        for part, drawn in zip(torch.split(scored, size), torch.split(tokens, size), strict=True):
            steps = part.float().log_softmax(dim=-1)
            log_probs.append(steps.gather(-1, drawn).squeeze(-1))
            entropies.append(torch.special.entr(steps.exp()).sum(dim=-1))
    first, second = (torch.cat(rows).cpu().split_with_sizes(lengths) for rows in (log_probs, entropies))
    return first, second
