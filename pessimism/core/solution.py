"""What every route returns: log-ratios, one row for each problem, and how the search for them ended."""

from __future__ import annotations

from typing import NamedTuple

from pessimism.arrays import Array

STATUS = (
    "converged",
    "local_minimum",  # negative regime: a local minimizer, and there may be others, see stationary_points
    "vanishing_support",  # the limit of the policy gives up some actions that the behavior has
    "no_target",  # no fixed point: the loss is unbounded, or (generic route) some action loses all its mass
    "not_converged",
    "invalid_input",
    "set_valued",  # many policies are optimal; this one is nearest to the reference in KL(pi || reference)
)


NOT_COVERED = -1  # of a closed form, at rows that it does not hold for: the generic route solves them


class Solution(NamedTuple):
    """Result of a route, one row for each problem.

    Attributes
    ----------
    log_ratio : Array, shape (N, K)
        Log-ratios log(pi / reference).
    kappa : Array, shape (N,)
        Lambert curvature, nan where the target is not of that family.
    regime : Array, shape (N,)
        Sign of the regime: +1, 0 or -1.
    leak : Array, shape (N,)
        Mass that leaves the seen actions.
    status : Array, shape (N,)
        Index into STATUS.
    differentiable : bool
        Whether the formula itself can be differentiated by autograd.
    """

    log_ratio: Array
    kappa: Array
    regime: Array
    leak: Array
    status: Array
    differentiable: bool = False


def read_status(objective: str, status: str) -> str | None:
    """Say why an objective has no target on a problem, or none that was found; None where it has one."""
    if status == "no_target":
        if objective == "asym_re":
            return "no target: shift must be below 0, the loss is unbounded"
        return "no target: the loss has no fixed point here, it is unbounded or some action loses all its mass"
    if status == "not_converged":
        return "not converged: the solver found no fixed point to working accuracy, so the numbers cannot be relied on"
    return None
