"""Importance weights behind a mask that is no part of what is differentiated: the loss jumps, the gradient counts.

``soft`` spreads a jump over a width, as in `ratio.py`.
"""

from __future__ import annotations

import torch

from tests.audit.published.expectations import Tensor, centered, log_policy, mean


def _below(excess: Tensor, soft: float) -> Tensor:
    """One where ``excess`` is not positive."""
    return (excess <= 0.0).double() if soft == 0.0 else torch.sigmoid(-excess / soft)


def kimi_k25(
    logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, low: float, high: float, tau: float, soft: float = 0.0
) -> Tensor:
    """arXiv 2602.02276, equation 1: the ratio clipped whatever the sign of the advantage, and the squared log-ratio."""
    u = log_policy(logits) - q.log()
    w = u.exp()
    inside = (_below(w - high, soft) * _below(low - w, soft)).detach()
    return mean(q, -inside * w * centered(q, r) + tau * u**2)


def _kept(p: Tensor, q: Tensor, advantage: Tensor, low: float, high: float, soft: float) -> Tensor:
    """arXiv 2602.04879, equation 13, by the change of a probability."""
    change = p.exp() - q
    return torch.where(advantage > 0.0, _below(change - high, soft), _below(-low - change, soft)).detach()


def dppo_tv(
    logits: Tensor,
    q: Tensor,
    nu: Tensor,
    r: Tensor,
    *,
    low: float = 0.2,
    high: float = 0.2,
    tau: float = 1e-3,
    soft: float = 0.0,
) -> Tensor:
    """prime-rl's default loss."""
    p = log_policy(logits)
    u, advantage = p - q.log(), centered(q, r)
    return mean(q, -_kept(p, q, advantage, low, high, soft) * u.exp() * advantage + tau * u**2)


def prime_ipo(
    logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, threshold: float = 0.1, tau: float = 1e-3, soft: float = 0.0
) -> Tensor:
    """`ipo_loss_fn` of prime-rl."""
    p = log_policy(logits)
    u = p - q.log()
    kept = _below((p.exp() - q).abs() - threshold, soft).detach()
    return mean(q, -kept * u.exp() * centered(q, r) + tau * u**2)


def dppo(
    logits: Tensor,
    q: Tensor,
    nu: Tensor,
    r: Tensor,
    *,
    divergence: str = "tv",
    low: float = 0.2,
    high: float = 0.2,
    cap: float = 20.0,
    soft: float = 0.0,
) -> Tensor:
    """verl's: a truncated, detached ratio before log pi; with ``kl`` the mask looks at KL(q || pi) of two classes."""
    p = log_policy(logits)
    advantage = centered(q, r)
    if divergence == "tv":
        kept = _kept(p, q, advantage, low, high, soft)
    else:
        pi = p.exp()
        kl = q * (q.log() - p) + (1.0 - q) * (torch.log1p(-q) - torch.log1p(-pi))
        side = torch.sign(pi - q) * kl  # grows with pi
        kept = torch.where(advantage > 0.0, _below(side - high, soft), _below(-low - side, soft)).detach()
    weight = (p - q.log()).exp().clamp(max=cap).detach()
    return -mean(q, kept * weight * advantage * p)
