"""What every route returns: log-ratios, one row for each problem, and how the search for them ended."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pessimism.arrays import Array

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit

_LARGEST = 700.0  # log-ratio whose exponential is still a float


class Status(IntEnum):
    """How the search for a target ended; ``message`` says it in a sentence, ``label`` is its name for users."""

    CONVERGED = 0
    LOCAL_MINIMUM = 1
    VANISHING_SUPPORT = 2
    NO_TARGET = 3
    NOT_CONVERGED = 4
    INVALID_INPUT = 5
    SET_VALUED = 6
    UNSTABLE = 7

    @property
    def label(self) -> str:
        """The status as users see it, "converged"."""
        return self.name.lower()

    @property
    def message(self) -> str:
        """What the status means."""
        return _MESSAGES[self]


_MESSAGES = {
    Status.CONVERGED: "the target is found to working accuracy",
    Status.LOCAL_MINIMUM: (
        "one of several minimizers, in the negative regime or where equal actions part: the one in which gradient flow "
        "from the reference ends, unless another was asked for"
    ),
    Status.VANISHING_SUPPORT: "the target gives up some actions that the behavior takes",
    Status.NO_TARGET: "the loss has no fixed point here, it is unbounded or some action loses all its mass",
    Status.NOT_CONVERGED: "the solver found no fixed point to working accuracy, so the numbers cannot be relied on",
    Status.INVALID_INPUT: "the input breaks a rule",
    Status.UNSTABLE: (
        "gradient flow from the reference stays at this policy, but any difference between the actions drives it away"
    ),
    Status.SET_VALUED: "many policies are optimal; this one is nearest to the reference in KL(pi || reference)",
}
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
        Values of :class:`Status`.
    differentiable : bool
        Whether the formula itself can be differentiated by autograd.
    mass : Array, shape (N,), or None
        Sum of the policy, with what leaks, where the formula knows it: to rounding, or nan where it failed. None where
        the log-ratios must be asked.
    """

    log_ratio: Array
    kappa: Array
    regime: Array
    leak: Array
    status: Array
    differentiable: bool = False
    mass: Array | None = None

    @property
    def rows(self) -> tuple[Array, ...]:
        """The arrays, without what is said of all rows together."""
        return self[:5]


def policy_of(bandit: Bandit, log_ratio: Array) -> Array:
    """Probabilities ``(N, K)`` of log-ratios to the reference, 0 where the behavior has none."""
    xp = bandit.xp
    u = bandit.masked(log_ratio, 0.0)
    if 0 in u.shape or bool(xp.max(u) <= _LARGEST):  # not so where one is nan
        policy = xp.exp(u)
        if isinstance(policy, np.ndarray):  # in place, which autograd of other libraries does not allow
            policy *= bandit.reference
        else:
            policy = policy * bandit.reference
    else:  # of an action so faint that the ratio overflows, yet not the probability
        ratio, beyond = xp.exp(xp.minimum(u, xp.full_like(u, _LARGEST))), u > _LARGEST
        policy = xp.where(beyond, xp.exp(bandit.log_reference + u), bandit.reference * ratio)
    return bandit.masked(policy, 0.0)
