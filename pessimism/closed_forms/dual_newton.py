"""The scalar-dual solver: from an advantage to the Lambert-tempered ratio, for a batch of rows.

A joint Newton iteration on (u, dual) takes one exponential a step and about five steps, the first three in single
precision; it runs on chunks of rows that stay in the processor's cache. Rows that it does not finish go to a bracketed
root finder around Wright's omega, which cannot fail, and are polished by the same iteration. The families of problems
are in ``duals``. Derivation: arXiv 2605.28150; docs/theory.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import device

from pessimism.arrays import Array, pick, put, to_numpy
from pessimism.closed_forms.duals import TOLERANCE, Dual

_CHUNK = 1 << 16  # elements a chunk: half a dozen working arrays stay in cache, calls into numpy stay few
_WARM, _FIRST, _FULL = 3, 6, 40  # Newton steps: in single precision, in double, from a bracketed start


def solve_dual(
    xp: Any, q: Array, z: Array, dual: Dual, rounding: Callable[[slice], Array] | None = None
) -> tuple[Array, Array, Array]:
    """Solve every row; z is overwritten by the log-ratios u.

    Parameters
    ----------
    xp : module
        Array namespace.
    q : Array, shape (N, K)
        Probabilities.
    z : Array, shape (N, K)
        Advantages over the temperature. Actions of zero probability may carry any z within the range of the others.
    dual : Dual
        Family of problems.
    rounding : callable, optional
        Maps a slice of rows to the error ``(n,)`` of their z beyond the rounding of z itself. If given, a row is solved
        only in the positive regime, E_q[exp(z)] > 1, and keeps u = z with a dual of zero elsewhere.

    Returns
    -------
    dual : Array, shape (N,)
        The unknown of each row.
    regime : Array, shape (N,)
        One of +1, 0 and -1 (always +1 without ``rounding``).
    done : Array, shape (N,)
        Whether a row converged.
    """
    value = xp.zeros_like(z[:, 0])
    regime = xp.ones_like(value, dtype=xp.int8)
    done = xp.ones_like(value, dtype=xp.bool)
    on_cpu = str(device(z)).lower().startswith("cpu")
    size = max(1, _CHUNK // z.shape[1]) if on_cpu else max(1, z.shape[0])
    left: list[Array] = []
    for first in range(0, z.shape[0], size):
        part = slice(first, min(first + size, z.shape[0]))
        q_part, z_part = q[part, :], z[part, :]
        start = dual.start(xp, q_part, z_part)
        chosen = None
        if rounding is not None and bool(xp.any(start < 0.5)):
            regime[part] = _regime(xp, q_part, z_part, rounding(part), start)
            start = xp.where(start < 0.5, xp.maximum(start, _near_boundary(xp, q_part, z_part)), start)
            if not bool(xp.all(regime[part] > 0)):
                chosen = regime[part] > 0
                q_part, z_part, start = (pick(xp, a, chosen) for a in (q_part, z_part, start))
        u, start = _warm_start(xp, q_part, z_part, start, dual)
        found = _newton(xp, q_part, z_part, u, start, dual, _FIRST)
        if not bool(xp.all(found[2])):
            left.append(pick(xp, z_part, ~found[2]))
        for rows, values in zip((z, value, done), found, strict=True):
            rows[part, ...] = values if chosen is None else put(xp, rows[part, ...], chosen, values)
    if left:
        unfinished, z_left = ~done, xp.concat(left, axis=0)
        q_left = pick(xp, q, unfinished)
        exact = xp.asarray(dual.bracketed(to_numpy(q_left), to_numpy(z_left)), dtype=z.dtype, device=device(z))
        found = _newton(xp, q_left, z_left, dual.guess(xp, z_left, exact), exact, dual, _FULL)
        for rows, values in zip((z, value, done), found, strict=True):
            rows[...] = put(xp, rows, unfinished, values)
    return value, regime, done


def _warm_start(xp: Any, q: Array, z: Array, start: Array, dual: Dual) -> tuple[Array, Array]:
    """Log-ratios and dual to about 1e-5, by steps in single precision at half the cost; not finite on overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        q, z, start = (xp.astype(a, xp.float32) for a in (q, z, start))
        u, value, _ = _newton(xp, q, z, dual.guess(xp, z, start), start, dual, _WARM)
    return xp.astype(u, xp.float64), xp.astype(value, xp.float64)


