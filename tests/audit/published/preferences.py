"""Losses of labeled pairs of completions, both drawn from the behavior."""

from __future__ import annotations

import torch
from torch.nn.functional import logsigmoid

from tests.audit.published.expectations import Tensor, differences, log_policy, pairs


def _wins(r: Tensor, preference: str) -> Tensor:
    """Probability that the first of a pair is labeled the winner; ties are labeled by a fair coin."""
    gap = differences(r)
    return torch.sigmoid(gap) if preference == "bradley_terry" else (1.0 + torch.sign(gap)) / 2.0


def _labeled(q: Tensor, r: Tensor, preference: str, of_winner_over_loser: Tensor) -> Tensor:
    """Mean over pairs: the first wins, or the second does."""
    wins = _wins(r, preference)
    loss = of_winner_over_loser
    return pairs(q, wins * loss + (1.0 - wins) * loss.transpose(-2, -1)) / 2.0


def dpo(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float, preference: str = "bradley_terry") -> Tensor:
    """arXiv 2305.18290, equation 7."""
    u = log_policy(logits) - nu.log()
    return _labeled(q, r, preference, -logsigmoid(beta * differences(u)))


def async_dpo(
    logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float, preference: str = "deterministic"
) -> Tensor:
    """arXiv 2410.18252: the better and the worse of two samples."""
    return dpo(logits, q, nu, r, beta=beta, preference=preference)


def ipo(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float, preference: str = "bradley_terry") -> Tensor:
    """arXiv 2310.12036, equation 17."""
    u = log_policy(logits) - nu.log()
    return _labeled(q, r, preference, (differences(u) - 1.0 / (2.0 * beta)) ** 2)


def chi_po(
    logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float, r_max: float, preference: str = "bradley_terry"
) -> Tensor:
    """arXiv 2407.13399, algorithm 1: the link w + log w, clipped at twice the largest reward."""
    u = log_policy(logits) - nu.log()
    gap = beta * differences(u.exp() + u)
    return _labeled(q, r, preference, -logsigmoid(gap.clamp(-2.0 * r_max, 2.0 * r_max)))
