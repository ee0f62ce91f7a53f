"""Surrogates in the ratio: clips, KL penalties and their estimators, data of an expert.

The gradient of a clip jumps. An implicit integrator needs a slope there, so that losses with a jump take ``soft``: the
width over which the jump is spread. Zero is the published loss; `test_published.py` compares the two off the jumps.
"""

from __future__ import annotations

from typing import Any

import torch

from tests.audit.published.expectations import Tensor, centered, deviation, log_policy, mean


def _clipped(
    ratio: Tensor, advantage: Tensor, low: float, high: float, soft: float = 0.0, dual: float | None = None
) -> Tensor:
    """arXiv 1707.06347, equation 7; with ``dual``, arXiv 1912.09729, equation 5: negatives count up to that ratio."""
    if soft == 0.0:
        surrogate = torch.minimum(ratio * advantage, ratio.clamp(low, high) * advantage)
        if dual is not None:
            surrogate = torch.where(advantage < 0.0, torch.maximum(surrogate, dual * advantage), surrogate)
        return -surrogate
    gate = torch.sigmoid(torch.where(advantage > 0.0, high - ratio, ratio - low) / soft)
    if dual is not None:
        gate = gate * torch.where(advantage < 0.0, torch.sigmoid((dual - ratio) / soft), 1.0)
    return -gate.detach() * ratio * advantage


def ppo(
    logits: Tensor,
    q: Tensor,
    nu: Tensor,
    r: Tensor,
    *,
    eps_low: float = 0.2,
    eps_high: float = 0.2,
    dual_clip: float | None = None,
    soft: float = 0.0,
) -> Tensor:
    ratio = (log_policy(logits) - q.log()).exp()
    return mean(q, _clipped(ratio, centered(q, r), 1.0 - eps_low, 1.0 + eps_high, soft, dual_clip))


dr_grpo = ppo  # arXiv 2503.20783: the mean of the group, no standard deviation
rloo_clipped = ppo  # TRL: the mean of the others is that of the population, an independent sample


def dapo(
    logits: Tensor,
    q: Tensor,
    nu: Tensor,
    r: Tensor,
    *,
    eps_low: float,
    eps_high: float,
    eps: float,
    dual_clip: float | None = None,
    soft: float = 0.0,
) -> Tensor:
    """arXiv 2503.14476."""
    ratio = (log_policy(logits) - q.log()).exp()
    advantage = centered(q, r) / (deviation(q, r) + eps)
    return mean(q, _clipped(ratio, advantage, 1.0 - eps_low, 1.0 + eps_high, soft, dual_clip))


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
    unbiased_kl: bool = False,
    dual_clip: float | None = None,
    soft: float = 0.0,
) -> Tensor:
    """arXiv 2402.03300, equations 3 and 4: the clip, and k3 against the reference inside the loss.

    ``unbiased_kl``: k3 times the ratio to the behavior, with the gradient of both (arXiv 2512.02556).
    """
    p = log_policy(logits)
    k3 = (nu.log() - p).exp() - (nu.log() - p) - 1.0
    if unbiased_kl:
        k3 = (p - q.log()).exp() * k3
    clipped = dapo(logits, q, nu, r, eps_low=eps_low, eps_high=eps_high, eps=eps, dual_clip=dual_clip, soft=soft)
    return clipped + beta * mean(q, k3)


def gspo(
    logits: Tensor,
    q: Tensor,
    nu: Tensor,
    r: Tensor,
    *,
    eps_low: float,
    eps_high: float,
    length: Any = 1.0,
    eps: float = 1e-6,
    dual_clip: float | None = None,
    soft: float = 0.0,
) -> Tensor:
    """arXiv 2507.18071: the ratio of a sequence to the power 1/length."""
    ratio = ((log_policy(logits) - q.log()) / torch.as_tensor(length, dtype=torch.float64)).exp()
    advantage = centered(q, r) / (deviation(q, r) + eps)
    return mean(q, _clipped(ratio, advantage, 1.0 - eps_low, 1.0 + eps_high, soft, dual_clip))


def luspo(
    logits: Tensor,
    q: Tensor,
    nu: Tensor,
    r: Tensor,
    *,
    eps_low: float,
    eps_high: float,
    length: Any = 1.0,
    eps: float = 1e-6,
    soft: float = 0.0,
) -> Tensor:
    """arXiv 2602.05261: the loss of GSPO, summed over the tokens of a completion instead of averaged."""
    tokens = torch.as_tensor(length, dtype=torch.float64)
    ratio = ((log_policy(logits) - q.log()) / tokens).exp()
    advantage = centered(q, r) / (deviation(q, r) + eps)
    return mean(q, tokens * _clipped(ratio, advantage, 1.0 - eps_low, 1.0 + eps_high, soft))


