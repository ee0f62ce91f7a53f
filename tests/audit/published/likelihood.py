"""Weighted likelihoods: no ratio, or a detached one, before log pi."""

from __future__ import annotations

from typing import Any

import torch

from tests.audit.published.expectations import Tensor, centered, data, deviation, log_policy, mean, soft_value


def awr(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float, w_max: float) -> Tensor:
    """arXiv 1910.00177."""
    return -mean(q, (centered(q, r) / beta).exp().clamp(max=w_max) * log_policy(logits))


def awac(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float) -> Tensor:
    """arXiv 2006.09359, its weights normalized to mean one as softmax weights over a batch are."""
    return -mean(q, ((r - soft_value(q, r, beta)) / beta).exp() * log_policy(logits))


def asym_re(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, shift: float) -> Tensor:
    """arXiv 2506.20520: V is the mean plus a shift, no ratio."""
    return -mean(q, (centered(q, r) - shift) * log_policy(logits))


def reinforce(
    logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, value: float = 0.0, sampling: str = "on_policy"
) -> Tensor:
    return -mean(data(logits, q, sampling), (r - value) * log_policy(logits))


def opo(
    logits: Tensor,
    q: Tensor,
    nu: Tensor,
    r: Tensor,
    *,
    length: Any = None,
    sampling: str = "on_policy",
) -> Tensor:
    """arXiv 2505.23585: the baseline weighs rewards by length."""
    samples = data(logits, q, sampling)
    long = torch.ones_like(r) if length is None else torch.as_tensor(length, dtype=torch.float64)
    baseline = (mean(samples, long * r) / mean(samples, long))[..., None]
    return -mean(samples, (r - baseline) * log_policy(logits))


def gpg(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, sampling: str = "on_policy") -> Tensor:
    """arXiv 2504.02546: the group mean as baseline, no ratio."""
    samples = data(logits, q, sampling)
    return -mean(samples, centered(samples, r) * log_policy(logits))


def vespo(
    logits: Tensor,
    q: Tensor,
    nu: Tensor,
    r: Tensor,
    *,
    k_pos: float = 2.0,
    lambda_pos: float = 3.0,
    k_neg: float = 3.0,
    lambda_neg: float = 2.0,
    eps: float = 1e-6,
) -> Tensor:
    """arXiv 2602.10693: a gamma weight of the sequence's ratio, one at w = 1 and detached."""
    p = log_policy(logits)
    advantage = centered(q, r) / (deviation(q, r) + eps)
    positive = (advantage >= 0.0).double()
    k = k_pos * positive + k_neg * (1.0 - positive)
    rate = lambda_pos * positive + lambda_neg * (1.0 - positive)
    u = p - q.log()
    weight = (rate + k * u - rate * u.exp()).exp().detach()
    return -mean(q, weight * advantage * p)


def rloo(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float, sampling: str = "on_policy") -> Tensor:
    """arXiv 2402.14740: the KL estimate inside the reward, the others' mean as baseline, all detached."""
    p = log_policy(logits)
    samples = data(logits, q, sampling)
    total = (r - beta * (p - nu.log())).detach()
    return -mean(samples, centered(samples, total) * p)


def topr(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, value: float = 0.0) -> Tensor:
    """arXiv 2503.14286: positives as they are, negatives with the truncated ratio, detached."""
    p = log_policy(logits)
    tapered = (p - q.log()).exp().clamp(0.0, 1.0).detach()
    return -mean(q, torch.where(r >= value, 1.0, tapered) * (r - value) * p)


def roirl(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, weight: str = "identity", beta: float = 0.1) -> Tensor:
    """arXiv 2510.02892."""
    return -mean(q, (r if weight == "identity" else (r / beta).exp()) * log_policy(logits))


def cispo(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, cap: float, eps: float, floor: float = 0.0) -> Tensor:
    """arXiv 2506.13585, equations 4 and 5: no lower bound in its experiments."""
    p = log_policy(logits)
    weight = (p - q.log()).exp().clamp(floor, cap).detach()
    return -mean(q, weight * centered(q, r) / (deviation(q, r) + eps) * p)


def tpo(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float, min_std: float) -> Tensor:
    """arXiv 2604.06159: cross entropy of two softmaxes over the samples of a group, the old policy tilted by z/eta.

    An action takes the share q of the samples of a large group, so that a softmax over samples divides by E_q.
    """
    spread = deviation(q, r)
    z = torch.where(spread > min_std, centered(q, r) / spread, 0.0)
    target = torch.softmax(q.log() + nu.log() + z / beta, -1)
    p = log_policy(logits)
    return -mean(target, p - torch.logsumexp(q.log() + p, -1, keepdim=True))
