r"""Closed forms with one scalar unknown: every action answers a multiplier, and the multiplier makes them sum to one.

For objectives that maximize :math:`\sum_a F_a(\pi_a)` over policies with concave F_a, :math:`F_a'(\pi_a) = \lambda` has
a solution that falls in lambda; actions whose F' stays below it have no mass. Everything runs on the host in float64.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from array_api_compat import device

from pessimism.arrays import Array, per_row, to_numpy, to_numpy_float
from pessimism.core.bandit import Bandit
from pessimism.core.objective import Objective
from pessimism.core.solution import Solution, Status


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
        Root of mass(lam, row) = 1 in each row.

    Raises
    ------
    ArithmeticError
        If the bounds do not enclose a root: a fault of the closed form, not of the user.
    """
    from scipy.optimize import elementwise

    def excess(lam: Array, row: Array) -> Array:
        with np.errstate(over="ignore", divide="ignore"):
            return np.clip(mass(lam, row.astype(int)) - 1.0, -1.0, 1e300)

    rows = np.arange(len(low), dtype=float)
    at_low, at_high = excess(low, rows), excess(high, rows)
    if not (np.all(at_low >= 0) and np.all(at_high <= 0)):
        raise ArithmeticError(f"the bounds of a multiplier do not enclose it: excess {at_low.min()}, {at_high.max()}")
    found = elementwise.find_root(excess, (low, high), args=(rows,)).x
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
) -> Solution:
    """Wrap log-ratios ``(N, K)`` to the reference and multipliers lam ``(N,)`` as a solution.

    A log-ratio is -inf where an action has no mass. kappa and regime follow from the log-ratios, negative where mass
    leaks; the status says whether support vanishes or the target is one of a set.
    """
    q, nu = to_numpy(bandit.behavior), to_numpy(bandit.reference)
    log_ratio = np.where(q > 0, log_ratio, 0.0)
    kappa, regime = lambert_fit(objective, q, nu, to_numpy(advantage), log_ratio, lam)
    vanishing = np.any(np.isneginf(log_ratio), axis=-1)
    status = np.where(vanishing, Status.VANISHING_SUPPORT, Status.CONVERGED)
    status = np.where(set_valued, Status.SET_VALUED, status).astype(np.int8)
    leak = np.zeros(len(q)) + leak
    regime[leak > 0] = -1
    found = (log_ratio, kappa, regime, leak, status)
    return Solution(*(bandit.xp.asarray(a, device=device(bandit.reward)) for a in found))


def lambert_fit(
    objective: Objective, q: Array, nu: Array, advantage: Array, log_ratio: Array, multiplier: Array
) -> tuple[Array, Array]:
    r"""Fit kappa ``(N,)`` and the regime ``(N,)`` to log-ratios ``(N, K)`` that some route found (numpy).

    kappa is :math:`\kappa = E_q[A/\beta - u] / E_q[\pi/q]` where every action then satisfies :math:`u + \kappa \pi/q =
    A/\beta`, else nan (arXiv 2605.28150). The regime is the sign of kappa; off the Lambert family it is the sign of
    KL(nominal || nu) - KL(pi || nu), positive where the target is more conservative than nominal at the same
    temperature; without a temperature it is the sign of the ``multiplier`` ``(N,)``.
    """
    count = len(q)
    kappa, regime = np.full(count, np.nan), np.zeros(count, dtype=np.int8)
    beta = np.nan if objective.temperature is None else objective.temperature
    betas = np.broadcast_to(to_numpy_float(per_row(beta)), count)
    for row in range(count):
        seen = q[row] > 0
        u = log_ratio[row, seen]
        if np.isnan(betas[row]) or not np.all(np.isfinite(u)):
            regime[row] = 0 if np.isnan(multiplier[row]) else int(np.sign(multiplier[row]))
            continue
        kappa[row], regime[row] = _of_row(q[row, seen], nu[row, seen], advantage[row, seen] / betas[row], u)
    return kappa, regime


def _of_row(q: Array, nu: Array, z: Array, u: Array) -> tuple[float, int]:
    w = np.exp(u + np.log(nu) - np.log(q))
    tolerance = 1e-9 * (1.0 + np.abs(z).max())
    kappa = float(np.sum(q * (z - u)) / np.sum(q * w))
    if np.abs(u + kappa * w - z).max() <= tolerance:
        return kappa, int(np.sign(kappa)) if abs(kappa) > tolerance else 0
    if np.ptp(z - u) <= tolerance:
        return 0.0, 0
    # Not of the family: compare with the nominal target at the same temperature.
    nominal = z - np.logaddexp.reduce(np.log(nu) + z)
    farther = np.sum(nu * np.exp(nominal) * nominal) - np.sum(nu * np.exp(u) * u)
    return float("nan"), 0 if abs(farther) <= tolerance else int(np.sign(farther))
