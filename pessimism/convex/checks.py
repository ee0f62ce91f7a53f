"""Programs of the objectives, each with the multiplier that the target of its objective predicts.

First regressions and divergences from the reference or the behavior, then surrogates of the ratio or the policy. A
string says why there is no program. Which objective has which: :mod:`pessimism.convex.table`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pessimism.arrays import Array
from pessimism.convex.clipped import linear_program, ppo_program, trpo_program
from pessimism.convex.log_ratio import u_program
from pessimism.convex.lower_bound import confidence_bound_program
from pessimism.convex.penalties import Penalties, penalized_program
from pessimism.convex.problem import Check, ConvexProblem
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
from pessimism.losses.clipped import GSPO
from pessimism.losses.sequence_ratio import LUSPO


def squared(problem: ConvexProblem) -> Check | str:
    """Take the regression itself; lam = 2 beta^2 kappa where the loss is (beta u - A)^2."""
    if problem.status == "local_minimum":
        return "negative regime with all mass on these actions: not convex"
    found = u_program(problem.q, problem.advantage, problem.beta, problem.nu, solvers=problem.solvers)
    return Check(found, problem.multiplier)


def scaled_regression(problem: ConvexProblem) -> Check | str:
    """Take the regression of a loss that is a multiple of (beta u - A)^2, as its multiplier is."""
    if problem.objective.temperature is None:
        return likelihood(problem)
    found = squared(problem)
    if isinstance(found, str):
        return found
    factor = 2.0 * problem.beta / float(problem.objective.score_weight(np.zeros(1), np.ones(1))[0])
    return found._replace(multiplier=problem.multiplier * factor)


def penalized(problem: ConvexProblem, penalties: Penalties, slope: Array | None = None, **options: Any) -> Check:
    """Maximize the advantage less penalties; ``slope`` is that of the program where the score weight is another."""
    found = penalized_program(
        problem.q,
        problem.advantage,
        penalties,
        reference=problem.nu,
        name="+".join(penalties),
        solvers=problem.solvers,
        **options,
    )
    return Check(found, problem.multiplier if slope is None else problem.mean(slope))


def kl(problem: ConvexProblem) -> Check:
    """Take the problem that the objective claims, in its own advantage: E_pi[A] - beta KL(pi || nu)."""
    slope = problem.advantage - problem.beta * np.where(problem.policy > 0, problem.log_ratio, 0.0)
    return penalized(problem, {"kl": problem.beta}, slope)


def own_kl(problem: ConvexProblem) -> Check:
    """Take E_pi[A] - beta KL(pi || nu) where it is the loss itself, with the multiplier of its score weight."""
    return penalized(problem, {"kl": problem.beta})


def mixed(problem: ConvexProblem) -> Check:
    """Penalize by KL and chi^2 together."""
    return penalized(problem, {"kl": problem.beta, "chi_square": problem.beta * problem.objective.gamma})


def chi_square(problem: ConvexProblem) -> Check:
    """Penalize by chi^2 alone."""
    return penalized(problem, {"chi_square": problem.beta})


def weight_clipping(problem: ConvexProblem) -> Check:
    """Penalize by KL, and give no reward to ratios beyond the cap."""
    return penalized(problem, {"kl": problem.beta}, max_ratio=float(problem.objective.cap))


def divergence(problem: ConvexProblem) -> Check:
    """Penalize by the divergence whose slope is what the objective adds to the reward."""
    kind = problem.objective.divergence
    if kind == "entropy":
        return penalized(problem, {"kl": (problem.beta, np.ones_like(problem.q))})
    return penalized(problem, {{"rkl": "forward_kl"}.get(kind, kind): problem.beta})


def trained_on_policy(problem: ConvexProblem) -> Check | str:
    """Take the nominal problem on-policy, else the regression."""
    return kl(problem) if problem.objective.on_policy else squared(problem)


def softmax_of_q(problem: ConvexProblem) -> Check:
    """CQL: E_pi[r] + H(pi) - alpha/2 chi^2(pi || q)."""
    return conservative(problem, 1.0, np.ones_like(problem.q))


def tilted_by_q(problem: ConvexProblem) -> Check:
    """CQL(rho): the entropy relative to rho at temperature beta."""
    return conservative(problem, problem.beta, problem.nu)


def conservative(problem: ConvexProblem, beta: float, base: Array, reach: float = float("inf")) -> Check:
    """Maximize E_pi[r] - beta KL(pi || base) - alpha/2 chi^2(pi || q), ratios within ``reach`` of one."""
    alpha = float(problem.objective.alpha)
    slope = problem.advantage - beta * np.log(problem.policy / base) - alpha * (problem.ratio - 1.0)
    bounds = (max(1.0 - reach, 0.0), 1.0 + reach)
    inside = np.abs(problem.ratio - 1.0) < reach * (1.0 - 1e-9)
    found = penalized(problem, {"kl": (beta, base), "chi_square": (alpha, problem.q)}, slope, ratio_bounds=bounds)
    agreed = float(np.mean(slope[inside])) if inside.any() else float("nan")
    return found._replace(multiplier=agreed)


def huber_of_q(problem: ConvexProblem) -> Check:
    """CQL with Huber's loss: the problem of CQL in a box of ratios."""
    return conservative(problem, 1.0, np.ones_like(problem.q), 1.0 / float(problem.objective.alpha))


