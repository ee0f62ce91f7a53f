"""Offline systems. Conservative Q-learning minimizes over Q-values: its logits are no gauge but the values."""

from __future__ import annotations

import torch
from torch.nn.functional import huber_loss

from tests.audit.published.expectations import Tensor, centered, log_policy, mean


def divergence_augmented(
    logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float, divergence: str = "kl", normalize: bool = True
) -> Tensor:
    """NeurIPS 2019 (arXiv 2501.15034): -A rho + b rho sg[D], A divided by its root mean square."""
    p, log_q = log_policy(logits), q.log()
    advantage = centered(q, r)
    if normalize:
        advantage = advantage / mean(q, advantage**2).sqrt()[..., None]
    augment = {
        "kl": lambda: p - log_q,
        "rkl": lambda: 1.0 - (log_q - p).exp(),
        "inf": lambda: (-log_q / 2).exp() - (-p / 2).exp(),
        "hellinger": lambda: 1.0 - ((log_q - p) / 2).exp(),
        "entropy": lambda: p,
    }[divergence]()
    rho = (p - log_q).exp()
    return mean(q, -advantage * rho + beta * rho * augment.detach())


def cql(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, alpha: float) -> Tensor:
    """arXiv 2006.04779, its discrete loss on one state."""
    return mean(q, (logits - r) ** 2 / 2.0) + alpha * (torch.logsumexp(logits, -1) - mean(q, logits))


def cql_huber(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, alpha: float) -> Tensor:
    error = huber_loss(logits, r.expand_as(logits), reduction="none")
    return mean(q, error) + alpha * (torch.logsumexp(logits, -1) - mean(q, logits))


def cql_reference(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, alpha: float, beta: float) -> Tensor:
    """The same with a soft maximum over a reference, whose policy is nu exp(Q/beta) / Z."""
    values = beta * (logits - nu.log())
    soft = beta * torch.logsumexp(nu.log() + values / beta, -1)
    return mean(q, (values - r) ** 2 / 2.0) + alpha * (soft - mean(q, values))


def brac(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float) -> Tensor:
    """arXiv 1911.11361: reward of the policy minus beta KL to the estimated behavior."""
    p = log_policy(logits)
    return -mean(q, (p - q.log()).exp() * (r - beta * (p - nu.log())))
