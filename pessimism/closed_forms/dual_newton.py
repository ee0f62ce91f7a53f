"""The scalar-dual solver: from an advantage to the Lambert-tempered ratio, for a batch of rows.

A joint Newton iteration on (u, dual) starts from a rational guess of Wright's omega and takes two steps in single
precision and two in double, of which only the first needs an exponential; it runs on chunks of rows that stay in the
processor's cache. The few rows that this leaves go on by themselves. What the iteration does not finish goes to a
bracketed root finder around Wright's omega, which cannot fail, and is polished by the same iteration. The families of
problems are in ``duals``. Derivation: arXiv 2605.28150; docs/theory.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import device

from pessimism.arrays import Array, pick, put, to_numpy
from pessimism.closed_forms.duals import TOLERANCE, Dual, dot, total

_CHUNK = 1 << 15  # elements a chunk, twice that in columns: working arrays stay in cache, calls into numpy few
_NARROW = 32  # actions up to which the rows of a chunk become columns: sums over few actions are slow along rows
_WARM, _FIRST, _FULL = 2, 6, 40  # Newton steps: in single precision, in double of a hard row, from a bracketed start
_SHORT = 2e-4  # longest step whose exponential three terms give to rounding
_LOWEST_SINGLE, _LOWEST_DOUBLE = -74.0, -602.0  # logarithms of numbers whose product with a small q is normal, still
_WEAK = 1e-3  # factor of w in the condition below which the mass is the balance of small excesses


# Overflow and what follows from it make a row hard, or prove its regime; no case of it is an error.
@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def solve_dual(
    xp: Any, q: Array, z: Array, dual: Dual, rounding: Callable[[Array], Array] | None = None
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
        Maps indices of rows to the error ``(n,)`` of their z beyond the rounding of z itself. If given, a row is solved
        only in the positive regime, E_q[exp(z)] > 1, and keeps u = z with a dual of zero elsewhere.

    Returns
    -------
    dual : Array, shape (N,)
        The unknown of each row.
    regime : Array, shape (N,)
        One of +1, 0 and -1 (always +1 without ``rounding``).
    done : Array, shape (N,)
        Whether a row converged.

    Notes
    -----
    Whatever is decided is decided for each row by itself, and sums over its actions have one order: the bits of a row
    do not depend on its neighbors.
    """
    value = xp.zeros_like(z[:, 0])
    regime = xp.ones_like(value, dtype=xp.int8)
    done = xp.ones_like(value, dtype=xp.bool)
    on_cpu = str(device(z)).lower().startswith("cpu")
    axis = 0 if isinstance(z, np.ndarray) and z.shape[1] <= _NARROW else -1
    size = max(1, (_CHUNK if axis else 2 * _CHUNK) // z.shape[1]) if on_cpu else max(1, z.shape[0])
    hard: list[tuple[Array, ...]] = []
    left: list[Array] = []
    since = 0  # from where on hard rows wait
    for first in range(0, z.shape[0], size):
        part = slice(first, min(first + size, z.shape[0]))
        q_part, z_part, chosen = q[part, :], z[part, :], None
        given = _laid_out(xp, q_part, z_part, axis)
        start = dual.start(xp, *given[2:], axis)
        # A bound in single precision proves nothing where it is small, or where a number overflowed.
        low = ~((start >= 0.5) & (start < 3e38))
        if rounding is not None and bool(xp.any(low)):
            low = _by_row(low, axis)[:, 0]
            q_low, z_low = (a if bool(xp.all(low)) else pick(xp, a, low) for a in (q_part, z_part))
            bound = dual.start(xp, q_low, z_low)[:, 0]
            sign = _regime(xp, q_low, z_low, rounding(part.start + xp.nonzero(low)[0]), bound)
            regime[part] = put(xp, regime[part], low, sign)
            near = xp.astype(xp.maximum(bound, _near_boundary(xp, q_low, z_low)), xp.float32)
            start = xp.expand_dims(put(xp, _by_row(start, axis)[:, 0], low, near), axis=axis)
            if not bool(xp.all(regime[part] > 0)):
                chosen = regime[part] > 0
                q_part, z_part = pick(xp, q_part, chosen), pick(xp, z_part, chosen)
                start = _taken(xp, start, chosen, axis)
                given = _laid_out(xp, q_part, z_part, axis)
        u, kappa, ready = _two_steps(xp, *given[:2], *_warm_start(xp, *given[2:], start, dual, axis), dual, axis)
        solved = (_by_row(u, axis), _by_row(kappa, axis)[:, 0], _by_row(ready, axis)[:, 0])
        if not bool(xp.all(solved[2])):
            hard.append(tuple(_taken(xp, a, ~solved[2], axis) for a in (*given[:2], u, kappa)))
        for rows, values in zip((z, value, done), solved, strict=True):
            rows[part, ...] = values if chosen is None else put(xp, rows[part, ...], chosen, values)
        # The hard rows of all chunks go on together: a call into numpy costs as much for one row as for many.
        many = sum(q_hard.shape[0 if axis else 1] for q_hard, *_ in hard) >= size
        if hard and (many or part.stop == z.shape[0]):
            waited, since = slice(since, part.stop), part.stop
            several = (xp.concat(a, axis=0 if axis else 1) for a in zip(*hard, strict=True))
            q_hard, z_hard, u_hard, kappa_hard = hard[0] if len(hard) == 1 else several
            hard = []
            found = _newton(xp, q_hard, z_hard, u_hard, kappa_hard, dual, _FIRST, axis)
            finished, mask = _by_row(found[2], axis)[:, 0], ~done[waited]
            if not bool(xp.all(finished)):
                left.append(pick(xp, _by_row(z_hard, axis), ~finished))
            found = (_by_row(found[0], axis), _by_row(found[1], axis)[:, 0], finished)
            for rows, values in zip((z, value, done), found, strict=True):
                waiting = rows[waited, ...]
                waiting[mask] = values
    if left:
        unfinished, z_left = ~done, xp.concat(left, axis=0)
        q_left = pick(xp, q, unfinished)
        exact = xp.asarray(dual.bracketed(to_numpy(q_left), to_numpy(z_left)), dtype=z.dtype, device=device(z))[:, None]
        u = dual.guess(xp, z_left, exact)
        u, kappa, ready = _newton(xp, q_left, z_left, u, exact, dual, _FULL, -1)
        for rows, values in zip((z, value, done), (u, kappa[:, 0], ready[:, 0]), strict=True):
            rows[unfinished] = values
    return value, regime, done


def _laid_out(xp: Any, q: Array, z: Array, axis: int) -> tuple[Array, Array, Array, Array]:
    """q and z with their actions on an axis, contiguous, in double and in single precision."""
    if axis == 0:
        turned = [xp.empty((a.shape[1], a.shape[0]), dtype=a.dtype, device=device(a)) for a in (q, z)]
        for a, rows in zip(turned, (q, z), strict=True):
            a[...] = rows.T
        q, z = turned
    return q, z, xp.astype(q, xp.float32), xp.astype(z, xp.float32)


def _taken(xp: Any, a: Array, mask: Array, axis: int) -> Array:
    """Problems that a mask chooses, with the actions on ``axis``."""
    return xp.take(a, xp.nonzero(mask)[0], axis=0 if axis else 1)


def _by_row(a: Array, axis: int) -> Array:
    """View of problems with the actions on ``axis`` as rows."""
    return a.T if axis == 0 else a


def _warm_start(xp: Any, q: Array, z: Array, start: Array, dual: Dual, axis: int) -> tuple[Array, Array]:
    """Log-ratios and dual to about 1e-4, by steps in single precision at half the cost; not finite on overflow."""
    u = dual.guess(xp, z, start)
    for _ in range(_WARM):
        start = _step(xp, q, z, u, _exp(xp, u), start, dual, axis)[1]
    return xp.astype(u, xp.float64), xp.astype(start, xp.float64)


def _two_steps(
    xp: Any, q: Array, z: Array, u: Array, value: Array, dual: Dual, axis: int
) -> tuple[Array, Array, Array]:
    """Two Newton steps, u in place, with one exponential; and whether that solved a row to rounding."""
    w = _exp(xp, u)
    move, value, *_ = _step(xp, q, z, u, w, value, dual, axis)
    short = dot(xp, move, move, axis) <= _SHORT**2
    if dual.smooth:
        series = move * (-1.0 / 6.0)
        series += 0.5
        series *= move
        series -= 1.0
        series *= move
        series *= w
        w += series
    else:
        w = _exp(xp, u)
    move, value, change, mean, _ = _step(xp, q, z, u, w, value, dual, axis)
    ready = short & (dot(xp, move, move, axis) <= TOLERANCE**2) & (xp.abs(mean - 1.0) <= 1e-6)
    return u, value, ready & (dual.strength(xp, value) >= _WEAK) & dual.small(xp, change, value)


def _exp(xp: Any, u: Array) -> Array:
    """Exponential, never subnormal, which is slow, in w as in q w: so small a ratio makes no difference."""
    lowest = _LOWEST_SINGLE if u.dtype == xp.float32 else _LOWEST_DOUBLE
    above = 0 in u.shape or bool(xp.min(u) >= lowest)  # not so where one is nan
    return xp.exp(u if above else xp.maximum(u, lowest))


def _regime(xp: Any, q: Array, z: Array, rounding: Array, lower: Array) -> Array:
    """Sign of Z - 1, zero within the error that z carries; a lower bound of kappa beyond it proves it positive."""
    eps = xp.finfo(z.dtype).eps
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
    mean = xp.vecdot(q, z)
    variance = xp.maximum(xp.vecdot(q * z, z) - mean * mean, 0.0)
    return xp.maximum(mean + variance / (2.0 + 2.5 * xp.sqrt(variance)), 0.0)


def _step(
    xp: Any, q: Array, z: Array, u: Array, w: Array, value: Array, dual: Dual, axis: int, weak: Array | None = None
) -> tuple[Array, Array, Array, Array, tuple[Array, Array, Array]]:
    """Joint Newton step on (u, dual), u in place: eliminate u row by row, step in the dual, correct both."""
    move = u - z
    added, slope, tilt = dual.pull(xp, w, value)
    move += added
    slope += 1.0
    move /= slope
    tilt = tilt / slope
    weighted = w * q
    mean = total(weighted) if axis == 0 else xp.vecdot(q, w)[:, None]
    excess = mean - 1.0
    if weak is not None:
        excess = xp.where(weak, dot(xp, q, xp.expm1(u), axis), excess)
    excess = excess - dot(xp, weighted, move, axis)
    dual_slope = dot(xp, weighted, tilt, axis)
    stepped = dual.step(xp, value, excess, dual_slope)
    change = stepped - value
    tilt *= change
    move += tilt
    u -= move
    dual.limit(xp, u, weighted, q)
    return move, stepped, change, mean, (weighted, slope, dual_slope)


def _newton(
    xp: Any, q: Array, z: Array, u: Array, value: Array, dual: Dual, steps: int, axis: int
) -> tuple[Array, Array, Array]:
    """Newton steps, each row until it is solved: those that are leave, so that no row sees another."""
    # What rounding leaves in a step must not keep a finished row from being accepted; each action has its own.
    grain = 8.0 * xp.finfo(z.dtype).eps
    whole = [_by_row(a, axis) for a in (u, xp.zeros_like(value), xp.zeros_like(value, dtype=xp.bool))]
    left = xp.ones_like(_by_row(value, axis)[:, 0], dtype=xp.bool)
    for number in range(steps):
        # A tiny kappa is the balance of small excesses, of which no digit may cancel.
        weak = dual.strength(xp, value) < _WEAK
        move, value, change, mean, (weighted, slope, dual_slope) = _step(
            xp, q, z, u, _exp(xp, u), value, dual, axis, weak if bool(xp.any(weak)) else None
        )
        # A step of almost no mass is small whatever the dual: the mass itself must be right too.
        size = dot(xp, move, move, axis)
        still = size <= TOLERANCE**2
        near = ~still & (size <= 4.0 * grain**2 * dot(xp, z, z, axis))
        if bool(xp.any(near)):
            move /= TOLERANCE + grain * (xp.abs(u) + dual.offset(xp, value))
            still = still | (near & (dot(xp, move, move, axis) <= 1.0))
        still = still & (xp.abs(mean - 1.0) <= 1e-6)
        done = still & dual.small(xp, change, value)
        last = number == steps - 1
        if last:
            # A dual near zero may be known no better than rounding of z allows.
            noise = 8.0 * grain * dot(xp, weighted, xp.abs(z) / slope, axis) / dual_slope
            done = done | (still & (xp.abs(change) <= noise))
        over = _by_row(done, axis)[:, 0]
        if last or bool(xp.any(over)):
            if last:
                over = xp.ones_like(over)
            there = put(xp, left & False, left, over)
            found = (_by_row(_taken(xp, a, over, axis), axis) for a in (u, value, done))
            whole = [put(xp, rows, there, values) for rows, values in zip(whole, found, strict=True)]
            left = left & ~there
            if not bool(xp.any(left)):
                break
            q, z, u, value = (_taken(xp, a, ~over, axis) for a in (q, z, u, value))
    of_u, of_value, of_done = (_by_row(a, axis) for a in whole)
    return of_u, of_value, of_done
