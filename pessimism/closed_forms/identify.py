r"""Which family a solution belongs to: its Lambert curvature kappa, if it has one, and its regime."""

from __future__ import annotations

from typing import Any

import numpy as np

from pessimism.core.objective import ObjectiveLike, temperature_of

Array = Any


def identify(
    objective: ObjectiveLike, q: Array, nu: Array, advantage: Array, log_ratio: Array, multiplier: Array
) -> tuple[Array, Array]:
    r"""Kappa ``(N,)`` and regime ``(N,)`` of log-ratios ``(N, K)`` to nu that some route found (numpy).

    kappa by the identity :math:`\kappa = E_q[A/\beta - u] / E_q[\pi/q]` where every action then satisfies
    :math:`u + \kappa \pi/q = A/\beta`, else nan (arXiv 2605.28150). The regime is the sign of kappa; off the Lambert
    family that of KL(nominal || nu) - KL(pi || nu), positive where the target is more conservative than nominal at the
    same temperature; without a temperature that of the ``multiplier`` ``(N,)``.
    """
    count = len(q)
    kappa, regime = np.full(count, np.nan), np.zeros(count, dtype=np.int8)
    beta = temperature_of(objective)
    for row in range(count):
        seen = q[row] > 0
        u = log_ratio[row, seen]
        if beta is None or not np.all(np.isfinite(u)):
            regime[row] = 0 if np.isnan(multiplier[row]) else int(np.sign(multiplier[row]))
            continue
        kappa[row], regime[row] = _of_row(q[row, seen], nu[row, seen], advantage[row, seen] / beta, u)
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
