"""Losses of one token, as published: functions of its log-ratio ``u``, the completion's advantage and q of the token.

Sources: squared log-ratios per token arXiv 2405.19107 (`dro` of verl and Tinker); importance weights with a KL; capped
weights arXiv 2506.13585; clips arXiv 1707.06347 and 2402.03300; K2.5 arXiv 2602.02276; gates arXiv 2511.20347; weights
exp(A/beta) arXiv 1910.00177.
"""

from __future__ import annotations

import torch

from tests.audit.published.expectations import Tensor


def dro(u: Tensor, advantage: Tensor, q: Tensor, *, beta: float) -> Tensor:
    return -(advantage * u - beta / 2.0 * u**2)


def importance_weighted(u: Tensor, advantage: Tensor, q: Tensor, *, beta: float) -> Tensor:
    """w A less beta KL(pi || q), whose sample from q is w log w - w + 1."""
    w = u.exp()
    return -(w * advantage - beta * (w * u - w + 1.0))


def truncated(u: Tensor, advantage: Tensor, q: Tensor, *, beta: float, cap: float) -> Tensor:
    return u.exp().clamp(max=cap).detach() * (beta * u - advantage) ** 2


def clipped(u: Tensor, advantage: Tensor, q: Tensor, *, low: float, high: float) -> Tensor:
    w = u.exp()
    return -torch.minimum(w * advantage, w.clamp(1.0 - low, 1.0 + high) * advantage)


def clipped_with_k3(u: Tensor, advantage: Tensor, q: Tensor, *, low: float, high: float, beta: float) -> Tensor:
    return clipped(u, advantage, q, low=low, high=high) + beta * ((-u).exp() - 1.0 + u)


def k25(u: Tensor, advantage: Tensor, q: Tensor, *, low: float, high: float, tau: float) -> Tensor:
    w = u.exp()
    inside = ((w >= low) & (w <= high)).double().detach()
    return -inside * w * advantage + tau * u**2


def gated(u: Tensor, advantage: Tensor, q: Tensor, *, positive: float, negative: float) -> Tensor:
    t = torch.where(advantage > 0.0, torch.tensor(positive).double(), torch.tensor(negative).double())
    return -4.0 / t * torch.sigmoid(t * (u.exp() - 1.0)) * advantage


def exponential(u: Tensor, advantage: Tensor, q: Tensor, *, beta: float) -> Tensor:
    return -(advantage / beta).exp() * u
