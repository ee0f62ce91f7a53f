"""Surrogates in the ratio: clips, KL penalties and their estimators, data of an expert.

The gradient of a clip jumps. An implicit integrator needs a slope there, so that losses with a jump take ``soft``: the
width over which the jump is spread. Zero is the published loss; `test_published.py` compares the two off the jumps.
"""

from __future__ import annotations

import torch

from tests.audit.published.expectations import Tensor, centered, deviation, log_policy, mean


def _clipped(ratio: Tensor, advantage: Tensor, low: float, high: float, soft: float = 0.0) -> Tensor:
    """arXiv 1707.06347, equation 7."""
    if soft == 0.0:
        return -torch.minimum(ratio * advantage, ratio.clamp(low, high) * advantage)
    inside = torch.where(advantage > 0.0, high - ratio, ratio - low)
    return -torch.sigmoid(inside / soft).detach() * ratio * advantage


def ppo(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, eps_low: float, eps_high: float) -> Tensor:
    ratio = (log_policy(logits) - q.log()).exp()
    return mean(q, _clipped(ratio, centered(q, r), 1.0 - eps_low, 1.0 + eps_high))


dr_grpo = ppo  # arXiv 2503.20783: the mean of the group, no standard deviation


def dapo(
    logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, eps_low: float, eps_high: float, eps: float, soft: float = 0.0
) -> Tensor:
    """arXiv 2503.14476."""
    ratio = (log_policy(logits) - q.log()).exp()
    return mean(q, _clipped(ratio, centered(q, r) / (deviation(q, r) + eps), 1.0 - eps_low, 1.0 + eps_high, soft))


def grpo(
    logits: Tensor,
    q: Tensor,
    nu: Tensor,
    r: Tensor,
    *,
    beta: float,
    eps_low: float = 0.2,
    eps_high: float = 0.2,
    eps: float = 1e-6,
    soft: float = 0.0,
) -> Tensor:
    """arXiv 2402.03300, equations 3 and 4: the clip, and k3 against the reference inside the loss."""
    p = log_policy(logits)
    k3 = (nu.log() - p).exp() - (nu.log() - p) - 1.0
    return dapo(logits, q, nu, r, eps_low=eps_low, eps_high=eps_high, eps=eps, soft=soft) + beta * mean(q, k3)


def gspo(
    logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, eps_low: float, eps_high: float, length: float, eps: float, soft: float = 0.0
) -> Tensor:
    """arXiv 2507.18071: the ratio of a sequence to the power 1/length."""
    ratio = ((log_policy(logits) - q.log()) / length).exp()
    return mean(q, _clipped(ratio, centered(q, r) / (deviation(q, r) + eps), 1.0 - eps_low, 1.0 + eps_high, soft))


def kl_regularized(
    logits: Tensor,
    q: Tensor,
    nu: Tensor,
    r: Tensor,
    *,
    beta: float,
    estimator: str = "k1",
    placement: str = "reward",
    sampling: str = "on_policy",
) -> Tensor:
    """arXiv 2512.21852: an estimator of KL, detached inside the reward or with its own gradient inside the loss."""
    p = log_policy(logits)
    u = p - nu.log()
    k = {"k1": u, "k2": u**2 / 2, "k3": (-u).exp() - 1.0 + u}[estimator]
    samples = p.exp().detach() if sampling == "on_policy" else q
    ratio = (p - samples.log()).exp()  # on-policy it is one, with the gradient of log pi
    if placement == "reward":
        return -mean(samples, ratio * (centered(q, r) - beta * k.detach()))
    return mean(samples, -ratio * centered(q, r) + beta * k)


def trpo_surrogate(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor) -> Tensor:
    """arXiv 1502.05477: what is minimized while KL(q || pi) <= delta."""
    return -mean(log_policy(logits).exp(), centered(q, r))