def gmpo(
    logits: Tensor,
    q: Tensor,
    nu: Tensor,
    r: Tensor,
    *,
    clip_low: float = 0.4,
    clip_high: float = 0.4,
    eps: float = 1e-6,
) -> Tensor:
    """arXiv 2507.20673 on one token: the log-ratio, clipped on the side where the surrogate would gain."""
    u = log_policy(logits) - q.log()
    advantage = centered(q, r) / (deviation(q, r) + eps)
    clamped = u.clamp(-clip_low, clip_high)
    u = torch.where(advantage > 0.0, torch.minimum(u, clamped), torch.maximum(u, clamped))
    return -mean(q, advantage * u.exp())


def sapo(
    logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, tau_pos: float = 1.0, tau_neg: float = 1.05, eps: float = 1e-6
) -> Tensor:
    """arXiv 2511.20347: a sigmoid of the ratio, of another temperature by the sign of the advantage."""
    ratio = (log_policy(logits) - q.log()).exp()
    advantage = centered(q, r) / (deviation(q, r) + eps)
    tau = tau_pos * (advantage > 0.0).double() + tau_neg * (advantage <= 0.0).double()  # where() has single precision
    return -mean(q, torch.sigmoid(tau * (ratio - 1.0)) * 4.0 / tau * advantage)


def max_rl(
    logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, eps_low: float = 0.2, eps_high: float = 0.2, eps: float = 1e-6
) -> Tensor:
    """arXiv 2602.02710: advantages over the mean reward."""
    ratio = (log_policy(logits) - q.log()).exp()
    advantage = centered(q, r) / (mean(q, r)[..., None] + eps)
    return mean(q, _clipped(ratio, advantage, 1.0 - eps_low, 1.0 + eps_high))


def reinforce_pp(
    logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, eps_low: float = 0.2, eps_high: float = 0.2, eps: float = 1e-8
) -> Tensor:
    """arXiv 2501.03262 where one prompt is the batch: whitened rewards and PPO's clip."""
    ratio = (log_policy(logits) - q.log()).exp()
    advantage = centered(q, r) / (mean(q, centered(q, r) ** 2)[..., None] + eps).sqrt()
    return mean(q, _clipped(ratio, advantage, 1.0 - eps_low, 1.0 + eps_high))


def ppo_corrected(
    logits: Tensor,
    q: Tensor,
    nu: Tensor,
    r: Tensor,
    *,
    eps_low: float = 0.2,
    eps_high: float = 0.2,
    correction: str = "truncate",
    cap: float = 2.0,
    low: float = 0.0,
    eps: float = 1e-6,
) -> Tensor:
    """The trainer's ratio pi/nu inside the clip, times that of the trainer to the engine, truncated or masked."""
    ratio = (log_policy(logits) - nu.log()).exp()
    mismatch = nu / q
    weight = mismatch.clamp(max=cap) if correction == "truncate" else mismatch * (mismatch >= low) * (mismatch <= cap)
    advantage = centered(q, r) / (deviation(q, r) + eps)
    return mean(q, weight * _clipped(ratio, advantage, 1.0 - eps_low, 1.0 + eps_high))


def luffy(
    logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, gamma: float = 0.1, expert_share: float = 0.125
) -> Tensor:
    """arXiv 2504.14945: own samples with the ratio, those of the expert with pi/(pi + gamma), one group's baseline."""
    p = log_policy(logits).exp()
    own = p.detach()
    advantage = (r - (1.0 - expert_share) * mean(own, r)[..., None] - expert_share * mean(q, r)[..., None]).detach()
    shaped = p / (p + gamma)
    return -(1.0 - expert_share) * mean(own, p / own * advantage) - expert_share * mean(q, shaped * advantage)


def chord(
    logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, mu: float = 0.1, phi: bool = True, eps: float = 1e-6
) -> Tensor:
    """arXiv 2508.11408: GRPO on own samples and the likelihood of the expert's, weighted by detached p (1 - p)."""
    log_p = log_policy(logits)
    own = log_p.exp().detach()
    advantage = centered(own, r) / (deviation(own, r) + eps)
    ratio = (log_p - log_p.detach()).exp()
    weight = own * (1.0 - own) if phi else torch.ones_like(own)
    return -(1.0 - mu) * mean(own, ratio * advantage) - mu * mean(q, weight * log_p)


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
