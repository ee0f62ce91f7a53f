"""Squared and importance-weighted losses in the log-ratio to a reference."""

from __future__ import annotations

import torch

from tests.audit.published.expectations import (
    Tensor,
    centered,
    data,
    deviation,
    differences,
    log_policy,
    mean,
    pairs,
    soft_value,
)


def _squared(logits: Tensor, samples: Tensor, nu: Tensor, beta: float, advantage: Tensor) -> Tensor:
    u = log_policy(logits) - nu.log()
    return mean(samples, (beta * u - advantage) ** 2)


def nominal(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float) -> Tensor:
    """The problem that everybody quotes: reward minus beta KL(pi || nu)."""
    p = log_policy(logits)
    return -mean(p.exp(), r - beta * (p - nu.log()))


def a_star_po(
    logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta1: float, beta2: float, sampling: str = "on_policy"
) -> Tensor:
    """arXiv 2505.20686: V* from samples of the initial model, stage 2 on samples of the policy."""
    return _squared(logits, data(logits, q, sampling), nu, beta2, r - soft_value(nu, r, beta1))


def oapl(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta1: float, beta2: float) -> Tensor:
    """arXiv 2602.19362: V* of the group that is trained on."""
    return _squared(logits, q, nu, beta2, r - soft_value(q, r, beta1))


def kimi(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float) -> Tensor:
    """arXiv 2501.12599 and 2507.20534: the mean of the group instead of beta log Z."""
    return _squared(logits, q, nu, beta, centered(q, r))


def shifted_mean(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float, shift: float = 1.0) -> Tensor:
    return _squared(logits, q, nu, beta, centered(q, r) + shift * beta)


def optimal_value(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float) -> Tensor:
    return _squared(logits, q, nu, beta, r - soft_value(q, r, beta))


def constant_baseline(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float, value: float = 0.0) -> Tensor:
    return _squared(logits, q, nu, beta, r - value)


def std_normalized(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float, eps: float) -> Tensor:
    return _squared(logits, q, nu, beta, centered(q, r) / (deviation(q, r) + eps))


def apa(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float, eps: float) -> Tensor:
    """arXiv 2306.02231: whitened advantages, u regressed on A/lambda."""
    whitened = centered(q, r) / (mean(q, centered(q, r) ** 2)[..., None] + eps).sqrt()
    u = log_policy(logits) - nu.log()
    return mean(q, (u - whitened / beta) ** 2)


def qrpo(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float, transform: str = "log") -> Tensor:
    """arXiv 2507.08068: the quantile of the reward under the reference, whose partition function is known."""
    quantile = torch.stack([(nu * (r <= one)).sum() for one in r])
    b = torch.tensor(beta, dtype=torch.float64)
    if transform == "log":
        value, log_z = quantile.log(), (b / (b + 1.0)).log()
    else:
        # log of beta (exp(1/beta) - 1), which overflows at small beta
        value, log_z = quantile, b.log() + 1.0 / b + torch.log(-torch.expm1(-1.0 / b))
    return _squared(logits, q, nu, beta, value - beta * log_z)


def truncated_is(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float, cap: float) -> Tensor:
    p = log_policy(logits)
    weight = (p - q.log()).exp().clamp(max=cap).detach()
    return mean(q, weight * (beta * (p - nu.log()) - centered(q, r)) ** 2)


def mixed_chi2_kl(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float, gamma: float) -> Tensor:
    """arXiv 2407.13399, the problem that its loss stands for: KL plus chi^2 to one reference."""
    p = log_policy(logits)
    return nominal(logits, q, nu, r, beta=beta) + beta * gamma / 2 * mean(nu, ((p - nu.log()).exp() - 1.0) ** 2)


def tba(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float) -> Tensor:
    """arXiv 2503.18929: VarGrad, log Z from the group and detached."""
    u = log_policy(logits) - nu.log()
    log_z = mean(q, r / beta - u)[..., None].detach()
    return mean(q, (log_z + u - r / beta) ** 2)


def rebel(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, eta: float) -> Tensor:
    """arXiv 2404.16767: differences of log-ratios regressed on differences of rewards."""
    u = log_policy(logits) - nu.log()
    return pairs(q, (differences(u) / eta - differences(r)) ** 2)


def copg(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float) -> Tensor:
    """arXiv 2406.19185: rewards regularized by half the temperature, times the difference of log-ratios, maximized."""
    u = log_policy(logits) - nu.log()
    return -pairs(q, differences(r - beta / 2 * u) * differences(u))


def dro(logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, beta: float) -> Tensor:
    """arXiv 2405.19107 as Tinker and verl ship it: A log pi less half the square of the log-ratio, maximized."""
    p = log_policy(logits)
    return -mean(q, centered(q, r) * p - beta / 2.0 * (p - nu.log()) ** 2)


def opmd(
    logits: Tensor, q: Tensor, nu: Tensor, r: Tensor, *, opmd_baseline: str = "mean", tau: float, kl_coef: float
) -> Tensor:
    """arXiv 2505.17826, `opmd` of Trinity-RFT: -A log pi / (1 + tau), and its k2 penalty."""
    p = log_policy(logits)
    advantage = centered(q, r) if opmd_baseline == "mean" else r - soft_value(q, r, tau)
    return mean(q, -advantage * p / (1.0 + tau) + kl_coef * (p - nu.log()) ** 2 / 2.0)
