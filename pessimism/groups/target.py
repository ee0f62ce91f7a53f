r"""From the expected advantage of a finite group to the target: the same fixed point, on the data that groups leave.

Averaged over groups, gradient ascent moves along :math:`\sum_a q_a P(kept | a) E[g(u_a, A_i) | a_i = a, kept] \nabla
\log \pi_a`. Where g is affine in A that is :math:`d_a\, g(u_a, A_a)`, d proportional to q P(kept | a) and A the
conditional expectation; u stays the log-ratio to the sampler q. Source: arXiv 2605.28150; docs/theory.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pessimism.arrays import Floats
from pessimism.closed_forms import tilts
from pessimism.closed_forms.negative_regime import log_partition
from pessimism.core.bandit import Bandit, make_bandit
from pessimism.core.objective import Objective
from pessimism.core.solution import NOT_COVERED, Solution, Status
from pessimism.fixed_point.generic import fixed_point
from pessimism.target.acceptance import accepted
from pessimism.target.induced import solve_rows as solve_published
from pessimism.target.induced import with_uncovered
from pessimism.target.result import InducedTarget

NOT_AFFINE = "its weight is not affine in the advantage, so that finite groups have no expected advantage"
_LOG_RATIOS = np.array([[-3.0], [-0.4], [-0.05], [0.0], [0.03], [0.3], [1.5]])


def why_undefined(objective: Objective, *, drop_equal: bool = False) -> str | None:
    """Say why an objective has no expected advantage, None where it may have one."""
    if objective.on_policy or objective.mixes_data:
        other = ' (sampling="off_policy" has groups of the behavior)' if objective.settings.get("sampling") else ""
        return f"its groups follow the policy itself, so that no fixed behavior has drawn them{other}"
    if objective.coupled:
        return "its weight couples the log-ratios of a group, so that the expected advantage is not enough"
    if objective.over_batch:
        return "its advantage depends on the other groups of the batch, and one prompt has none"
    if objective.facts:
        return f"its {objective.facts[0]} belongs to each action, which the completions of other groups do not have"
    if _reads_propensity(objective):
        return "its advantage needs the probability of each completion, which a group does not show"
    of_the_sampler = objective.takes_propensity or objective.takes_share or objective.kinks or objective.by_flow
    if drop_equal and of_the_sampler:
        return "with drop_equal, its weight needs the sampler's probabilities beside those of the groups kept"
    return None


def _reads_propensity(objective: Objective) -> bool:
    """Whether the advantage depends on how a probability is split among actions of the same reward."""
    reward = np.array([0.0, 1.0, 1.0])
    even, uneven = (np.asarray(objective.advantage(reward, np.array([0.5, p, 0.5 - p]))) for p in (0.25, 0.4))
    return not np.allclose(even, uneven, rtol=1e-9, atol=0.0)


def is_affine(objective: Objective, lowest: float, highest: float) -> bool:
    """Whether the score weight is affine in the advantage between the two, at log-ratios on both sides of 0."""
    if not highest > lowest:
        return True
    t = np.array([0.0, 1.0, 0.03, 0.25, 0.5, 0.8, 0.97])
    u, advantage = np.broadcast_arrays(_LOG_RATIOS, lowest + t * (highest - lowest))
    with np.errstate(over="ignore", invalid="ignore"):
        g = np.asarray(objective.score_weight(u.copy(), advantage.copy(), None))
        straight = g[:, :1] + t * (g[:, 1:2] - g[:, :1])
        return bool(np.all(np.abs(g - straight) <= 1e-9 * (np.abs(g[:, :1]) + np.abs(g[:, 1:2]))))


def require_affine(objective: Objective, lowest: float, highest: float) -> None:
    """Raise ``ValueError`` where the expected advantage would not be enough."""
    if not is_affine(objective, lowest, highest):
        raise ValueError(f"objective {objective}: {NOT_AFFINE}; defined for squared regressions and policy gradients")


def is_linear(objective: Objective, advantage: Floats) -> bool:
    """Whether advantages that are all multiplied by a number multiply the score weights by it, by their numbers."""
    values = np.linspace(advantage.min(), advantage.max(), 5)
    u, a = np.broadcast_arrays(_LOG_RATIOS, values)
    with np.errstate(over="ignore", invalid="ignore"):
        once, thrice = (np.asarray(objective.score_weight(u.copy(), c * a, None)) for c in (1.0, 3.0))
        return bool(np.all(np.abs(thrice - 3.0 * once) <= 1e-9 * np.abs(once)))


def is_squared(objective: Objective) -> bool:
    """Whether the score weight is a positive constant times A - beta u: the Lambert family, by its numbers."""
    beta = objective.temperature
    if beta is None or not beta > 0:
        return False
    u, advantage = np.broadcast_arrays(_LOG_RATIOS, beta * np.array([-2.2, -0.3, 0.1, 0.7, 3.1]))
    with np.errstate(over="ignore", invalid="ignore"):
        ratio = np.asarray(objective.score_weight(u.copy(), advantage.copy(), None)) / (advantage - beta * u)
        return bool(ratio.flat[0] > 0 and np.all(np.abs(ratio - ratio.flat[0]) <= 1e-9 * ratio.flat[0]))


def solve_group(
    objective: Objective,
    behavior: Any,
    reward: Any,
    advantage: Floats,
    *,
    data: Any = None,
    unseen: bool = False,
) -> InducedTarget:
    """Target of expected advantages ``(..., K)``, with the behavior as reference and as data, unless ``data`` differ.

    Actions without data carry an advantage of 0.
    """
    bandit = make_bandit(behavior, reward) if data is None else make_bandit(data, reward, behavior)
    rows = np.reshape(advantage, bandit.reward.shape)
    return InducedTarget(objective, bandit, solve_bandit(objective, bandit, rows, unseen=unseen), rows)


def solve_bandit(objective: Objective, bandit: Bandit, advantage: Floats, *, unseen: bool = False) -> Solution:
    """Solution of given advantages ``(N, K)``, whose data may be others than the reference's.

    Parameters
    ----------
    objective : Objective
        The objective.
    bandit : Bandit
        The problems, N of them.
    advantage : ndarray, shape (N, K)
        Expected advantages, which take the place of the objective's own.
    unseen : bool, default False
        Whether the actions are only those seen in a larger space.

    Returns
    -------
    Solution
        One row for each problem.
    """
    beta = objective.temperature
    if objective.on_policy:
        return solve_published(bandit, objective, advantage, unseen, None)
    if beta is not None and is_squared(objective):
        formula = tilts.lambert(bandit, advantage, beta, unseen=unseen)
        found = with_uncovered(formula, bandit, objective, advantage, unseen)
        return accepted(bandit, objective, advantage, found, formula.status == NOT_COVERED)
    if bandit.own_reference is None:
        return solve_published(bandit, objective, advantage, unseen, None)
    if not reads_log_ratio(objective, advantage):
        # Nothing refers to the sampler: the problem is that of the data alone, its log-ratio is not.
        alone = make_bandit(bandit.behavior, bandit.reward)
        solution = solve_published(alone, objective, advantage, unseen, None)
        return solution._replace(log_ratio=solution.log_ratio - bandit.log_reference_ratio)
    found = fixed_point(bandit, objective, advantage, unseen=unseen)
    found = accepted(bandit, objective, advantage, found, np.ones(len(advantage), dtype=bool))
    # Without a closed form, a target on fewer actions cannot be told from none.
    unknown = found.status == Status.NO_TARGET
    return found._replace(status=np.where(unknown, Status.NOT_CONVERGED, found.status).astype(np.int8))


def reads_log_ratio(objective: Objective, advantage: Floats) -> bool:
    """Whether the score weight changes with the log-ratio, by its numbers."""
    u, a = np.broadcast_arrays(_LOG_RATIOS, np.linspace(advantage.min(), advantage.max(), 5))
    with np.errstate(over="ignore", invalid="ignore"):
        g = np.asarray(objective.score_weight(u.copy(), a.copy(), None))
    return not np.array_equal(g, np.broadcast_to(g[:1], g.shape))


def log_z_of(behavior: Floats, advantage: Floats, beta: float | None) -> Floats:
    """Log E_q[exp(A/beta)] of rows ``(N, K)``, q the sampler whatever the data: its sign is the regime."""
    if beta is None:
        return np.full(len(behavior), np.nan)
    with np.errstate(divide="ignore"):
        return np.asarray(log_partition(np, behavior, np.log(behavior), advantage / beta))
