"""Empirical likelihood: estimator and interval (ELFCB), and the two dual problems behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy.special import fdtri

from pessimism.arrays import Floats
from pessimism.evaluation.checks import number, refuse, refuse_overflow
from pessimism.evaluation.logs import Logs
from pessimism.evaluation.policies import ratios
from pessimism.evaluation.result import ASYMPTOTIC, Evaluation, conclude

_MAX_STEPS = 500
_TOLERANCE = 1e-13  # of the bound, relative to the mean reward term
_STEP_TO_ZERO = 0.99  # part of the way to a boundary where the likelihood vanishes


def el(
    policy: Any,
    logs: Logs,
    *,
    delta: float,
    weight_max: float,
    weight_min: float = 0.0,
    reward_min: float = 0.0,
    reward_max: float = 1.0,
    rho: float | None = None,
) -> Evaluation:
    r"""Empirical likelihood: the most likely law of (w, r) with E[w] = 1, and all laws that are nearly as likely.

    The weights are :math:`q_i = 1 / (n (1 + b (w_i - 1)))` with b from
    :func:`~pessimism.evaluation.likelihood.multiplier`, m = 1 - sum w q is the importance mass that no round
    carries, and the value is :math:`\sum_i w_i r_i q_i + m \rho`, anywhere between ``details["vmin"]`` (rho =
    reward_min) and ``details["vmax"]`` (rho = reward_max).

    Parameters
    ----------
    policy : probabilities
        As in :func:`pessimism.evaluate`.
    logs : Logs
        Logged rounds.
    delta : float
        Chance that the interval misses the value.
    weight_max, weight_min : float
        Ratios that are possible at all, not the extremes seen: 0 <= weight_min < 1 < weight_max. For a behavior that
        explores with probability eps over K actions, weight_max is K / eps at most. ``numpy.inf`` is allowed.
    reward_min, reward_max : float, default 0.0 and 1.0
        Rewards that are possible at all.
    rho : float, optional
        Reward of the mass m. Default: midpoint of the rewards' range.

    Returns
    -------
    Evaluation
        Value with a two-sided interval.

    Raises
    ------
    ValueError
        A ratio or a reward outside its range; a single round.

    Notes
    -----
    The interval holds the E[w r] of all laws within Delta = F^{-1}_{1-delta}(1, n-1) / 2 of the largest
    log-likelihood. Two-sided, asymptotically exact, not a finite-sample bound. ``details`` also holds ``multiplier``
    (b) and ``unseen_mass`` (m).

    References
    ----------
    arXiv 1906.03323: estimator, bias bound and confidence interval.

    Examples
    --------
    >>> from pessimism import evaluate
    >>> logs = {"weight": [1.0102] * 2 + [0.0] * 8, "reward": [1.0] * 2 + [0.0] * 8}
    >>> found = evaluate(None, logs, "el", weight_max=2000.0)
    >>> round(found.lower, 6), found.upper
    (0.025504, 1.0)
    """
    seen = ratios(policy, logs)
    if logs.n < 2:
        raise ValueError("logs must hold at least two rounds for estimator el, got 1")
    wmin = number("weight_min", weight_min, above=-np.inf, below=1.0)
    if wmin < 0:
        raise ValueError(f"weight_min must not be negative, got {weight_min!r}")
    wmax = np.inf if weight_max == np.inf else number("weight_max", weight_max, above=1.0)
    rmin = number("reward_min", reward_min)
    rmax = number("reward_max", reward_max, above=rmin)
    rho = (rmin + rmax) / 2.0 if rho is None else number("rho", rho)
    if not rmin <= rho <= rmax:
        raise ValueError(f"rho must be between reward_min and reward_max, got {rho!r}")
    weight, reward = seen.weight, seen.reward
    refuse("weight", weight, weight < wmin, f"must be at least weight_min = {wmin:g}")
    refuse("weight", weight, weight > wmax, f"must be at most weight_max = {wmax:g}")
    refuse("reward", reward, reward < rmin, f"must be at least reward_min = {rmin:g}")
    refuse("reward", reward, reward > rmax, f"must be at most reward_max = {rmax:g}")

    b = multiplier(weight, wmin, wmax)
    q, unseen = likelihood_weights(weight, b)
    unit = rmax - rmin
    carried = float((weight * reward * q).sum())
    if not np.isfinite([carried, unit]).all():
        refuse_overflow(reward, "el")
    radius = float(fdtri(1, logs.n - 1, 1.0 - delta)) / 2.0
    options = {"weight_min": wmin, "weight_max": wmax, "reward_min": rmin, "reward_max": rmax, "rho": rho}
    lower = rmin + unit * smallest_value(weight * ((reward - rmin) / unit), weight, wmin, wmax, b, radius)
    upper = rmax - unit * smallest_value(weight * ((rmax - reward) / unit), weight, wmin, wmax, b, radius)
    details = {
        "vmin": carried + unseen * rmin,
        "vmax": carried + unseen * rmax,
        "multiplier": b,
        "unseen_mass": unseen,
    }
    return conclude("el", seen, carried + unseen * rho, (lower, upper), delta, ASYMPTOTIC, options, details)


def multiplier(weight: Floats, wmin: float, wmax: float) -> float:
    r"""Multiplier b that maximizes :math:`\sum_i \log(1 + b (w_i - 1))` with 1 + b (w - 1) >= 0 on [wmin, wmax].

    Parameters
    ----------
    weight : ndarray, shape (n,)
        Ratios in [wmin, wmax].
    wmin, wmax : float
        Extreme ratios that are possible, 0 <= wmin < 1 < wmax; wmax may be infinite.

    Returns
    -------
    float
        The multiplier b.

    Notes
    -----
    The maximum likelihood weights are :math:`q_i = 1 / (n (1 + b (w_i - 1)))`; they never exceed one, which brackets b.

    References
    ----------
    arXiv 1906.03323, dual of the maximum likelihood problem; its beta is n b.

    Examples
    --------
    >>> round(multiplier(np.array([0.0, 0.0, 2.0]), 0.0, 10.0), 6)
    -0.111111
    """
    away = weight - 1.0
    largest = 1.0 - 1.0 / len(weight)
    low, high = -1.0 / (wmax - 1.0), 1.0 / (1.0 - wmin)
    if away.max() > 0:
        low = max(low, -largest / float(away.max()))
    if away.min() < 0:
        high = min(high, -largest / float(away.min()))

    def slope(b: float) -> float:
        return float((away / (1.0 + b * away)).mean())

    if low >= high or slope(low) <= 0.0:
        return low
    if slope(high) >= 0.0:
        return high
    return float(scipy.optimize.brentq(slope, low, high, xtol=1e-300, rtol=8.9e-16, maxiter=1000))


def likelihood_weights(weight: Floats, b: float) -> tuple[Floats, float]:
    """Probabilities ``(n,)`` of the observed rounds, and the importance mass 1 - sum w q that no round carries."""
    q = 1.0 / (len(weight) * (1.0 + b * (weight - 1.0)))
    return q, max(0.0, 1.0 - float((weight * q).sum()))


def smallest_value(terms: Floats, weight: Floats, wmin: float, wmax: float, b: float, radius: float) -> float:
    r"""Smallest E[t] over the distributions whose log-likelihood is within ``radius`` of the largest.

    With t = w (r - rmin) >= 0 this is the value above rmin, and the problem
    :math:`\max_{u, v \ge 0} \exp\{\frac1n \sum_i \log s_i - \frac1n \sum_i \log(1 + b (w_i - 1)) - \Delta / n\}
    - s(1)`, where s_i = s(w_i) + t_i and s is the affine function of w with values u at wmin and v at wmax (slope v
    where wmax is infinite).

    Parameters
    ----------
    terms, weight : ndarray, shape (n,)
        The terms t, and the ratios.
    wmin, wmax : float
        As in :func:`multiplier`.
    b : float
        The result of :func:`multiplier`.
    radius : float
        Delta > 0.

    Returns
    -------
    float
        The smallest value.

    Raises
    ------
    RuntimeError
        The Newton iteration does not reach its tolerance (never seen).

    References
    ----------
    arXiv 1906.03323, dual of the lower confidence bound, in the variables u = g + wmin (b + rmin), v likewise.

    Examples
    --------
    >>> w, r = np.array([2.0, 0.0, 2.0, 0.0]), np.array([1.0, 0.0, 1.0, 1.0])
    >>> round(smallest_value(w * r, w, 0.0, 10.0, multiplier(w, 0.0, 10.0), 1.0), 4)
    0.4126
    """
    if not terms.any():
        return 0.0
    basis, price = _affine(weight, wmin, wmax)
    offset = float(np.log1p(b * (weight - 1.0)).mean()) + radius / len(weight)
    # The geometric mean is below the arithmetic one: f < factor mean(t) / (1 - most factor).
    factor, most = np.exp(-offset), float((basis.mean(axis=1) / price).max())
    if factor * (1.0 + _TOLERANCE * most) <= _TOLERANCE:
        return 0.0
    corners = [1.0 + b * (wmin - 1.0), b if np.isinf(wmax) else 1.0 + b * (wmax - 1.0)]
    size = float(np.sqrt((terms**2).mean())) * max(1.0, np.sqrt(len(weight) / (2.0 * radius)))
    return _maximize(basis, price, terms, offset, size * np.maximum(corners, 0.0))


def _affine(weight: Floats, wmin: float, wmax: float) -> tuple[Floats, Floats]:
    """Coefficients of u and v in s(w_i), ``(2, n)``, and in s(1), ``(2,)``."""
    if np.isinf(wmax):
        return np.stack([np.ones_like(weight), weight - wmin]), np.array([1.0, 1.0 - wmin])
    width = wmax - wmin
    return np.stack([wmax - weight, weight - wmin]) / width, np.array([wmax - 1.0, 1.0 - wmin]) / width


def _maximize(basis: Floats, price: Floats, terms: Floats, offset: float, start: Floats) -> float:
    """Active-set Newton ascent of the concave f(x) = exp(mean log(x basis + terms) - offset) - price x, x >= 0."""

    def value(x: Floats) -> float:
        s = x @ basis + terms
        return float(np.exp(np.log(s).mean() - offset) - price @ x) if s.min() > 0 else -np.inf

    x, now, free = start, value(start), start > 0
    for _ in range(_MAX_STEPS):
        s = x @ basis + terms
        likelihood = float(np.exp(np.log(s).mean() - offset))
        shares = basis / s
        slope = likelihood * shares.mean(axis=1) - price
        curvature = np.asarray(likelihood * np.cov(shares, bias=True), dtype=np.float64)
        floor = 1e-30 * likelihood * (shares**2).mean(axis=1) + 1e-200
        noise = 8.0 * np.finfo(float).eps * (likelihood + float(price @ x))
        allowed = _TOLERANCE * float(terms.mean()) + noise
        if (slope <= 0).all() and -float(slope @ x) <= allowed:  # f is concave: it is nowhere larger by more
            return max(0.0, now)
        step = _newton_step(slope, curvature, floor, free)
        outward = free & (x == 0.0) & (step < 0)
        if outward.any():
            step = _newton_step(slope, curvature, floor, free & ~outward)
        gain = float(slope @ step)
        if gain <= allowed:
            released = ~free & (slope > 1e-12 * price)
            if not released.any():
                return max(0.0, now)
            free = free | released
            continue
        reach = np.divide(x, -step, out=np.full(2, np.inf), where=step < 0)
        length = min(1.0, float(reach.min()))
        end = np.where(reach <= length, 0.0, x + length * step)
        if (end @ basis + terms).min() <= 0:
            length *= _STEP_TO_ZERO
            end = x + length * step
        while (then := value(end)) < now + 1e-4 * length * gain - noise:
            length /= 2.0
            if length < 1e-12:
                raise RuntimeError("empirical likelihood: the interval's dual problem allows no further step")
            end = np.maximum(x + length * step, 0.0)
        x, now, free = end, then, free & (end > 0)
    raise RuntimeError("empirical likelihood: the interval's dual problem did not converge")


def _newton_step(slope: Floats, curvature: Floats, floor: Floats, free: NDArray[np.bool_]) -> Floats:
    """Ascent direction on the free variables, from a ridge of 1e-12 on the correlation matrix."""
    scale = np.sqrt(np.maximum(np.diag(curvature), floor))
    matrix = curvature / np.outer(scale, scale) * np.outer(free, free)
    np.fill_diagonal(matrix, 1.0 + 1e-12)
    step: Floats = np.linalg.solve(matrix, np.where(free, slope / scale, 0.0)) / scale
    return np.where(free, step, 0.0)
