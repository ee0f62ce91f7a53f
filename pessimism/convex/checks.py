"""Programs of regressions and penalties, each with the multiplier that the target of its objective predicts."""

from __future__ import annotations

from typing import Any

import numpy as np

from pessimism.arrays import Array
from pessimism.convex.clipped import linear_program, ppo_program, trpo_program
from pessimism.convex.log_ratio import u_program
from pessimism.convex.lower_bound import confidence_bound_program
from pessimism.convex.penalties import Penalties, penalized_program
from pessimism.convex.problem import Check, Row
from pessimism.convex.utilities import (
    capped_score_program,
    imitation_program,
    likelihood_program,
    log_smoothing_program,
    power_mean_program,
    projection_program,
    shaped_program,
    truncated_program,
)


def squared(row: Row) -> Check | str:
    """The regression itself; lam = 2 beta^2 kappa where the loss is (beta u - A)^2."""
    if row.status == "local_minimum":
        return "negative regime with all mass on these actions: not convex"
    found = u_program(row.q, row.advantage, row.beta, row.nu, solvers=row.solvers)
    return Check(found, row.multiplier)


def regression_over_beta(row: Row) -> Check | str:
    """As before, for the loss (u - A/beta)^2."""
    found = squared(row)
    return found if isinstance(found, str) else found._replace(multiplier=row.multiplier * row.beta**2)


def penalized(row: Row, penalties: Penalties, slope: Array | None = None, **options: Any) -> Check:
    """Multiplier lam of the score weight, or the mean of the ``slope`` where the weight is not the program's slope."""
    found = penalized_program(
        row.q, row.advantage, penalties, reference=row.nu, name="+".join(penalties), solvers=row.solvers, **options
    )
    return Check(found, row.multiplier if slope is None else row.mean(slope))


def kl(row: Row) -> Check:
    """The problem that the objective claims, in its own advantage: E_pi[A] - beta KL(pi || nu)."""
    slope = row.advantage - row.beta * np.where(row.policy > 0, row.log_ratio, 0.0)
    return penalized(row, {"kl": row.beta}, slope)


def own_kl(row: Row) -> Check:
    """The same, being the loss itself."""
    return penalized(row, {"kl": row.beta})


def mixed(row: Row) -> Check:
    """KL and chi^2 together."""
    return penalized(row, {"kl": row.beta, "chi_square": row.beta * row.objective.gamma})


def chi_square(row: Row) -> Check:
    """Chi^2 alone."""
    return penalized(row, {"chi_square": row.beta})


def weight_clipping(row: Row) -> Check:
    """A KL, and no reward beyond the cap."""
    return penalized(row, {"kl": row.beta}, max_ratio=float(row.objective.cap))


def divergence(row: Row) -> Check:
    """The potential of which the augmented reward is the slope."""
    kind = row.objective.divergence
    if kind == "entropy":
        return penalized(row, {"kl": (row.beta, np.ones_like(row.q))})
    return penalized(row, {{"rkl": "forward_kl"}.get(kind, kind): row.beta})


def trained_on_policy(row: Row) -> Check | str:
    """The regression's nominal target on-policy, else the regression."""
    return kl(row) if row.objective.on_policy else squared(row)


def softmax_of_q(row: Row) -> Check:
    """CQL: E_pi[r] + H(pi) - alpha/2 chi^2(pi || q)."""
    return conservative(row, 1.0, np.ones_like(row.q))


def tilted_by_q(row: Row) -> Check:
    """CQL(rho): the entropy relative to rho at temperature beta."""
    return conservative(row, row.beta, row.nu)


def conservative(row: Row, beta: float, base: Array, reach: float = float("inf")) -> Check:
    """E_pi[r] - beta KL(pi || base) - alpha/2 chi^2(pi || q), ratios within ``reach`` of one."""
    alpha = float(row.objective.alpha)
    slope = row.advantage - beta * np.log(row.policy / base) - alpha * (row.ratio - 1.0)
    bounds = (max(1.0 - reach, 0.0), 1.0 + reach)
    inside = np.abs(row.ratio - 1.0) < reach * (1.0 - 1e-9)
    found = penalized(row, {"kl": (beta, base), "chi_square": (alpha, row.q)}, slope, ratio_bounds=bounds)
    agreed = float(np.mean(slope[inside])) if inside.any() else float("nan")
    return found._replace(multiplier=agreed)


def huber_of_q(row: Row) -> Check:
    """CQL with Huber's loss: the same in a box of ratios."""
    return conservative(row, 1.0, np.ones_like(row.q), 1.0 / float(row.objective.alpha))


def preference_link(row: Row) -> Check | str:
    """Chi^2-PO: the mixed penalty with gamma = 1, unless its clip binds."""
    if row.status == "set_valued":
        return "a gap between rewards beyond the clip of the logits: the loss is not convex"
    slope = row.advantage - row.beta * (row.log_ratio + np.expm1(row.log_ratio))
    return penalized(row, {"kl": row.beta, "chi_square": row.beta}, slope)


