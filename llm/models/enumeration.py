r"""Every completion of a prompt with its probability: the policy of a language model as one vector.

A completion is a sequence of at most K tokens: one that ends in eos, or K tokens without. They are the leaves of a
tree, so their probabilities sum to one; one forward over the :math:`(S-1)^{K-1}` prefixes, S the number of tokens,
gives them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

MOST = 2_000_000  # completions beyond which nobody can mean it


class Completions:
    """All completions of at most a few tokens over a small vocabulary.

    Completions that end early come first, short ones before long ones; those of full length that do not end come last.
    Inside these groups the order is that of their tokens.

    Parameters
    ----------
    vocabulary : int
        Number of tokens, eos among them.
    eos : int
        Token that ends a completion.
    length : int
        Largest number of tokens of a completion.
    pad : int
        Token that fills up after eos.

    Attributes
    ----------
    tokens : Tensor, shape (N, length)
        Token ids, filled up with `pad`.
    lengths : Tensor, shape (N,)
        Number of tokens, eos included.

    Raises
    ------
    ValueError
        If `length` < 1, eos is not a token, or there are more than two million completions.

    Examples
    --------
    >>> completions = Completions(vocabulary=3, eos=2, length=2, pad=0)
    >>> completions.tokens.tolist()
    [[2, 0], [0, 2], [1, 2], [0, 0], [0, 1], [1, 0], [1, 1]]
    >>> completions.lengths.tolist(), len(completions)
    ([1, 2, 2, 2, 2, 2, 2], 7)
    """

    def __init__(self, vocabulary: int, eos: int, length: int, pad: int) -> None:
        if length < 1:
            raise ValueError(f"length must be >= 1, got {length!r}")
        if not 0 <= eos < vocabulary:
            raise ValueError(f"eos must be one of the {vocabulary} tokens, got {eos!r}")
        self.vocabulary, self.eos, self.length, self.pad = vocabulary, eos, length, pad
        if len(self) > MOST:
            raise ValueError(f"length: {len(self)} completions of up to {length} tokens are too many to enumerate")

    def __len__(self) -> int:
        branches = self.vocabulary - 1
        return int(sum(branches**level for level in range(self.length)) + branches**self.length)

    @cached_property
    def _inner(self) -> Tensor:
        """Tokens that do not end a completion, ``(S - 1,)``."""
        every = torch.arange(self.vocabulary)
        return every[every != self.eos]

    def _prefixes(self, level: int) -> Tensor:
        """All sequences of ``level`` inner tokens, ``(n, level)``."""
        grids = torch.meshgrid(*[self._inner] * level, indexing="ij") if level else ()
        return torch.stack([g.flatten() for g in grids], dim=-1) if level else torch.empty(1, 0, dtype=torch.long)

    @cached_property
    def tokens(self) -> Tensor:
        """Token ids ``(N, length)``, filled up with pad after eos."""
        blocks = []
        for level in range(self.length):
            prefixes = self._prefixes(level)
            block = torch.full((len(prefixes), self.length), self.pad)
            block[:, :level], block[:, level] = prefixes, self.eos
            blocks.append(block)
        return torch.cat([*blocks, self._prefixes(self.length)])

    @cached_property
    def lengths(self) -> Tensor:
        """Number of tokens of each completion ``(N,)``, eos included."""
        branches = self.vocabulary - 1
        counts = [branches**level for level in range(self.length)]
        ended = torch.repeat_interleave(torch.arange(1, self.length + 1), torch.tensor(counts))
        return torch.cat([ended, torch.full((branches**self.length,), self.length)])

    def log_probabilities(self, model: nn.Module, prompt: Sequence[int] | Tensor) -> Tensor:
        """Compute the log-probabilities of all completions of a prompt at temperature 1, differentiable.

        Parameters
        ----------
        model : torch.nn.Module
            A causal language model that returns ``logits``; it is called once, on ``(n, P + length - 1)`` token ids.
        prompt : sequence of int or Tensor
            P token ids.

        Returns
        -------
        Tensor, shape (N,)
            Log-probabilities in double precision; whatever the logits, the probabilities sum to one.

        Raises
        ------
        ValueError
            If the model has another number of tokens.
        """
        device = next(model.parameters()).device
        start = torch.as_tensor(prompt, dtype=torch.long, device=device)
        prefixes = self._prefixes(self.length - 1).to(device)
        inner = self._inner.to(device)
        logits = model(input_ids=torch.cat([start.expand(len(prefixes), -1), prefixes], dim=1)).logits
        if logits.shape[-1] != self.vocabulary:
            raise ValueError(f"model has {logits.shape[-1]} tokens, the completions are over {self.vocabulary}")
        steps = logits[:, len(start) - 1 :].double().log_softmax(dim=-1)
        reached, leaves = steps.new_zeros(1), []
        for level in range(self.length):
            # Prefixes that agree in their first `level` tokens lie together: any of them will do.
            stride = len(prefixes) // len(reached)
            here = steps[::stride, level]
            leaves.append(reached + here[:, self.eos])
            reached = (reached[:, None] + here[:, inner]).flatten()
        return torch.cat([*leaves, reached])
