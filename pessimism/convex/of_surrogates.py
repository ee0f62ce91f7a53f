"""Programs of surrogates and likelihoods, each with the multiplier that the target of its objective predicts."""

from __future__ import annotations

import numpy as np

from pessimism.convex.clipped import linear_program, ppo_program, trpo_program
from pessimism.convex.lower_bound import confidence_bound_program
from pessimism.convex.mixtures import imitation_program, shaped_program
from pessimism.convex.problem import Check, Row
from pessimism.convex.utilities import (
    capped_score_program,
    likelihood_program,
    log_smoothing_program,
    power_mean_program,
    projection_program,
)


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
