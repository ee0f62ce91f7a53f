"""Which convex program belongs to which objective: one line for each."""

from __future__ import annotations

from collections.abc import Callable

from pessimism.convex import checks
from pessimism.convex.problem import Check, ConvexProblem
from pessimism.losses.registry import objectives

Builder = Callable[[ConvexProblem], Check | str]


def labels(problem: ConvexProblem) -> Check:
    """DPO: nominal for Bradley-Terry labels, greedy for deterministic ones."""
    return checks.kl(problem) if problem.objective.preference == "bradley_terry" else checks.greedy(problem)


def weighted_likelihood(problem: ConvexProblem) -> Check | str:
    """RoiRL by its weight."""
    return checks.likelihood(problem) if problem.objective.weight == "identity" else checks.kl(problem)


def kl_estimator(problem: ConvexProblem) -> Check | str:
    """Estimator k1, k2 or k3 of the KL, in reward or loss."""
    objective = problem.objective
    kind = (objective.estimator, objective.placement)
    if kind == ("k1", "reward") or (objective.on_policy and kind == ("k2", "loss")):
        return checks.own_kl(problem)
    if objective.on_policy and kind == ("k3", "loss"):
        return checks.penalized(problem, {"forward_kl": problem.beta})
    if objective.on_policy and kind == ("k1", "loss"):
        return checks.greedy(problem)
    return f"{objective.estimator} in the {objective.placement}, {objective.sampling}, is not convex in the policy"


PROGRAMS: dict[str, Builder] = {
    "nominal": checks.own_kl,
    "a_star_po": checks.trained_on_policy,
    "oapl": checks.squared,
    "kimi": checks.squared,
    "shifted_mean": checks.squared,
    "optimal_value": checks.squared,
    "constant_baseline": checks.squared,
    "std_normalized": checks.squared,
    "qrpo": checks.squared,
    "apa": checks.scaled_regression,
    "dro": checks.scaled_regression,
    "opmd": checks.scaled_regression,
    "tba": checks.kl,
    "rebel": checks.kl,
    "copg": checks.kl,
    "ipo": checks.kl,
    "tpo": checks.kl,
    "awac": checks.kl,
    "brac": checks.own_kl,
    "dpo": labels,
    "async_dpo": labels,
    "chi_po": checks.preference_link,
    "awr": checks.capped_likelihood,
    "asym_re": checks.likelihood,
    "roirl": weighted_likelihood,
    "topr": checks.tapered,
    "reinforce": checks.policy_gradient,
    "opo": checks.policy_gradient,
    "gpg": checks.policy_gradient,
    "rloo": checks.kl,
    "truncated_is": checks.truncated,
    "mixed_chi2_kl": checks.mixed,
    "chi2": checks.chi_square,
    "divergence_augmented": checks.divergence,
    "cql": checks.softmax_of_q,
    "cql_reference": checks.tilted_by_q,
    "cql_huber": checks.huber_of_q,
    "ppo": checks.clipped,
    "dr_grpo": checks.clipped,
    "dapo": checks.clipped,
    "gspo": checks.clipped,
    "max_rl": checks.clipped,
    "luspo": checks.clipped,
    "gmpo": checks.clipped_token,
    "reinforce_pp": checks.clipped,
    "ppo_corrected": checks.corrected,
    "sapo": checks.gated,
    "vespo": checks.gated,
    "grpo": checks.grpo,
    "rloo_clipped": checks.clipped,
    "kimi_k25": checks.masked,
    "dppo": checks.masked,
    "dppo_tv": checks.masked,
    "prime_ipo": checks.masked,
    "cispo": checks.capped_score,
    "trpo": checks.trust_region,
    "kl_regularized": kl_estimator,
    "luffy": checks.shaped,
    "chord": checks.imitation,
    "ips": checks.own_kl,
    "propensity_clipping": checks.own_kl,
    "implicit_exploration": checks.own_kl,
    "exponential_smoothing": checks.own_kl,
    "log_smoothing_linear": checks.own_kl,
    "pevi_kl": checks.own_kl,
    "pevi": checks.greedy,
    "log_smoothing": checks.log_smoothing,
    "power_mean": checks.power_mean,
    "weight_clipping": checks.weight_clipping,
    "empirical_likelihood_lcb": checks.confidence_bound,
}


def check_of(problem: ConvexProblem) -> Check | str:
    """Find the program of an objective with the multiplier that its target predicts, or say why there is none."""
    name = problem.objective.name
    if problem.status in ("invalid_input", "not_converged"):
        return f"the target is {problem.status}"
    # Another class by that name, as a subclass that inherits it, may be another loss.
    if name not in PROGRAMS or objectives().get(name) is not type(problem.objective):
        return f"no convex program is known for {type(problem.objective).__name__}"
    return PROGRAMS[name](problem)