def _regime(xp: Any, q: Array, z: Array, rounding: Array, lower: Array) -> Array:
    """Sign of Z - 1, zero within the error that z carries; a lower bound of kappa beyond it proves it positive."""
    eps = xp.finfo(z.dtype).eps
    with np.errstate(over="ignore", invalid="ignore"):
        norm = xp.sqrt(xp.vecdot(z, z))
        sure = lower > 8.0 * (rounding + eps * norm)
        if bool(xp.all(sure)):
            return xp.ones_like(lower, dtype=xp.int8)
        growth = xp.expm1(z)
        excess = xp.vecdot(q, growth)
        # Rounding of z, and of expm1 and its sum; first a cheap upper bound that most rows pass.
        noise = eps * (excess + 3.0) * (1.0 + norm) + rounding
        if not bool(xp.all(sure | ~(excess <= 1.0) | (xp.abs(excess) > 8.0 * noise))):
            noise = eps * xp.vecdot(q, (growth + 2.0) * xp.abs(z) + xp.abs(growth)) + rounding
        sign = xp.sign(xp.where(xp.abs(excess) <= 8.0 * noise, xp.zeros_like(excess), excess))
    # Z > 2 is beyond any rounding, and so is overflow (of the noise, too).
    return xp.astype(xp.where(sure | ~(excess <= 1.0), xp.ones_like(sign), sign), xp.int8)


def _near_boundary(xp: Any, q: Array, z: Array) -> Array:
    """Estimate of kappa where the bound is poor: E[z] + var/2 for a small spread of z, + 0.4 std for a large one."""
    with np.errstate(over="ignore", invalid="ignore"):  # a useless estimate only costs steps
        mean = xp.vecdot(q, z)
        variance = xp.maximum(xp.vecdot(q * z, z) - mean * mean, 0.0)
        return xp.maximum(mean + variance / (2.0 + 2.5 * xp.sqrt(variance)), 0.0)


def _newton(xp: Any, q: Array, z: Array, u: Array, value: Array, dual: Dual, steps: int) -> tuple[Array, Array, Array]:
    """Joint Newton iteration on (u, dual), u in place: eliminate u row by row, step in the dual, correct both."""
    # What rounding leaves in a step must not keep a finished row from being accepted; each action has its own.
    grain = 8.0 * xp.finfo(z.dtype).eps
    # Subnormal numbers are slow, in w as in q w, and ratios this small make no difference.
    lowest = 0.85 * float(np.log(float(xp.finfo(z.dtype).smallest_normal)))
    deep = bool(xp.any(u < lowest))
    still = done = xp.zeros_like(value, dtype=xp.bool)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        settles = z.dtype == xp.float64  # single precision only warms up: all its steps are taken
        coarse = 4.0 * grain**2 * xp.vecdot(z, z) if settles else value
        for _ in range(steps):
            w = xp.exp(xp.maximum(u, lowest) if deep else u)
            mean = xp.vecdot(q, w)
            excess = mean - 1.0
            weak = dual.strength(xp, value) < 1e-3
            if bool(xp.any(weak)):  # a tiny kappa is the balance of small excesses: no digit may cancel
                excess = xp.where(weak, xp.vecdot(q, xp.expm1(u)), excess)
            move = u - z
            added, slope, tilt = dual.pull(xp, w, value)
            move += added
            slope += 1.0
            move /= slope
            tilt = tilt / slope
            w *= q
            excess = excess - xp.vecdot(w, move)
            dual_slope = xp.vecdot(w, tilt)
            stepped = dual.step(xp, value, excess, dual_slope)
            change, value = stepped - value, stepped
            tilt *= change[:, None]
            move += tilt
            u -= move
            dual.limit(xp, u, w, q)
            if not settles:
                continue
            # A step of almost no mass is small whatever the dual: the mass itself must be right too.
            size = xp.vecdot(move, move)
            still = size <= TOLERANCE**2
            if bool(xp.any(~still & (size <= coarse))):
                move /= TOLERANCE + grain * (xp.abs(u) + dual.offset(xp, value)[:, None])
                still = still | (xp.vecdot(move, move) <= 1.0)
            still = still & (xp.abs(mean - 1.0) <= 1e-6)
            done = still & dual.small(xp, change, value)
            if bool(xp.all(done)):
                return u, value, done
        # A dual near zero may be known no better than rounding of z allows.
        noise = 8.0 * grain * xp.vecdot(w, xp.abs(z) / slope) / dual_slope
    return u, value, done | (still & (xp.abs(change) <= noise))
