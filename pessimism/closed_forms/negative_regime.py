r"""Regimes of the Lambert target, and every local minimizer of the negative one.

With z = A/beta and Z = E_q[exp(z)], the condition :math:`u + \kappa e^u = z`, E_q[e^u] = 1 has kappa > 0 if Z > 1
(positive), kappa = 0 if Z = 1 (boundary) and kappa < 0 if Z < 1 (negative). In the negative regime e^u has two
branches, :math:`W_0` and :math:`W_{-1}`. The Hessian of the loss in w is diagonal,
:math:`q_a \beta^2 (1 + \kappa w_a) / w_a^2`, negative only on :math:`W_{-1}`; on the simplex a minimizer can afford at
most one negative entry, and then needs :math:`\sum_a q_a w_a^2 / (1 + \kappa w_a) < 0`. So minimizers are
:math:`W_0` everywhere, or one action on :math:`W_{-1}` where the total mass grows with kappa.

Everything is written in the gap :math:`\zeta = -1 - \max z - \log(-\kappa) \ge 0` from the last kappa at which
:math:`W_0` exists. Derivation: arXiv 2605.28150; docs/theory.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pessimism.arrays import Array
from pessimism.special import branch_gap

_GRID = 1025
_DEEPEST = 740.0  # exp(-740) is the smallest |kappa| of interest: below it the boundary is reached in float64


class Minimum(NamedTuple):
    """Local minimizer of a squared loss in the negative regime, over the actions of one row."""

    log_ratio: Array  # log(pi / q), (K,)
    kappa: float
    branch: int | None  # the action on W_-1, None where all are on W_0
    loss: float  # E_q[(u - z)^2] = E_q[(kappa w)^2], in units of beta^2


def log_partition(xp: Any, q: Array, log_q: Array, z: Array) -> Array:
    """Logarithm of E_q[exp(z)] of each row, shape ``(N,)``, with full relative accuracy around zero."""
    terms = log_q + z
    top = xp.max(terms, axis=-1)
    log_z = top + xp.log(xp.sum(xp.exp(terms - top[:, None]), axis=-1)) - xp.log(xp.sum(q, axis=-1))
    near = xp.abs(log_z) < 0.5
    excess = xp.vecdot(q, xp.expm1(xp.where(near[:, None] & (q > 0), z, xp.zeros_like(z)))) / xp.sum(q, axis=-1)
    return xp.where(near, xp.log1p(excess), log_z)


def principal_minima(q: Any, z: Any) -> tuple[Any, Any, Any]:
    """Minimizer with every action on :math:`W_0`, where it exists, of rows in the negative regime (numpy).

    Parameters
    ----------
    q : ndarray, shape (N, K)
        Probabilities.
    z : ndarray, shape (N, K)
        Advantages over the temperature.

    Returns
    -------
    u : ndarray, shape (N, K)
        Log-ratios; ``nan`` where the minimizer does not exist.
    kappa : ndarray, shape (N,)
        Strength of the implicit penalty; ``nan`` where the minimizer does not exist.
    exists : ndarray, shape (N,)
        Whether it exists.
    """
    from scipy.optimize import elementwise

    u, kappa = np.full_like(z, np.nan), np.full(len(z), np.nan)
    exists = _mass(q, z, np.zeros(len(z))) >= 1.0
    (rows,) = np.nonzero(exists)
    if rows.size:

        def excess(zeta: Any, row: Any) -> Any:
            index = rows[row.astype(int)]
            return np.log(_mass(q[index], z[index], zeta))

        ends = (np.zeros(rows.size), np.full(rows.size, _DEEPEST))
        zeta = elementwise.find_root(excess, ends, args=(np.arange(rows.size, dtype=float),)).x
        u[rows] = _log_ratio(z[rows], _gap(q[rows], z[rows], zeta), 0)
        kappa[rows] = _kappa(q[rows], z[rows], zeta)
    return u, kappa, exists


def negative_minima(q: Any, z: Any) -> list[Minimum]:
    """Every local minimizer of one row ``(K,)`` in the negative regime, lowest loss first (numpy)."""
    found: list[Minimum] = []
    u, kappa, exists = principal_minima(q[None], z[None])
    if exists[0]:
        found.append(_minimum(q, u[0], float(kappa[0]), None))
    (seen,) = np.nonzero(q > 0)
    top = float(np.max(z[seen]))
    for zeta, lone in _collapsed(q[seen], z[seen]):
        u_row = _log_ratio(z, _gap(q, z, np.asarray(zeta)), 0)
        action = int(seen[lone])
        u_row[action] = z[action] + 1.0 + branch_gap(np.asarray(zeta + top - z[action]), -1)
        found.append(_minimum(q, u_row, float(-np.exp(-1.0 - top - zeta)), action))
    return sorted(found, key=lambda m: m.loss)


def _minimum(q: Any, u: Any, kappa: float, branch: int | None) -> Minimum:
    # kappa w = sqrt(q) kappa e^u / sqrt(q): through logs, e^u alone may overflow where q is tiny.
    with np.errstate(divide="ignore"):
        mass = np.exp(np.where(q > 0, np.log(q), -np.inf) + 2.0 * (u + np.log(-kappa)))
    return Minimum(u, kappa, branch, float(mass.sum()))


def _gap(q: Any, z: Any, zeta: Any) -> Any:
    """Gap delta of every action, -1 - log(-kappa) - z = zeta + max z - z, shape ``(..., K)``."""
    top = np.max(np.where(q > 0, z, -np.inf), axis=-1, keepdims=True)
    return np.where(q > 0, zeta[..., None] + top - z, 1.0)


def _kappa(q: Any, z: Any, zeta: Any) -> Any:
    return -np.exp(-1.0 - np.max(np.where(q > 0, z, -np.inf), axis=-1) - zeta)


def _log_ratio(z: Any, delta: Any, branch: int) -> Any:
    """Log-ratio u = z - kappa w = z + t with t = 1 + p on the given branch."""
    return z + 1.0 + branch_gap(delta, branch)


def _mass(q: Any, z: Any, zeta: Any) -> Any:
    """Total mass with every action on W_0."""
    with np.errstate(divide="ignore"):
        log_q = np.log(q)
    return np.exp(log_q + _log_ratio(z, _gap(q, z, zeta), 0)).sum(axis=-1)


def _collapsed(q: Any, z: Any) -> list[tuple[float, int]]:
    """Minimizers with one action alone on :math:`W_{-1}`, as (zeta, action): where the total mass rises through one."""
    log_q, below = np.log(q), np.max(z) - z
    # The action alone holds at most the whole mass: t = u - z <= -log q - z on W_-1 bounds zeta from above.
    t = -log_q - z
    highest = np.where(t > 1.0, t - 1.0 - np.log(np.maximum(t, 1.0)) - below, 0.0)
    if not np.any(highest > 0.0):
        return []

    def branch_mass(delta: Any, branch: int, exponent: Any) -> tuple[Any, Any]:
        """Mass of actions on a branch, and its slope in zeta: mass (1 + p)/p, from p - log(1 + p) = delta."""
        p = branch_gap(delta, branch)
        mass = np.exp(np.minimum(exponent + 1.0 + p, 700.0))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return mass, mass * (1.0 + p) / p

    def total(zeta: Any, lone: Any) -> tuple[Any, Any]:
        """Total mass and slope, each ``(n,)``, with action ``lone`` on :math:`W_{-1}` and the others on :math:`W_0`."""
        own = branch_mass(zeta + below[lone], -1, (log_q + z)[lone])
        others = branch_mass(zeta[:, None] + below, 0, log_q + z)
        rest = np.arange(len(q)) != lone[:, None]
        return tuple(np.sum(o, axis=-1, where=rest) + mine for o, mine in zip(others, own, strict=True))

    # Square spacing follows the square-root behavior at the branch point, where the slope itself is infinite.
    nodes = np.max(highest) * np.append([0.0, 1e-12], np.linspace(0.0, 1.0, _GRID)[1:] ** 2)
    # At the last node an action has the whole mass, to rounding: beyond it rises faster than zeta.
    rounding = 8.0 * np.finfo(float).eps * (1.0 + float(np.max(np.abs(log_q) + np.abs(z))))
    nodes = np.append(nodes, nodes[-1] + rounding)
    on_zero, on_lower = (branch_mass(nodes[:, None] + below, branch, log_q + z) for branch in (0, -1))
    with np.errstate(invalid="ignore"):
        level, slope = (a.sum(axis=-1, keepdims=True) - a + b for a, b in zip(on_zero, on_lower, strict=True))
    index, lone = np.nonzero((level[:-1] < 1.0) & (level[1:] >= 1.0))
    low, high = nodes[index], nodes[index + 1]
    # A dip between two nodes above one may still reach below it: look at its lowest point.
    above = (level[1:-1] >= 1.0) & (level[2:] >= 1.0)
    dip, dipping = np.nonzero(above & (slope[1:-1] < 0.0) & (slope[2:] > 0.0))
    if dip.size:
        lowest = _roots(lambda x, a: total(x, a)[1], nodes[dip + 1], nodes[dip + 2], dipping)
        deep = total(lowest, dipping)[0] < 1.0
        low, high = np.append(low, lowest[deep]), np.append(high, nodes[dip + 2][deep])
        lone = np.append(lone, dipping[deep])
    found = _roots(lambda x, a: total(x, a)[0] - 1.0, low, high, lone) if lone.size else low
    return list(zip(found.tolist(), lone.tolist(), strict=True))


def _roots(f: Callable[[Any, Any], Any], low: Any, high: Any, label: Any) -> Any:
    """Bracketed roots of f(x, label), one for each label."""
    from scipy.optimize import elementwise

    def labeled(x: Any, tag: Any) -> Any:
        return f(x, tag.astype(int))

    find: Any = elementwise.find_root
    return find(labeled, (low, high), args=(label.astype(float),)).x
