"""Expectations over the actions of a bandit, and what every loss begins with.

All functions take logits ``(..., K)``; rows before the last axis are problems of their own, so that the Jacobian of a
gradient is one call.
"""

from __future__ import annotations

import torch

Tensor = torch.Tensor


def log_policy(logits: Tensor) -> Tensor:
    return torch.log_softmax(logits, -1)


def mean(weights: Tensor, values: Tensor) -> Tensor:
    return (weights * values).sum(-1)


def centered(weights: Tensor, r: Tensor) -> Tensor:
    return r - mean(weights, r)[..., None]


def deviation(weights: Tensor, r: Tensor) -> Tensor:
    """Standard deviation, one for each row."""
    return mean(weights, centered(weights, r) ** 2).sqrt()[..., None]


def soft_value(weights: Tensor, r: Tensor, beta: float) -> Tensor:
    """Optimal value beta log E[exp(r/beta)]."""
    return beta * torch.logsumexp(weights.log() + r / beta, -1, keepdim=True)


def pairs(weights: Tensor, values: Tensor) -> Tensor:
    """Mean of ``(..., K, K)`` over two independent samples."""
    return (weights[..., :, None] * weights[..., None, :] * values).sum((-2, -1))


def differences(values: Tensor) -> Tensor:
    return values[..., :, None] - values[..., None, :]


def data(logits: Tensor, q: Tensor, sampling: str) -> Tensor:
    """Probabilities of the samples: those of the behavior, or of the policy of the moment, without a gradient."""
    return log_policy(logits).exp().detach() if sampling == "on_policy" else q