def preference_link(problem: ConvexProblem) -> Check | str:
    """Chi^2-PO: the mixed penalty with gamma = 1, unless its clip binds."""
    if problem.status == "set_valued":
        return "a gap between rewards beyond the clip of the logits: the loss is not convex"
    slope = problem.advantage - problem.beta * (problem.log_ratio + np.expm1(problem.log_ratio))
    return penalized(problem, {"kl": problem.beta, "chi_square": problem.beta}, slope)


def truncated(problem: ConvexProblem) -> Check:
    """Take the penalty with the target's own kappa; its policy must then be normalized by a multiplier of zero."""
    kappa, cap = problem.kappa, float(problem.objective.cap)
    slope = problem.advantage - problem.beta * (problem.log_ratio + kappa * np.maximum(problem.ratio, cap))
    found = truncated_program(problem.q, problem.advantage, problem.beta, kappa, cap, solvers=problem.solvers)
    return Check(found, problem.mean(slope) if kappa == 0 else 0.0)


def greedy(problem: ConvexProblem) -> Check:
    """Maximize without a penalty: the best policy that is nearest to the reference."""
    found = linear_program(problem.q, problem.advantage, problem.nu, solvers=problem.solvers)
    return Check(found, problem.mean(problem.advantage), nearest=True)


def clipped(problem: ConvexProblem) -> Check:
    """PPO's surrogate: the optimum that is nearest to the reference."""
    objective = problem.objective
    length = (objective.length or 1.0) if isinstance(objective, GSPO) else 1.0
    found = ppo_program(
        *(problem.q, problem.advantage, objective.eps_low, objective.eps_high),
        length=length,
        by_length=isinstance(objective, LUSPO),
        reference=problem.nu,
        solvers=problem.solvers,
    )
    return Check(found, problem.multiplier, nearest=True)


def clipped_token(problem: ConvexProblem) -> Check:
    """GMPO of one token: PPO's surrogate with the clip of the logarithm."""
    low, high = -np.expm1(-problem.objective.clip_low), np.expm1(problem.objective.clip_high)
    found = ppo_program(problem.q, problem.advantage, low, high, reference=problem.nu, solvers=problem.solvers)
    return Check(found, problem.multiplier, nearest=True)


def gated(problem: ConvexProblem) -> str:
    """SAPO and VESPO, whose weight per mass rises and falls."""
    return "a gate of the ratio is not concave in the policy"


def corrected(problem: ConvexProblem) -> Check | str:
    """PPO around the trainer's policy, on data that a third one sampled; the optimum that is nearest to it."""
    objective = problem.objective
    if abs(problem.nu.sum() - 1.0) > 1e-9:
        return "the reference has mass where the behavior has none"
    share = np.log(problem.nu) - np.log(problem.q)
    value = problem.advantage * objective.data_weight(problem.advantage, share) * np.exp(-share)
    bounds = objective.eps_low, objective.eps_high
    found = ppo_program(problem.nu, value, *bounds, reference=problem.nu, solvers=problem.solvers)
    return Check(found, problem.multiplier, nearest=True)


def grpo(problem: ConvexProblem) -> Check | str:
    """GRPO: PPO's surrogate, less the KL where its estimate is unbiased."""
    objective = problem.objective
    if objective.beta > 0 and not objective.unbiased_kl:
        return "k3 on samples of the behavior is not convex in the policy"
    if objective.beta > 0 and objective.dual_clip is not None:
        return "a surrogate with a dual clip is not convex in the policy"
    if objective.beta > 0:
        return penalized(
            problem, {"kl": problem.beta}, clip=(max(1.0 - objective.eps_low, 0.0), 1.0 + objective.eps_high)
        )
    return clipped(problem)


