"""Learning from logged bandits; rewards are means of Bernoulli rewards where a second moment matters."""

from __future__ import annotations

import math

import torch

from tests.audit.published.expectations import Tensor, log_policy, mean


def _kl(logits: Tensor, q: Tensor) -> Tensor:
    p = log_policy(logits)
    return mean(p.exp(), p - q.log())


def _propensity_weighted(logits: Tensor, q: Tensor, term: Tensor, beta: float) -> Tensor:
    """Mean over logged data of the policy's probability times a term, and KL to the behavior."""
    return -mean(q, log_policy(logits).exp() * term) + beta * _kl(logits, q)


def ips(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float) -> Tensor:
    return _propensity_weighted(logits, q, r / q, beta)


def propensity_clipping(
    logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, tau: float | None = None, beta: float
) -> Tensor:
    """arXiv 2405.14335: p c / max(q, tau), tau = 1/K in its experiments."""
    return _propensity_weighted(logits, q, r / q.clamp(min=1.0 / len(q) if tau is None else tau), beta)


def implicit_exploration(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, gamma: float, beta: float) -> Tensor:
    """arXiv 1506.03271, 2405.14335: p c / (q + gamma)."""
    return _propensity_weighted(logits, q, r / (q + gamma), beta)


def exponential_smoothing(
    logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, alpha: float | None = None, beta: float
) -> Tensor:
    """arXiv 2305.15877: p c / q^alpha, alpha = 1 - 1/K in its experiments."""
    return _propensity_weighted(logits, q, r / q ** (1.0 - 1.0 / len(q) if alpha is None else alpha), beta)


def log_smoothing(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, lam: float) -> Tensor:
    """arXiv 2405.14335, equation 14, on rewards 0 and 1 whose mean is ``r``."""
    w = (log_policy(logits) - q.log()).exp()
    return -mean(q, r * torch.log1p(lam * w)) / lam


def log_smoothing_linear(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, lam: float, beta: float) -> Tensor:
    """arXiv 2405.14335, equation 25, on rewards 0 and 1 whose mean is ``r``."""
    return _propensity_weighted(logits, q, r * torch.log1p(lam / q) / lam, beta)


def power_mean(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, l: float) -> Tensor:  # noqa: E741
    """arXiv 2406.03434: the ratio replaced by w / (1 - l + l w)."""
    w = (log_policy(logits) - q.log()).exp()
    return -mean(q, w * r / ((1.0 - l) + l * w))


def chi2(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float) -> Tensor:
    w = (log_policy(logits) - q.log()).exp()
    return -mean(q, w * r) + beta / 2.0 * mean(q, (w - 1.0) ** 2)


def _lower(q: Tensor, r: Tensor, n: float, delta: float) -> Tensor:
    """arXiv 2012.15085 on a bandit: the mean minus Hoeffding's width at n q samples of an action."""
    return r - torch.sqrt(math.log(2.0 * len(q) / delta) / (2.0 * n * q))


def pevi(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, n: float, delta: float) -> Tensor:
    return -mean(log_policy(logits).exp(), _lower(q, r, n, delta))


def pevi_kl(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, n: float, delta: float, beta: float) -> Tensor:
    return pevi(logits, q, nu, r, n=n, delta=delta) + beta * _kl(logits, q)


def empirical_likelihood_lcb(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, n: float, z: float) -> Tensor:
    """arXiv 1906.03323 to first order: mean minus z standard errors of w R, R of mean ``r`` in {0, 1}."""
    w = (log_policy(logits) - q.log()).exp()
    value = mean(q, w * r)
    variance = mean(q, w**2 * r) - value**2
    return -value + z / math.sqrt(n) * variance.clamp(min=0.0).sqrt()
