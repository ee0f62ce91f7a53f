r"""The scalar-dual solver: from an advantage to the Lambert-tempered ratio, for a batch of rows.

Two families share it. With z = A/beta and ratio w = exp(u), both ask for E_q[w] = 1 on each row:

* ``solve_kappa``: :math:`u + \kappa \max(w, c) = z` for the unknown :math:`\kappa > 0` (c = 0: Lambert; c > 0: importance
  weights truncated at c);
* ``solve_shift``: :math:`u + \gamma w = z - s` for the unknown shift s (mixed chi-square-KL).

A joint Newton iteration on (u, dual) takes one exponential a step and four to six steps; it runs on chunks of rows that
stay in the processor's cache. Rows it leaves are finished by a bracketed root finder around Wright's omega, which
cannot fail, and polished by the same iteration. Derivation: arXiv 2605.28150; docs/theory.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import device
from scipy.optimize import elementwise

from pessimism.bandit import to_numpy
from pessimism.special import log_wright_omega

Array = Any

_CHUNK = 1 << 14  # elements a chunk: eight working arrays fit a 1 MiB cache
_TOLERANCE = 1e-8  # of a quadratically convergent step: the error left is its square
_FIRST, _FULL = 8, 40


def solve_kappa(xp: Any, q: Array, log_q: Array, z: Array, floor: float = 0.0) -> tuple[Array, Array, Array]:
    """Rows of ``u + kappa max(exp(u), floor) = z`` with ``sum q exp(u) = sum q`` and kappa > 0.

    Only for rows in the positive regime, E_q[exp(z)] > 1. Shapes: q, log_q, z ``(N, K)``; zero-probability actions may
    carry any finite z.

    Returns
    -------
    (u, kappa, converged) of shapes ``(N, K)``, ``(N,)``, ``(N,)``.
    """
    return _solve(xp, q, log_q, z, _KappaDual(floor))


def solve_shift(xp: Any, q: Array, log_q: Array, z: Array, gamma: float) -> tuple[Array, Array, Array]:
    """Rows of ``u + gamma exp(u) = z - shift`` with ``sum q exp(u) = sum q``: (u, shift, converged)."""
    return _solve(xp, q, log_q, z, _ShiftDual(gamma))


def kappa_bounds(xp: Any, q: Array, log_q: Array, z: Array, floor: float = 0.0) -> tuple[Array, Array]:
    r"""Lower and upper bound of kappa: :math:`\max(0, \cdot) \le \kappa \le \max z / \max(1, c)`.

    Averaging the stationarity condition over any set S of actions, and :math:`\sum_S q w \le 1`, give
    :math:`\kappa \ge \sum_S q z + Q_S \log Q_S`; S runs over all actions, those with z > 0, and single ones.
    """
    above = xp.where(z > 0, q, xp.zeros_like(q))
    mass = xp.sum(above, axis=-1)
    of_above = xp.vecdot(above, z) + mass * xp.log(xp.where(mass > 0, mass, xp.ones_like(mass)))
    # q log q -> 0 with q; its limit where q = 0.
    single = xp.max(q * xp.where(q > 0, z + log_q, xp.zeros_like(z)), axis=-1)
    lower = xp.maximum(xp.maximum(xp.vecdot(q, z), of_above), single)
    top = xp.max(xp.where(q > 0, z, xp.asarray(-xp.inf, dtype=z.dtype)), axis=-1)
    return xp.maximum(lower, xp.zeros_like(lower)) / (1.0 + floor), top / max(1.0, floor)


class _KappaDual:
    """u + kappa max(w, floor) = z."""

    def __init__(self, floor: float) -> None:
        self.floor = floor

    def start(self, xp: Any, q: Array, log_q: Array, z: Array) -> tuple[Array, Array]:
        kappa = kappa_bounds(xp, q, log_q, z, self.floor)[0]
        return self.ratio_guess(xp, z, kappa), kappa

    def ratio_guess(self, xp: Any, z: Array, kappa: Array) -> Array:
        tiny = kappa < 1e-30
        log_kappa = xp.where(tiny, xp.full_like(kappa, -70.0), xp.log(xp.where(tiny, xp.ones_like(kappa), kappa)))
        u = _rough_log_ratio(xp, z, log_kappa[:, None])
        if self.floor:
            u = xp.minimum(u, z - (kappa * self.floor)[:, None])
        return u

    def linearise(self, xp: Any, w: Array, dual: Array) -> tuple[Array, Array, Array]:
        """What is added to u in the condition, its slope in u, and its slope in the dual."""
        if not self.floor:
            pull = w * dual[:, None]
            return pull, pull, w
        held = xp.clip(w, self.floor, None)
        return held * dual[:, None], xp.where(w > self.floor, w, xp.zeros_like(w)) * dual[:, None], held

    def step(self, xp: Any, dual: Array, excess: Array, slope: Array, mass: Array) -> Array:
        # Newton on 1 / E[w], which is concave and nearly linear in kappa.
        stepped = dual + (1.0 + excess / mass) * excess / slope
        return xp.where(stepped > 0, stepped, 0.1 * dual)

    def small(self, xp: Any, change: Array, dual: Array) -> Array:
        return xp.abs(change) <= _TOLERANCE * dual

    def bracketed(self, q: Any, log_q: Any, z: Any) -> Any:
        """The dual of each row by a bracketed root finder (numpy)."""
        lower, upper = kappa_bounds(np, q, log_q, z, self.floor)
        floor = self.floor

        def excess(log_kappa: Any, row: Any) -> Any:
            zr, kappa = z[row.astype(int)], np.exp(log_kappa)[:, None]
            u = log_wright_omega(zr + log_kappa[:, None]) - log_kappa[:, None]
            if floor:
                u = np.where(zr - kappa * floor < np.log(floor), zr - kappa * floor, u)
            return _log_mass(log_q[row.astype(int)], u)

        # At kappa -> 0 the mass is Z > 1; 1e-290 stands for zero where no better lower bound is known.
        low = np.log(np.maximum(lower, 1e-290)) - 1e-9
        found = elementwise.find_root(excess, (low, np.log(upper) + 1e-9), args=(np.arange(len(z), dtype=float),))
        return np.exp(found.x)


class _ShiftDual:
    """u + gamma w = z - shift."""

    def __init__(self, gamma: float) -> None:
        self.gamma = gamma

    def start(self, xp: Any, q: Array, log_q: Array, z: Array) -> tuple[Array, Array]:
        # Jensen over all actions, and q w <= 1 of each one, bound the shift from below.
        seen = q > 0
        inverse = self.gamma / xp.where(seen, q, xp.ones_like(q))
        single = xp.where(seen, z + log_q - inverse, xp.asarray(-xp.inf, dtype=z.dtype))
        shift = xp.maximum(xp.vecdot(q, z) - self.gamma, xp.max(single, axis=-1))
        return self.ratio_guess(xp, z, shift), shift

    def ratio_guess(self, xp: Any, z: Array, shift: Array) -> Array:
        return _rough_log_ratio(xp, z - shift[:, None], np.log(self.gamma))

    def linearise(self, xp: Any, w: Array, dual: Array) -> tuple[Array, Array, Array]:
        pull = self.gamma * w
        return pull + dual[:, None], pull, xp.ones_like(w)

    def step(self, xp: Any, dual: Array, excess: Array, slope: Array, mass: Array) -> Array:
        # Newton on log E[w], which is linear in the shift for small gamma.
        ratio = xp.clip(1.0 + excess / mass, 1e-3, None)
        return dual + ratio * xp.log(ratio) * mass / slope

    def small(self, xp: Any, change: Array, dual: Array) -> Array:
        return xp.abs(change) <= _TOLERANCE

    def bracketed(self, q: Any, log_q: Any, z: Any) -> Any:
        log_gamma = np.log(self.gamma)

        def excess(shift: Any, row: Any) -> Any:
            zr = z[row.astype(int)] - shift[:, None]
            return _log_mass(log_q[row.astype(int)], log_wright_omega(zr + log_gamma) - log_gamma)

        top = np.max(np.where(q > 0, z, -np.inf), axis=-1) - self.gamma
        low = np.vecdot(q, z) - self.gamma
        slack = 1e-9 * (1.0 + np.abs(top) + np.abs(low))
        found = elementwise.find_root(excess, (low - slack, top + slack), args=(np.arange(len(z), dtype=float),))
        return found.x


def _log_mass(log_q: Any, u: Any) -> Any:
    """log sum q exp(u) along the last axis (numpy)."""
    return np.logaddexp.reduce(log_q + u, axis=-1)


def _rough_log_ratio(xp: Any, z: Array, log_kappa: Array | float) -> Array:
    """u with u + kappa exp(u) = z to within about one, from the two asymptotes of Wright's omega."""
    s = z + log_kappa
    return xp.where(s > 0, xp.log1p(xp.abs(s)) - 0.567 - log_kappa, z - xp.exp(xp.minimum(s, xp.zeros_like(s))))


