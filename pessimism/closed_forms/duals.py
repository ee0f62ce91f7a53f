r"""The two families with one scalar unknown in each row: what the solver needs to know of each.

With z = A/beta and ratio w = exp(u), both ask for E_q[w] = 1 on each row:

* ``KappaDual``: :math:`u + \kappa \max(w, c) = z` for the unknown :math:`\kappa > 0` (c = 0: Lambert; c > 0: importance
  weights truncated at c);
* ``ShiftDual``: :math:`u + \gamma w = z - s` for the unknown shift s (mixed chi-square-KL).

Derivation: arXiv 2605.28150; docs/theory.md.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from array_api_compat import array_namespace

from pessimism.arrays import Array
from pessimism.special import log_wright_omega

TOLERANCE = 1e-8  # of a quadratically convergent step: the error left is its square
_PAST_EDGE = 1e-6  # just beyond w = c, where the steeper side of a truncated weight begins, in any precision


class Dual(Protocol):
    """Family of problems with one scalar unknown, the dual, in each row.

    Arrays hold the actions on one axis, ``(N, K)`` or ``(K, N)``, and what is one number a row keeps that axis.
    """

    smooth: bool  # whether the condition has no kink in u

    def start(self, xp: Any, q: Array, z: Array, axis: int = -1) -> Array:
        """Lower bound of the dual."""

    def guess(self, xp: Any, z: Array, dual: Array) -> Array:
        """Log-ratios near the solution for that dual; a new array ``(N, K)``."""

    def pull(self, xp: Any, w: Array, dual: Array) -> tuple[Array, Array, Array]:
        """Term that the condition adds to u - z, its slope in u, and its slope in the dual; new arrays but the last."""

    def step(self, xp: Any, dual: Array, excess: Array, slope: Array) -> Array:
        """Next value of the dual, from E[w] - 1 and its slope."""

    def limit(self, xp: Any, u: Array, weighted: Array, q: Array) -> None:
        """Keep u, in place, where the linearization holds; ``weighted`` is q w before the step."""

    def strength(self, xp: Any, dual: Array) -> Array:
        """Factor in front of w in the condition, ``(N,)``."""

    def offset(self, xp: Any, dual: Array) -> Array:
        """Size ``(N,)`` of the term that the condition takes off every z, whose rounding is left in u."""

    def small(self, xp: Any, change: Array, dual: Array) -> Array:
        """Whether a change of the dual is within the tolerance of a finished row."""

    def bracketed(self, q: Array, z: Array) -> Array:
        """Dual of each row by a bracketed root finder (numpy)."""


def _rough_log_ratio(xp: Any, z: Array, kappa: Array) -> Array:
    """Solution u of u + kappa exp(u) = z to within 0.02 (0.6 for small kappa), by rational functions for omega."""
    log_kappa = xp.log(xp.maximum(kappa, float(xp.finfo(z.dtype).smallest_normal)))
    s = z + log_kappa
    high = xp.maximum(s, 0.0)
    s -= high  # min(s, 0)
    # omega(s) / omega(0) for s > 0
    growth = high * 0.13704054
    growth += 1.0
    growth = -1.1252802 / growth
    growth += 1.7632229
    growth *= high
    growth += 1.0
    # omega(s) for s < 0
    tail = s * 0.78477998
    tail -= 0.37367899
    tail *= s
    tail += 1.0
    s += xp.log(growth)
    # Where kappa is small it is the balance of small u, in which nothing may be off by more than about kappa.
    s -= 0.56714329 * kappa / (kappa + 0.002) / tail
    s -= log_kappa
    return s


def dot(xp: Any, a: Array, b: Array, axis: int) -> Array:
    """Sum of products over the actions on an axis, which is kept: -1, or 0 in numpy."""
    return total(a * b) if axis == 0 else xp.vecdot(a, b)[:, None]


def total(a: Array) -> Array:
    """Sum over the first axis (numpy), which is kept; in order also for a lone column, as it would be among others."""
    return np.add.reduce(a, axis=0, keepdims=True) if a.shape[1] > 1 else np.add.accumulate(a, axis=0)[-1:, :]


def kappa_lower_bound(xp: Any, q: Array, z: Array, axis: int = -1) -> Array:
    """Lower bound of kappa: the larger of E_q[z] and :math:`E_q[z_+] - 1/e`; positive only in the positive regime.

    Averaging u + kappa w = z over a set S of actions with sum_S q w <= 1 gives kappa >= E_q[z; S] + Q_S log Q_S, here
    for all actions and for those with z > 0. The axis of the actions is kept.
    """
    return xp.maximum(dot(xp, q, z, axis), dot(xp, q, xp.maximum(z, 0.0), axis) - 0.36787944117144233)


class KappaDual:
    """Condition u + kappa max(w, floor) = z, with the unknown kappa."""

    def __init__(self, floor: float = 0.0) -> None:
        self.floor = floor
        self.smooth = not floor

    def start(self, xp: Any, q: Array, z: Array, axis: int = -1) -> Array:
        """Lower bound of kappa; E[max(w, c)] <= 1 + c turns the bound for c = 0 into one for c."""
        return xp.maximum(kappa_lower_bound(xp, q, z, axis), 0.0) / (1.0 + self.floor)

    def guess(self, xp: Any, z: Array, dual: Array) -> Array:
        """Log-ratios by a rough omega, or by the exponential part where max(w, c) = c."""
        u = _rough_log_ratio(xp, z, dual)
        if not self.floor:
            return u
        held = z - dual * self.floor
        edge = float(np.log(self.floor))
        return xp.where(held < edge, held, xp.maximum(u, edge + _PAST_EDGE))

    def pull(self, xp: Any, w: Array, dual: Array) -> tuple[Array, Array, Array]:
        """Term kappa max(w, c), and its slopes."""
        if not self.floor:
            added = w * dual
            return added, added, w
        held = xp.maximum(w, self.floor)
        return held * dual, xp.where(w >= self.floor, w, xp.zeros_like(w)) * dual, held

    def step(self, xp: Any, dual: Array, excess: Array, slope: Array) -> Array:
        """Next kappa, by Newton on 1 / E[w], which is concave and nearly linear in kappa."""
        stepped = dual + (1.0 + excess) * excess / slope
        return xp.where(stepped > 0, stepped, 0.1 * dual)

    def limit(self, xp: Any, u: Array, weighted: Array, q: Array) -> None:
        """Stop a step across w = c from below, where the term is flat, at the edge."""
        if self.floor:
            edge = float(np.log(self.floor)) + _PAST_EDGE
            u[...] = xp.where((weighted < q * self.floor) & (u > edge), xp.full_like(u, edge), u)

    def strength(self, xp: Any, dual: Array) -> Array:
        """The factor kappa."""
        return dual

    def offset(self, xp: Any, dual: Array) -> Array:
        """The size kappa c."""
        return dual * self.floor

    def small(self, xp: Any, change: Array, dual: Array) -> Array:
        """Whether the relative change is within the tolerance, since kappa may be tiny."""
        return xp.abs(change) <= TOLERANCE * dual

    def bracketed(self, q: Any, z: Any) -> Any:
        """Root of log E[w] in log kappa between the bounds; kappa <= max z / max(1, c), as the largest w is >= 1."""
        from scipy.optimize import elementwise

        floor = self.floor

        def excess(log_kappa: Any, row: Any) -> Any:
            index, log_kappa = row.astype(int), log_kappa[:, None]
            u = _exact_log_ratio(z[index], log_kappa)
            if floor:
                held = z[index] - np.exp(log_kappa) * floor
                u = np.where(held < np.log(floor), held, u)
            return _log_mass(q[index], u)

        # At kappa -> 0 the mass is Z > 1; 1e-305 stands for zero where no better lower bound is known.
        low = np.log(np.maximum(self.start(array_namespace(q), q, z)[:, 0], 1e-305)) - 1e-9
        top = np.log(np.max(np.where(q > 0, z, -np.inf), axis=-1) / max(1.0, floor)) + 1e-9
        return np.exp(elementwise.find_root(excess, (low, top), args=(np.arange(len(z), dtype=float),)).x)


class ShiftDual:
    """Condition u + gamma w = z - shift, with the unknown shift."""

    smooth = True

    def __init__(self, gamma: float) -> None:
        self.gamma = gamma

    def start(self, xp: Any, q: Array, z: Array, axis: int = -1) -> Array:
        """Lower bound of the shift, by Jensen over all actions and by q w <= 1 of each one."""
        seen = q > 0
        safe = xp.where(seen, q, xp.ones_like(q))
        single = xp.where(seen, z + xp.log(safe) - self.gamma / safe, xp.full_like(z, -xp.inf))
        return xp.maximum(dot(xp, q, z, axis) - self.gamma, xp.max(single, axis=axis, keepdims=True))

    def guess(self, xp: Any, z: Array, dual: Array) -> Array:
        """Log-ratios by a rough omega."""
        return _rough_log_ratio(xp, z - dual, xp.full_like(z[:1, :1], self.gamma))

    def pull(self, xp: Any, w: Array, dual: Array) -> tuple[Array, Array, Array]:
        """Term gamma w + shift, and its slopes."""
        slope = self.gamma * w
        return slope + dual, slope, xp.ones_like(w)

    def step(self, xp: Any, dual: Array, excess: Array, slope: Array) -> Array:
        """Next shift, by Newton on log E[w], which is linear in the shift for small gamma."""
        ratio = xp.maximum(1.0 + excess, 1e-3)
        # log1p of the excess itself keeps the last steps exact.
        return dual + ratio * xp.log1p(xp.maximum(excess, 1e-3 - 1.0)) / slope

    def limit(self, xp: Any, u: Array, weighted: Array, q: Array) -> None:
        """Leave u as it is: the condition is smooth."""

    def strength(self, xp: Any, dual: Array) -> Array:
        """The factor gamma."""
        return xp.full_like(dual, self.gamma)

    def offset(self, xp: Any, dual: Array) -> Array:
        """The size of the shift."""
        return xp.abs(dual)

    def small(self, xp: Any, change: Array, dual: Array) -> Array:
        """Whether the change is within the rounding of a large shift."""
        return xp.abs(change) <= TOLERANCE + 16.0 * xp.finfo(dual.dtype).eps * xp.abs(dual)

    def bracketed(self, q: Any, z: Any) -> Any:
        """Root of log E[w] in the shift, between E[z] - gamma and max z - gamma."""
        from scipy.optimize import elementwise

        log_gamma = np.log(self.gamma)

        def excess(shift: Any, row: Any) -> Any:
            index = row.astype(int)
            return _log_mass(q[index], _exact_log_ratio(z[index] - shift[:, None], log_gamma))

        top = np.max(np.where(q > 0, z, -np.inf), axis=-1) - self.gamma
        low = np.vecdot(q, z) - self.gamma
        slack = 1e-9 * (1.0 + np.abs(top) + np.abs(low))
        return elementwise.find_root(excess, (low - slack, top + slack), args=(np.arange(len(z), dtype=float),)).x


def _exact_log_ratio(z: Any, log_kappa: Any) -> Any:
    """Solution u of u + kappa exp(u) = z by Wright's omega; z - kappa w keeps the digits of small u (numpy)."""
    log_pull = log_wright_omega(z + log_kappa)
    return np.where(log_pull < 0.0, z - np.exp(np.minimum(log_pull, 0.0)), log_pull - log_kappa)


def _log_mass(q: Any, u: Any) -> Any:
    """Logarithm of sum q exp(u) on the last axis, exact around zero; u is cut where exp overflows (numpy)."""
    return np.log1p(np.maximum(np.sum(q * np.expm1(np.minimum(u, 709.0)), axis=-1), -1.0 + 1e-16))
