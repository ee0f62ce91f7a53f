"""Every target by every route: closed form, generic fixed point, convex program and gradient flow, compared."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pessimism.arrays import LOG_OF_NO_MASS, Array, to_numpy
from pessimism.convex.verify import verify
from pessimism.core.objective import Objective
from pessimism.dynamics.gradient_descent import sgd
from pessimism.dynamics.gradient_flow import gradient_flow
from pessimism.target.induced import induced_target
from pessimism.target.result import InducedTarget

_MANY = 32  # actions beyond which jumps that hold them are too costly to follow
_NEAR = 1e-4  # a flow that never rests, its log-ratios growing without bound, has still reached its limit


class Comparison(NamedTuple):
    """One route against the target that the package returns: the error, nan with the reason where it cannot compare."""

    route: str
    error: float
    why: str


def compare_routes(behavior: Array, reward: Array, objective: Objective) -> tuple[InducedTarget, list[Comparison]]:
    """Solve one problem ``(K,)`` by the route that users get, and compare the others with it.

    The error is the largest difference of a probability; for the convex program also of its optimal value, its dual and
    the leak. It is infinite where a route contradicts the target. Where many policies are optimal (status "set_valued")
    there is no one policy to reach: the routes are compared by the population loss instead, relative to its size.

    Parameters
    ----------
    behavior : array_like, shape (K,)
        Probabilities of the behavior policy.
    reward : array_like, shape (K,)
        Reward of each action.
    objective : pessimism.Objective
        The objective.

    Returns
    -------
    tuple of InducedTarget and list of Comparison
        The target that users get, and the other routes against it.

    Examples
    --------
    >>> import numpy as np, pessimism as ps
    >>> target, found = compare_routes(np.array([0.5, 0.5]), np.array([0.0, 1.0]), ps.Kimi(beta=0.5))
    >>> [c.route for c in found if c.error < 1e-5]
    ['fixed_point', 'convex', 'flow']
    """
    target = induced_target(behavior, reward, objective)
    if target.status in ("no_target", "not_converged"):
        none = [Comparison(route, np.nan, str(target.status)) for route in ("fixed_point", "convex")]
        return target, [*none, _flow_without_target(target)]
    return target, [_fixed_point(target), _convex(target), _flow(target)]


def _fixed_point(target: InducedTarget) -> Comparison:
    objective = target.objective
    if target.status == "set_valued":
        return Comparison("fixed_point", np.nan, "many fixed points")
    if objective.by_flow:
        return Comparison("fixed_point", np.nan, "several fixed points")
    if _is_limit(target):
        return Comparison("fixed_point", np.nan, "log-ratios grow without bound")
    if not _has_closed_form(target):
        return Comparison("fixed_point", np.nan, "is the route")
    generic = induced_target(target.behavior, target.reward, objective, method="fixed_point")
    if generic.status in ("no_target", "not_converged"):
        if target.status == "converged":
            return Comparison("fixed_point", np.inf, f"{generic.status}, yet the target has full support")
        return Comparison("fixed_point", np.nan, "none with mass on every action")
    return Comparison("fixed_point", _distance(target, to_numpy(generic.policy)), "")


def _is_limit(target: InducedTarget) -> bool:
    """Whether log-ratios grow without bound towards the target."""
    objective = target.objective
    return isinstance(objective, Objective) and objective.at_infinity(target.log_ratio, target.advantage) is not None


def _has_closed_form(target: InducedTarget) -> bool:
    try:
        induced_target(target.behavior, target.reward, target.objective, method="closed_form")
    except ValueError:
        return False
    return True


def _convex(target: InducedTarget) -> Comparison:
    row = verify(target).iloc[0]
    errors = row[["policy_error", "value_error", "dual_error", "leak_error"]].astype(float)
    if row["reason"] or errors.isna().all():
        return Comparison("convex", np.nan, str(row["reason"]))
    return Comparison("convex", float(errors.max()), "")


def _flow(target: InducedTarget) -> Comparison:
    problem = (target.behavior, target.reward, target.objective)
    if target.status == "set_valued":  # flat where it ends: plain steps get there, and no jump need be resolved
        reached = sgd(*problem, steps=20_000, lr=5.0)
    elif target.objective.kinks_at(to_numpy(target.behavior)) and len(target.reward) > _MANY:
        return Comparison("flow", np.nan, f"more than {_MANY} actions on jumps of the weight")
    else:
        # Where it rests is polished, whatever the way there.
        reached = gradient_flow(*problem, tolerance=1e-6, horizon=1e8)
    error = _distance(target, reached.policy)
    if reached.status == "diverged" and not _is_limit(target):
        return Comparison("flow", np.inf, "diverged, yet there is a target")
    if reached.status in ("diverged", "not_converged") and error > _NEAR:
        return Comparison("flow", np.nan, "still moving at its horizon")
    return Comparison("flow", error, "")


def _flow_without_target(target: InducedTarget) -> Comparison:
    """Where there is no target, the flow must not come to rest with mass on several actions."""
    reached = gradient_flow(target.behavior, target.reward, target.objective, tolerance=1e-6, horizon=1e8)
    rests = reached.status in ("converged", "vanishing_support")
    return Comparison("flow", np.inf if rests else 0.0, "rests, yet there is no target" if rests else "")


def _distance(target: InducedTarget, policy: Array) -> float:
    """Largest difference of a probability; of a set-valued target, whether the policy belongs to the set.

    It does where its population loss is that of the target, or where nothing pulls it: a loss with stopped gradients
    has no value of its own.
    """
    own = to_numpy(target.policy)
    if target.status != "set_valued":
        return float(np.abs(policy - own).max())
    losses = [_population_loss(target, p) for p in (own, policy)]
    return min(abs(losses[1] - losses[0]) / max(1.0, abs(losses[0])), _pull(target, policy))


def _pull(target: InducedTarget, policy: Array) -> float:
    """Largest entry of q g - lam pi at a policy, relative to the pulls at the behavior."""
    q, advantage = to_numpy(target.behavior), to_numpy(target.advantage)
    with np.errstate(divide="ignore"):
        u = np.maximum(np.log(policy / q), LOG_OF_NO_MASS)
    at_behavior, pulls = (q * target.objective.score_weight(v, advantage, q) for v in (np.zeros_like(q), u))
    return float(np.abs(pulls - policy * pulls.sum()).max() / np.abs(at_behavior).sum())


def _population_loss(target: InducedTarget, policy: Array) -> float:
    q = to_numpy(target.behavior)
    with np.errstate(divide="ignore"):
        u = np.maximum(np.log(policy / q), LOG_OF_NO_MASS)
    return float(np.sum(q * target.objective.loss(u, to_numpy(target.advantage), q)))