def truncated(row: Row) -> Check:
    """The penalty with the target's own kappa, whose multiplier must then be what normalizes it: zero."""
    kappa, cap = row.kappa, float(row.objective.cap)
    slope = row.advantage - row.beta * (row.log_ratio + kappa * np.maximum(row.ratio, cap))
    found = truncated_program(row.q, row.advantage, row.beta, kappa, cap, solvers=row.solvers)
    return Check(found, row.mean(slope) if kappa == 0 else 0.0)


def greedy(row: Row) -> Check:
    """No penalty: the nearest of the best policies."""
    found = linear_program(row.q, row.advantage, row.nu, solvers=row.solvers)
    return Check(found, row.mean(row.advantage), nearest=True)


def clipped(row: Row) -> Check:
    """PPO's surrogate: the nearest of its optima."""
    objective = row.objective
    length = float(getattr(objective, "length", 1.0))
    found = ppo_program(
        *(row.q, row.advantage, objective.eps_low, objective.eps_high),
        length=length,
        reference=row.nu,
        solvers=row.solvers,
    )
    return Check(found, row.multiplier, nearest=True)


def grpo(row: Row) -> Check | str:
    """The same, without a penalty."""
    if row.objective.beta > 0:
        return "k3 on samples of the behavior is not convex in the policy"
    return clipped(row)


def trust_region(row: Row) -> Check:
    """TRPO."""
    return Check(trpo_program(row.q, row.advantage, float(row.objective.delta), solvers=row.solvers), row.multiplier)


def capped_score(row: Row) -> Check | str:
    """CISPO."""
    if not np.any(row.advantage > 0):
        return "no advantage: every policy is optimal"
    return Check(
        capped_score_program(row.q, row.advantage, float(row.objective.cap), solvers=row.solvers), row.multiplier
    )


def capped_likelihood(row: Row) -> Check:
    """AWR."""
    log_weight = np.minimum(row.advantage / row.beta, np.log(row.objective.w_max))
    excess = max(0.0, float(log_weight.max()) - 700.0)  # beyond it no multiplier is a float
    found = likelihood_program(row.q * np.exp(log_weight - excess), solvers=row.solvers)
    return Check(found, float("nan") if excess else row.multiplier)


def likelihood(row: Row) -> Check | str:
    """Likelihood weighted by A; where some A < 0 its loss is unbounded, and its flow ends in a projection."""
    weight = row.q * row.advantage
    if row.status == "no_target":
        return "E[A] <= 0: the loss is unbounded below"
    if np.all(weight >= 0):
        return Check(likelihood_program(weight, solvers=row.solvers), row.multiplier)
    point = weight / weight.sum()
    return Check(projection_program(point, solvers=row.solvers), row.mean(point - row.policy))


def tapered(row: Row) -> Check | str:
    """TOPR: negatives only lose by having mass, and positives are a weighted likelihood."""
    if not np.any(row.advantage > 0):
        return "no reward above the baseline: a limit of gradient flow"
    return Check(likelihood_program(row.q * np.maximum(row.advantage, 0.0), solvers=row.solvers), row.multiplier)


def policy_gradient(row: Row) -> Check | str:
    """REINFORCE: greedy on its own samples, a likelihood weighted by A on older ones."""
    return greedy(row) if row.objective.on_policy else likelihood(row)


def shaped(row: Row) -> Check | str:
    """LUFFY."""
    if not np.any(row.advantage > 0):
        return "no advantage: every policy is optimal"
    gamma, share = float(row.objective.gamma), float(row.objective.expert_share)
    return Check(shaped_program(row.q, row.advantage, gamma, share, solvers=row.solvers), row.multiplier)


def imitation(row: Row) -> Check:
    """CHORD."""
    mu, bounded = float(row.objective.mu), bool(row.objective.phi)
    return Check(imitation_program(row.q, row.advantage, mu, bounded, solvers=row.solvers), row.multiplier)


def log_smoothing(row: Row) -> Check:
    """Two-point rewards of the given moments."""
    chance, size = row.on_all_actions(row.objective.two_points)
    found = log_smoothing_program(row.q, size, float(row.objective.lam), chances=chance, solvers=row.solvers)
    return Check(found, row.multiplier)


def power_mean(row: Row) -> Check:
    """Harmonic weights."""
    return Check(power_mean_program(row.q, row.advantage, float(row.objective.l), solvers=row.solvers), row.multiplier)


def confidence_bound(row: Row) -> Check:
    """The first order of empirical likelihood."""
    (second,) = row.on_all_actions(lambda mean: [row.objective.moment(mean)])
    caution = float(row.objective.z) / float(row.objective.n) ** 0.5
    found = confidence_bound_program(row.q, row.advantage, second, caution, solvers=row.solvers)
    return Check(found, row.multiplier)
