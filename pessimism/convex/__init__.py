"""The same problems as convex programs (the extra ``convex``): solved by cone solvers, with their multipliers.

One file per family: programs in the log-ratio, rewards against divergences, concave surrogates, trust regions and
statistical lower bounds. :func:`pessimism.verify` compares a target with the program of its objective.
"""

from pessimism.convex.clipped import linear_program, ppo_program, trpo_program
from pessimism.convex.log_ratio import u_program
from pessimism.convex.lower_bound import (
    LikelihoodInterval,
    confidence_bound_program,
    empirical_likelihood_interval_program,
)
from pessimism.convex.penalties import PENALTIES, penalized_program
from pessimism.convex.program import Outcome, Program, policy_program, solve
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

__all__ = [
    "PENALTIES",
    "LikelihoodInterval",
    "Outcome",
    "Program",
    "capped_score_program",
    "confidence_bound_program",
    "empirical_likelihood_interval_program",
    "imitation_program",
    "likelihood_program",
    "linear_program",
    "log_smoothing_program",
    "penalized_program",
    "policy_program",
    "power_mean_program",
    "ppo_program",
    "projection_program",
    "shaped_program",
    "solve",
    "trpo_program",
    "truncated_program",
    "u_program",
]