def masked(problem: ConvexProblem) -> Check | str:
    """Weights with a mask: no program."""
    return "a mask that is not differentiated has no surrogate that is convex in the policy"


def trust_region(problem: ConvexProblem) -> Check:
    """TRPO: the best advantage in the trust region."""
    return Check(
        trpo_program(problem.q, problem.advantage, float(problem.objective.delta), solvers=problem.solvers),
        problem.multiplier,
    )


def capped_score(problem: ConvexProblem) -> Check | str:
    """CISPO: likelihood weighted by a capped ratio."""
    if problem.objective.floor > 0:
        return "with a floor of the ratio no surrogate is convex in the policy"
    if not np.any(problem.advantage > 0):
        return "no advantage: every policy is optimal"
    return Check(
        capped_score_program(problem.q, problem.advantage, float(problem.objective.cap), solvers=problem.solvers),
        problem.multiplier,
    )


def capped_likelihood(problem: ConvexProblem) -> Check:
    """AWR: likelihood weighted by a capped exponential of the advantage."""
    log_weight = np.minimum(problem.advantage / problem.beta, np.log(problem.objective.w_max))
    excess = max(0.0, float(log_weight.max()) - 700.0)  # beyond it no multiplier is a float
    found = likelihood_program(problem.q * np.exp(log_weight - excess), solvers=problem.solvers)
    return Check(found, float("nan") if excess else problem.multiplier)


def likelihood(problem: ConvexProblem) -> Check | str:
    """Weight the likelihood by A; where some A < 0 the loss is unbounded, and its flow ends in a projection."""
    weight = problem.q * problem.advantage
    if problem.status == "no_target":
        return "E[A] <= 0: the loss is unbounded below"
    if np.all(weight >= 0):
        return Check(likelihood_program(weight, solvers=problem.solvers), problem.multiplier)
    point = weight / weight.sum()
    return Check(projection_program(point, solvers=problem.solvers), problem.mean(point - problem.policy))


def tapered(problem: ConvexProblem) -> Check | str:
    """TOPR: negatives only lose by having mass, and positives are a weighted likelihood."""
    if not np.any(problem.advantage > 0):
        return "no reward above the baseline: a limit of gradient flow"
    return Check(
        likelihood_program(problem.q * np.maximum(problem.advantage, 0.0), solvers=problem.solvers), problem.multiplier
    )


def policy_gradient(problem: ConvexProblem) -> Check | str:
    """REINFORCE: greedy on its own samples, a likelihood weighted by A on older ones."""
    return greedy(problem) if problem.objective.on_policy else likelihood(problem)


def shaped(problem: ConvexProblem) -> Check | str:
    """LUFFY: own samples and shaped samples of an expert, at the advantages of the target."""
    if not np.any(problem.advantage > 0):
        return "no advantage: every policy is optimal"
    gamma, share = float(problem.objective.gamma), float(problem.objective.expert_share)
    return Check(
        shaped_program(problem.q, problem.own_advantage, gamma, share, solvers=problem.solvers), problem.multiplier
    )


def imitation(problem: ConvexProblem) -> Check:
    """CHORD: own samples and imitation of an expert, at the advantages of the target."""
    mu, bounded = float(problem.objective.mu), bool(problem.objective.phi)
    return Check(
        imitation_program(problem.q, problem.own_advantage, mu, bounded, solvers=problem.solvers), problem.multiplier
    )


def log_smoothing(problem: ConvexProblem) -> Check:
    """Logarithmic smoothing of rewards that take two values with the moments of the objective."""
    chance, size = problem.on_all_actions(problem.objective.two_points)
    found = log_smoothing_program(
        problem.q, size, float(problem.objective.lam), chances=chance, solvers=problem.solvers
    )
    return Check(found, problem.multiplier)


def power_mean(problem: ConvexProblem) -> Check:
    """Power means: harmonic weights."""
    return Check(
        power_mean_program(problem.q, problem.advantage, float(problem.objective.l), solvers=problem.solvers),
        problem.multiplier,
    )


def confidence_bound(problem: ConvexProblem) -> Check:
    """Lower bound of the value, to the first order of empirical likelihood."""
    (second,) = problem.on_all_actions(lambda mean: [problem.objective.moment(mean)])
    caution = float(problem.objective.z) / float(problem.objective.n) ** 0.5
    found = confidence_bound_program(problem.q, problem.advantage, second, caution, solvers=problem.solvers)
    return Check(found, problem.multiplier)
