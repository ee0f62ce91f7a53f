"""Special functions behind the Lambert-tempered target, on any array library (numpy, torch on CPU or GPU, ...).

Everything is computed in the logarithm: the Lambert target evaluates Wright's omega at A/beta + log kappa, where
A/beta may be 1e6, so exp(A/beta) is never formed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from pessimism.arrays import Array

_EXPN1 = 0.36787944117144233  # exp(-1) = _EXPN1 + _EXPN1_LOW
_EXPN1_LOW = -1.2428753672788363e-17
# p - log1p(p) = s^2/2 solved as a power series in s (the branch-point expansion of Lambert W).
_BRANCH_SERIES = (1.0, 1 / 3, 1 / 36, -1 / 270, 1 / 4320, 1 / 17010, -139 / 5443200, 1 / 204120, -571 / 2351462400)


def log_sum_exp(terms: Array) -> Array:
    """Logarithm of the sum of exponentials of each row, without overflow (numpy).

    Parameters
    ----------
    terms : ndarray, shape (..., K)
        Logarithms.

    Returns
    -------
    ndarray, shape (...)
        Logarithms of the sums; -inf where all terms are, nan where one is.

    Examples
    --------
    >>> import numpy as np
    >>> log_sum_exp(np.array([[1000.0, 1000.0], [-np.inf, -np.inf]])).round(4)
    array([1000.6931,      -inf])
    """
    top = terms.max(axis=-1)
    top = np.where(np.isneginf(top), 0.0, top)
    with np.errstate(divide="ignore"):
        found: Array = top + np.log(np.exp(terms - top[..., None]).sum(axis=-1))
    return found


def log_wright_omega(x: Array) -> Array:
    """Logarithm of Wright's omega function: the v that solves :math:`v + e^v = x`.

    It is defined for every real x; ``log_wright_omega(x) = log W_0(exp(x))`` without forming exp(x).

    Parameters
    ----------
    x : Array
        Real floating numbers of any shape. ``-inf``, ``inf`` and ``nan`` map to themselves.

    Returns
    -------
    Array
        Values of the same shape, dtype and library; the absolute error is a few ulp of max(1, abs(v)).

    References
    ----------
    .. [1] Corless and Jeffrey, "The Wright omega function", 2002.

    Examples
    --------
    >>> import numpy as np
    >>> log_wright_omega(np.array([1.0, 1.0 + np.e]))
    array([0., 1.])
    """
    xp = array_namespace(x)
    given, finite = x, xp.isfinite(x)
    zero = xp.zeros_like(x)
    x = xp.where(finite, x, zero)
    large = xp.where(x > 1.0, x, zero + 1.0)
    small = xp.where(x > 1.0, zero, x)
    # Asymptotics on both sides, good to a few per cent everywhere, then third-order iterations.
    guess_large = xp.log(large - xp.log(large) * (large / (1.0 + large)))
    small_exp = xp.exp(small)
    guess_small = small - small_exp / (1.0 + small_exp)
    v = xp.where(x > 1.0, guess_large, guess_small)
    for _ in range(4):
        growth = xp.exp(v)
        slope = 1.0 + growth
        # expm1 and x - 1 keep the residual exact around the zero of v at x = 1.
        step = -(v + xp.expm1(v) - (x - 1.0)) / slope
        v = v + step / (1.0 + 0.5 * step * (growth / slope))
    return xp.where(finite, v, given)


def branch_gap(delta: Array, branch: int) -> Array:
    r"""Solve :math:`p - \log(1 + p) = \delta` for p: p in (-1, 0] for branch 0, p >= 0 for branch -1.

    With :math:`\delta = -1 - \log(-x)` this is Lambert W on its two real branches, ``W_k(x) = -(1 + p)``, in a form
    that neither underflows for x -> 0 nor loses digits at the branch point x = -1/e (delta = 0).

    Parameters
    ----------
    delta : Array
        Real floating numbers >= 0; the result is ``nan`` where they are negative.
    branch : {0, -1}
        Which of the two solutions.

    Returns
    -------
    Array
        Solutions p, in the shape of ``delta``.

    Raises
    ------
    ValueError
        If branch is neither 0 nor -1.

    Examples
    --------
    >>> import numpy as np
    >>> p = branch_gap(np.array([0.5]), -1)
    >>> float((p - np.log1p(p))[0])
    0.5
    """
    if branch not in (0, -1):
        raise ValueError(f"branch must be 0 or -1, got {branch!r}")
    xp = array_namespace(delta)
    # Near the end of the floating range the answer is delta itself, or -1, to the last digit.
    huge = 1e-8 * float(xp.finfo(delta.dtype).max)
    valid = (delta >= 0) & (delta <= huge)
    end = xp.where(delta > huge, delta if branch == -1 else -xp.ones_like(delta), xp.nan * xp.ones_like(delta))
    delta = xp.where(valid, delta, xp.zeros_like(delta))
    s = xp.sqrt(2.0 * delta) * (1.0 if branch == -1 else -1.0)
    near = xp.abs(s) < 0.1
    small = xp.where(near, s, xp.zeros_like(s))
    series = xp.zeros_like(s)
    for coefficient in reversed(_BRANCH_SERIES):
        series = (series + coefficient) * small
    return xp.where(valid, xp.where(near, series, _branch_gap_far(xp, delta, near, branch)), end)


def _branch_gap_far(xp: Any, delta: Array, near: Array, branch: int) -> Array:
    """Solution of :func:`branch_gap` away from the branch point, by Newton in p, or in log(1 + p) near p = -1."""
    d = xp.where(near, xp.ones_like(delta), delta)
    if branch == -1:
        return _newton_in_p(xp, d, d + xp.log1p(d) + xp.sqrt(2.0 * d) / (2.0 + d))
    deep = d > 0.5
    shallow = _newton_in_p(
        xp, xp.where(deep, xp.full_like(d, 0.5), d), xp.expm1(-xp.sqrt(2.0 * xp.where(deep, xp.full_like(d, 0.5), d)))
    )
    log_t = -1.0 - xp.where(deep, d, xp.ones_like(d))
    for _ in range(6):
        t = xp.exp(log_t)
        log_t = log_t - (log_t - t + 1.0 + d) / (1.0 - t)
    return xp.where(deep, xp.expm1(log_t), shallow)


def _newton_in_p(xp: Any, d: Array, p: Array) -> Array:
    for _ in range(6):
        p = p - (p - xp.log1p(p) - d) * (1.0 + p) / p
    return p


def lambertw(x: Array, branch: int = 0) -> Array:
    """Real Lambert W: the w with :math:`w e^w = x` on branch 0 (x >= -1/e) or branch -1 (-1/e <= x < 0).

    Parameters
    ----------
    x : Array
        Real floating numbers. Outside the domain of the branch the result is ``nan``.
    branch : {0, -1}, default 0
        Branch of the function.

    Returns
    -------
    Array
        Values w, in the shape of ``x``.

    Raises
    ------
    ValueError
        If branch is neither 0 nor -1.

    References
    ----------
    .. [1] Corless et al., "On the Lambert W function", 1996.

    Examples
    --------
    >>> import numpy as np
    >>> lambertw(np.array([0.0, np.e]))
    array([0., 1.])
    >>> w = lambertw(np.array([-0.1]), branch=-1)
    >>> bool(abs(w * np.exp(w) + 0.1).max() < 1e-16)
    True
    """
    xp = array_namespace(x)
    negative = (x < 0) & xp.isfinite(x)
    ones = xp.ones_like(x)
    at = xp.where(negative, x, -_EXPN1 * ones)  # a harmless point of the domain where x is not negative
    offset = (at + _EXPN1) + _EXPN1_LOW  # x + 1/e, exact next to the branch point
    # One rounding below -1/e is still the branch point: the double nearest -1/e lies below it.
    offset = xp.where((offset < 0) & (offset > -1e-16), xp.zeros_like(x), offset)
    by_branch_point = at < -0.25
    # x < -1/e makes this nan, as it should be; the logarithm that is not taken must not warn.
    inside = xp.where(by_branch_point & (offset >= 0), offset, xp.zeros_like(x))
    delta = xp.where(by_branch_point, -xp.log1p(-inside / _EXPN1), -1.0 - xp.log(-at))
    delta = xp.where(by_branch_point & (offset < 0), xp.nan * ones, delta)
    below = -(1.0 + branch_gap(delta, branch))
    if branch == -1:
        return xp.where(negative, below, xp.where(x == 0, -ones * xp.inf, ones * xp.nan))
    positive = xp.where(x > 0, x, ones)
    w = xp.where(negative, below, xp.exp(log_wright_omega(xp.log(positive))))
    w = xp.where(xp.abs(x) < 1e-9, x, w)
    # One Newton step in log(w) restores the relative accuracy that exp(log ...) loses for tiny and huge x.
    safe = xp.isfinite(w) & (w > -0.5) & (w != 0) & xp.isfinite(x)
    base = xp.where(safe, w, ones)
    polished = base * (1.0 + (xp.log(xp.where(safe, x, ones) / base) - base) / (1.0 + base))
    outside = (x < 0) & ~negative  # -inf
    return xp.where((x == 0) | xp.isnan(x), x, xp.where(outside, xp.nan * ones, xp.where(safe, polished, w)))
