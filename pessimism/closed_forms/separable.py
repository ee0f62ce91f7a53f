r"""Closed forms with one scalar unknown: every action answers a multiplier, and the multiplier makes them sum to one.

For objectives that maximize :math:`\sum_a F_a(\pi_a)` over policies with concave F_a, :math:`F_a'(\pi_a) = \lambda` has
a solution that falls in lambda; actions whose F' stays below it have no mass. Everything runs on the host in float64.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from array_api_compat import device

from pessimism.arrays import Array, to_numpy
from pessimism.closed_forms.regime import lambert_fit
from pessimism.core.bandit import Bandit
from pessimism.core.objective import Objective
from pessimism.core.solution import NOT_COVERED, Solution, Status


def normalizing_multiplier(mass: Callable[[Array, Array], Array], low: Array, high: Array) -> Array:
    """Multiplier at which the mass of each row is one.

    Parameters
    ----------
    mass : callable
        Takes multipliers ``(n,)`` and the indices ``(n,)`` of their rows, and returns masses ``(n,)``, which fall in
        the multiplier. The mass may be infinite at ``low``.
    low, high : Array, shape (N,)
        Bounds that enclose the root of each row.

    Returns
    -------
    Array, shape (N,)
        Root of mass(lam, row) = 1 in each row, nan where the bounds do not enclose it.
    """
    from scipy.optimize import elementwise

    def excess(lam: Array, row: Array) -> Array:
        with np.errstate(over="ignore", divide="ignore"):
            return np.clip(mass(lam, row.astype(int)) - 1.0, -1.0, 1e300)

    rows = np.arange(len(low), dtype=float)
    at_low, at_high = excess(low, rows), excess(high, rows)
    found = elementwise.find_root(excess, (low, high), args=(rows,)).x  # nan where it is not enclosed
    return np.where(at_low == 0, low, np.where(at_high == 0, high, found))


def wrap(
    bandit: Bandit,
    objective: Objective,
    advantage: Array,
    log_ratio: Array,
    lam: Array,
    *,
    set_valued: Array | bool = False,
    leak: Array | float = 0.0,
    covered: Array | bool = True,
) -> Solution:
    """Wrap log-ratios ``(N, K)`` to the reference and multipliers lam ``(N,)`` as a solution.

    A log-ratio is -inf where an action has no mass. kappa and regime follow from the log-ratios, negative where mass
    leaks; the status says whether support vanishes or the target is one of a set, or that a row is not ``covered``.
    """
    log_ratio = np.where(to_numpy(bandit.behavior) > 0, log_ratio, 0.0)
    vanishing = np.any(np.isneginf(log_ratio), axis=-1)
    status = np.where(vanishing, Status.VANISHING_SUPPORT, Status.CONVERGED)
    status = np.where(covered, np.where(set_valued, Status.SET_VALUED, status), NOT_COVERED)
    return as_solution(bandit, objective, advantage, log_ratio, lam, status, np.zeros(len(lam)) + leak)


def as_solution(
    bandit: Bandit,
    objective: Objective,
    advantage: Array,
    log_ratio: Array,
    multiplier: Array,
    status: Array,
    leak: Array,
) -> Solution:
    """Wrap what a route found, on the host, as a solution: kappa and regime are read off it.

    Parameters
    ----------
    bandit : Bandit
        The problems, N of them.
    objective : Objective
        The objective.
    advantage : array, shape (N, K)
        Its advantages.
    log_ratio : ndarray, shape (N, K)
        Log-ratios to the reference.
    multiplier, status, leak : ndarray, shape (N,)
        Multiplier lam, how the search ended, and leaked mass.

    Returns
    -------
    Solution
        The same with kappa and regime, as arrays of the bandit's library.
    """
    kappa, regime = lambert_fit(bandit, objective, to_numpy(advantage), log_ratio, multiplier)
    regime[leak > 0] = -1
    found = (log_ratio, kappa, regime, leak, status.astype(np.int8))
    return Solution(*(bandit.xp.asarray(a, device=device(bandit.reward)) for a in found))