def _solve(xp: Any, q: Array, log_q: Array, z: Array, dual: Any) -> tuple[Array, Array, Array]:
    u, value = xp.empty_like(z), xp.empty_like(z[:, 0])
    done = xp.zeros(z.shape[0], dtype=xp.bool, device=device(z))
    rows = max(1, _CHUNK // z.shape[1]) if str(device(z)) == "cpu" else z.shape[0]
    for first in range(0, z.shape[0], rows):
        part = slice(first, first + rows)
        guess = dual.start(xp, q[part, :], log_q[part, :], z[part, :])
        u[part, :], value[part], done[part] = _newton(xp, q[part, :], z[part, :], *guess, dual, _FIRST)
    if bool(xp.all(done)):
        return u, value, done
    left = xp.nonzero(~done)[0]
    q, z = xp.take(q, left, axis=0), xp.take(z, left, axis=0)
    exact = dual.bracketed(to_numpy(q), to_numpy(xp.take(log_q, left, axis=0)), to_numpy(z))
    exact = xp.asarray(exact, dtype=z.dtype, device=device(z))
    u[left, :], value[left], done[left] = _newton(xp, q, z, dual.ratio_guess(xp, z, exact), exact, dual, _FULL)
    return u, value, done


def _newton(
    xp: Any, q: Array, z: Array, u: Array, value: Array, dual: Any, steps: int
) -> tuple[Array, Array, Array]:
    """Joint Newton iteration on (u, dual): eliminate u row by row, step in the dual, correct both."""
    mass = xp.sum(q, axis=-1)
    # What rounding of z leaves in a step must not keep a finished row from being accepted.
    tolerance = _TOLERANCE**2 + 64.0 * xp.finfo(z.dtype).eps ** 2 * xp.vecdot(z, z)
    done = xp.zeros_like(mass, dtype=xp.bool)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for _ in range(steps):
            w = xp.expm1(u)
            excess = xp.vecdot(q, w)  # E[w] - 1 without cancellation
            w += 1.0
            added, slope, tilt = dual.linearise(xp, w, value)
            move = (u - z) + added
            slope = slope + 1.0
            move /= slope
            tilt = tilt / slope
            w *= q
            excess = excess - xp.vecdot(w, move)
            stepped = dual.step(xp, value, excess, xp.vecdot(w, tilt), mass)
            change = stepped - value
            tilt *= change[:, None]
            move += tilt
            u = u - move
            value = stepped
            done = (xp.vecdot(move, move) <= tolerance) & dual.small(xp, change, value)
            if bool(xp.all(done)):
                break
    return u, value, done
