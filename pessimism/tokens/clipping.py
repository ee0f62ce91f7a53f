r"""The optimal set of a clipped ratio at a prefix whose completions have advantages of both signs.

With a+ and a- the means of m A_+ and m A_- below a token, the surrogate
:math:`\sum_a q_a [a^+ \min(w_a, 1 + \epsilon_{high}) - a^- \max(w_a, 1 - \epsilon_{low})]` is concave and piecewise
linear in the ratios: slopes a+, a+ - a- and -a- below, inside and beyond the band. A linear program; docs/theory.md.
"""

from __future__ import annotations

import numpy as np

from pessimism.arrays import Floats

_EQUAL = 1e-12  # relative to the largest slope of a row: slopes that rounding alone tells apart
_FULL = 1e-14  # of the mass, which what is filled up may miss


def nearest_of_both_signs(
    q: Floats, up: Floats, down: Floats, bounds: tuple[Floats | float, Floats | float]
) -> tuple[Floats, Floats, Floats]:
    """Element of the optimal set nearest to the behavior in KL(pi || q).

    Parameters
    ----------
    q : ndarray, shape (N, K)
        Probabilities of the tokens, all positive.
    up, down : ndarray, shape (N, K)
        Means a+ and a-, >= 0.
    bounds : tuple of float or ndarray, shape (N, K)
        Log-ratios where the surrogate is cut off, as log(1 - eps_low) and log(1 + eps_high); the first may be -inf.

    Returns
    -------
    log_w : ndarray, shape (N, K)
        Log-ratios, -inf for tokens without mass.
    level : ndarray, shape (N,)
        Slope at which the mass is filled up, the multiplier.
    several : ndarray of bool, shape (N,)
        Whether other policies are as good.
    """
    low, high = (np.broadcast_to(np.exp(bound), q.shape) for bound in bounds)
    slope = np.concatenate([up, up - down, -down], axis=-1)  # of w below, inside and beyond the band
    scale = np.max(np.abs(slope), axis=-1, keepdims=True)
    room = np.concatenate([q * low, q * (high - low), np.full_like(q, np.inf)], axis=-1)
    order = np.argsort(-slope, axis=-1, kind="stable")
    ranked = np.take_along_axis(slope, order, axis=-1)
    filled = np.cumsum(np.take_along_axis(room, order, axis=-1), axis=-1)
    level = np.take_along_axis(ranked, np.argmax(filled >= 1.0 - _FULL, axis=-1)[:, None], axis=-1)
    tolerance = _EQUAL * scale
    rooms, slopes = (np.stack(np.split(a, 3, axis=-1)) for a in (room, slope))
    least = np.sum(np.where(slopes > level + tolerance, rooms, 0.0), axis=0) / q
    most = np.sum(np.where(slopes >= level - tolerance, rooms, 0.0), axis=0) / q
    loose = np.count_nonzero(most > least, axis=-1) > 1
    several = loose & (np.vecdot(q, least) < 1.0 - _FULL) & (np.vecdot(q, most) > 1.0 + _FULL)
    return _nearest_between(q, least, most), level[:, 0], several


def _nearest_between(q: Floats, low: Floats, high: Floats) -> Floats:
    """Log-ratios of min(max(w, low), high) with the one w at which they make a policy: the nearest in KL(pi || q).

    The mass rises in w, with a break where w passes a bound: the breaks are sorted.
    """
    bounds = np.concatenate([low, high], axis=-1)
    order = np.argsort(bounds, axis=-1, kind="stable")
    breaks = np.take_along_axis(bounds, order, axis=-1)
    slope = np.cumsum(np.take_along_axis(np.concatenate([q, -q], axis=-1), order, axis=-1), axis=-1)
    finite = np.where(np.isfinite(breaks), breaks, 0.0)  # beyond the last finite break nothing is asked
    gained = np.maximum(slope[:, :-1], 0.0) * np.where(np.isfinite(breaks[:, 1:]), np.diff(finite, axis=-1), np.inf)
    with np.errstate(invalid="ignore"):  # of no slope towards an infinite break
        gained = np.where(slope[:, :-1] > 0, gained, 0.0)
    mass = np.vecdot(q, low)[:, None] + np.cumsum(gained, axis=-1)
    part = np.argmax(mass >= 1.0 - _FULL, axis=-1)[:, None]
    left, right = (np.take_along_axis(breaks, part + side, axis=-1) for side in (0, 1))
    free = (low <= left) & (high >= right) & (high > low)
    held = np.sum(np.where(free, 0.0, q * np.where(high <= left, high, low)), axis=-1, keepdims=True)
    moving = np.sum(np.where(free, q, 0.0), axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        level = np.where(moving > 0, (1.0 - held) / moving, left)
        return np.asarray(np.log(np.clip(level, low, high)))
