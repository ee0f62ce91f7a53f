r"""Regimes of the Lambert target, and every local minimizer of the negative one.

With z = A/beta and Z = E_q[exp(z)], the condition :math:`u + \kappa e^u = z`, E_q[e^u] = 1 has kappa > 0 if Z > 1
(positive), kappa = 0 if Z = 1 (boundary) and kappa < 0 if Z < 1 (negative). In the negative regime e^u has two
branches, W_0 and W_-1. The Hessian of the loss in w is diagonal, :math:`q_a \beta^2 (1 + \kappa w_a) / w_a^2`,
negative only on W_-1; on the simplex a minimizer can afford at most one negative entry, and then needs :math:`\sum_a
q_a w_a^2 / (1 + \kappa w_a) < 0`. So minimizers are W_0 everywhere, or one action on W_-1 where the total mass grows
with kappa.

Everything is written in the gap :math:`\zeta = -1 - \max z - \log(-\kappa) \ge 0` from the last kappa at which W_0
exists. Derivation: arXiv 2605.28150; docs/theory.md.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import elementwise

from pessimism.special import branch_gap

Array = Any

_GRID = 257
_DEEPEST = 740.0  # exp(-740) is the smallest |kappa| of interest: below it the boundary is reached in float64


class Minimum(NamedTuple):
    """A local minimizer of a squared loss in the negative regime, over the actions of one row."""

    log_ratio: Array  # log(pi / q), (K,)
    kappa: float
    branch: int | None  # the action on W_-1, None where all are on W_0
    loss: float  # E_q[(u - z)^2] = E_q[(kappa w)^2], in units of beta^2


def log_partition(xp: Any, q: Array, log_q: Array, z: Array) -> Array:
    """log E_q[exp(z)] of each row, shape ``(N,)``, with full relative accuracy around zero."""
    terms = log_q + z
    top = xp.max(terms, axis=-1)
    log_z = top + xp.log(xp.sum(xp.exp(terms - top[:, None]), axis=-1)) - xp.log(xp.sum(q, axis=-1))
    near = xp.abs(log_z) < 0.5
    excess = xp.vecdot(q, xp.expm1(xp.where(near[:, None] & (q > 0), z, xp.zeros_like(z)))) / xp.sum(q, axis=-1)
    return xp.where(near, xp.log1p(excess), log_z)


def principal_minima(q: Any, z: Any) -> tuple[Any, Any, Any]:
    """The minimizer with every action on W_0, where it exists, for rows in the negative regime (numpy).

    Returns
    -------
    (u, kappa, exists) of shapes ``(N, K)``, ``(N,)``, ``(N,)``; ``nan`` where it does not exist.
    """
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
    found.extend(m for action in np.flatnonzero(q > 0) for m in _collapsed_minima(q, z, int(action)))
    return sorted(found, key=lambda m: m.loss)


def _minimum(q: Any, u: Any, kappa: float, branch: int | None) -> Minimum:
    # kappa w = sqrt(q) kappa e^u / sqrt(q): through logs, e^u alone may overflow where q is tiny.
    with np.errstate(divide="ignore"):
        mass = np.exp(np.where(q > 0, np.log(q), -np.inf) + 2.0 * (u + np.log(-kappa)))
    return Minimum(u, kappa, branch, float(mass.sum()))


def _gap(q: Any, z: Any, zeta: Any) -> Any:
    """delta of every action, -1 - log(-kappa) - z = zeta + max z - z, shape ``(..., K)``."""
    top = np.max(np.where(q > 0, z, -np.inf), axis=-1, keepdims=True)
    return np.where(q > 0, zeta[..., None] + top - z, 1.0)


def _kappa(q: Any, z: Any, zeta: Any) -> Any:
    return -np.exp(-1.0 - np.max(np.where(q > 0, z, -np.inf), axis=-1) - zeta)


def _log_ratio(z: Any, delta: Any, branch: int) -> Any:
    """u = z - kappa w = z + t with t = 1 + p on the given branch."""
    return z + 1.0 + branch_gap(delta, branch)


def _mass(q: Any, z: Any, zeta: Any) -> Any:
    """Total mass with every action on W_0."""
    with np.errstate(divide="ignore"):
        log_q = np.log(q)
    return np.exp(log_q + _log_ratio(z, _gap(q, z, zeta), 0)).sum(axis=-1)


def _collapsed_minima(q: Any, z: Any, action: int) -> list[Minimum]:
    """Minimizers with ``action`` alone on W_-1: the points where its total mass rises through one with kappa."""
    seen = q > 0
    top = float(np.max(z[seen]))
    # The action alone holds at most the whole mass: t = u - z <= -log q - z on W_-1 bounds zeta from above.
    t = -float(np.log(q[action])) - float(z[action])
    if t <= 1.0:
        return []
    highest = (t - 1.0 - np.log(t)) - (top - z[action])
    if highest < 0.0:
        return []
    log_q = np.log(q[seen])
    lone = np.arange(len(q))[seen] == action

    def branches(zeta: Any) -> tuple[Any, Any]:
        """p = t - 1 of each seen action, and its mass; both ``(n, K)``."""
        delta = zeta[:, None] + (top - z[seen])
        p = branch_gap(delta, 0)
        p[:, lone] = branch_gap(delta[:, lone], -1)
        return p, np.exp(log_q + z[seen] + 1.0 + p)

    def excess(zeta: Any) -> Any:
        return branches(zeta)[1].sum(axis=-1) - 1.0

    def slope(zeta: Any) -> Any:
        # d mass / d zeta = sum mass * (1 + p) / p, from p - log(1 + p) = delta.
        p, mass = branches(zeta)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sum(mass * (1.0 + p) / p, axis=-1)

    # Square spacing follows the square-root behavior at the branch point, where the slope itself is infinite.
    nodes = highest * np.append(1e-12, np.linspace(0.0, 1.0, _GRID)[1:] ** 2)
    rate = slope(nodes)
    (dips,) = np.nonzero((rate[:-1] < 0) & (rate[1:] > 0))
    if dips.size:  # the lowest points between nodes, so that no pair of crossings is stepped over
        nodes = np.sort(np.append(nodes, elementwise.find_root(slope, (nodes[dips], nodes[dips + 1])).x))
    nodes = np.append(0.0, nodes)
    level = excess(nodes)
    (ups,) = np.nonzero((level[:-1] < 0) & (level[1:] >= 0))
    if not ups.size:
        return []
    roots = elementwise.find_root(excess, (nodes[ups], nodes[ups + 1])).x
    found = []
    for zeta in roots:
        u = _log_ratio(z, _gap(q, z, np.asarray(zeta)), 0)
        u[action] = z[action] + 1.0 + branch_gap(np.asarray(zeta + top - z[action]), -1)
        found.append(_minimum(q, u, float(-np.exp(-1.0 - top - zeta)), action))
    return found
