"""Which convex program belongs to which objective: one line for each."""

from __future__ import annotations

from collections.abc import Callable

from pessimism.convex import checks as of_penalties
from pessimism.convex import checks as of_surrogates
from pessimism.convex.problem import Check, Row
from pessimism.losses.registry import objectives

Builder = Callable[[Row], Check | str]


def labels(row: Row) -> Check:
    """DPO: nominal for Bradley-Terry labels, greedy for deterministic ones."""
    return of_penalties.kl(row) if row.objective.preference == "bradley_terry" else of_surrogates.greedy(row)


def weighted_likelihood(row: Row) -> Check | str:
    """RoiRL by its weight."""
    return of_surrogates.likelihood(row) if row.objective.weight == "identity" else of_penalties.kl(row)


def kl_estimator(row: Row) -> Check | str:
    """Estimator k1, k2 or k3 of the KL, in reward or loss."""
    objective = row.objective
    kind = (objective.estimator, objective.placement)
    if kind == ("k1", "reward") or (objective.on_policy and kind == ("k2", "loss")):
        return of_penalties.own_kl(row)
    if objective.on_policy and kind == ("k3", "loss"):
        return of_penalties.penalized(row, {"forward_kl": row.beta})
    if objective.on_policy and kind == ("k1", "loss"):
        return of_surrogates.greedy(row)
    return f"{objective.estimator} in the {objective.placement}, {objective.sampling}, is not convex in the policy"


PROGRAMS: dict[str, Builder] = {
    "nominal": of_penalties.own_kl,
    "a_star_po": of_penalties.trained_on_policy,
    "oapl": of_penalties.squared,
    "kimi": of_penalties.squared,
    "shifted_mean": of_penalties.squared,
    "optimal_value": of_penalties.squared,
    "constant_baseline": of_penalties.squared,
    "std_normalized": of_penalties.squared,
    "qrpo": of_penalties.squared,
    "apa": of_penalties.regression_over_beta,
    "tba": of_penalties.kl,
    "rebel": of_penalties.kl,
    "copg": of_penalties.kl,
    "ipo": of_penalties.kl,
    "tpo": of_penalties.kl,
    "awac": of_penalties.kl,
    "brac": of_penalties.own_kl,
    "dpo": labels,
    "async_dpo": labels,
    "chi_po": of_penalties.preference_link,
    "awr": of_surrogates.capped_likelihood,
    "asym_re": of_surrogates.likelihood,
    "roirl": weighted_likelihood,
    "topr": of_surrogates.tapered,
    "reinforce": of_surrogates.policy_gradient,
    "opo": of_surrogates.policy_gradient,
    "rloo": of_penalties.kl,
    "truncated_is": of_penalties.truncated,
    "mixed_chi2_kl": of_penalties.mixed,
    "chi2": of_penalties.chi_square,
    "divergence_augmented": of_penalties.divergence,
    "cql": of_penalties.softmax_of_q,
    "cql_reference": of_penalties.tilted_by_q,
    "cql_huber": of_penalties.huber_of_q,
    "ppo": of_surrogates.clipped,
    "dr_grpo": of_surrogates.clipped,
    "dapo": of_surrogates.clipped,
    "gspo": of_surrogates.clipped,
    "grpo": of_surrogates.grpo,
    "cispo": of_surrogates.capped_score,
    "trpo": of_surrogates.trust_region,
    "kl_regularized": kl_estimator,
    "luffy": of_surrogates.shaped,
    "chord": of_surrogates.imitation,
    "ips": of_penalties.own_kl,
    "propensity_clipping": of_penalties.own_kl,
    "implicit_exploration": of_penalties.own_kl,
    "exponential_smoothing": of_penalties.own_kl,
    "log_smoothing_linear": of_penalties.own_kl,
    "pevi_kl": of_penalties.own_kl,
    "pevi": of_surrogates.greedy,
    "log_smoothing": of_surrogates.log_smoothing,
    "power_mean": of_surrogates.power_mean,
    "weight_clipping": of_penalties.weight_clipping,
    "empirical_likelihood_lcb": of_surrogates.confidence_bound,
}


def check_of(row: Row) -> Check | str:
    """The program of a row's objective with the multiplier that its target predicts, or why there is none."""
    name = getattr(row.objective, "name", type(row.objective).__name__)
    if row.status in ("invalid_input", "not_converged"):
        return f"the target is {row.status}"
    # Another class by that name, as a subclass that inherits it, may be another loss.
    if name not in PROGRAMS or objectives().get(name) is not type(row.objective):
        return f"no convex program is known for {type(row.objective).__name__}"
    return PROGRAMS[name](row)
