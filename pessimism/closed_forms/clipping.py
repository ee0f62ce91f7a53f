r"""The optimal set of a clipped surrogate, and its element nearest to the behavior in KL(pi || mu).

The surrogate of action a is :math:`q A \min(w^{1/L}, 1+\epsilon)` where A > 0 and :math:`q A \max(w^{1/L}, 1-\epsilon)`
where A < 0; with L = 1 a linear program over the ratios w. Derived from the published loss of PPO (arXiv 1707.06347).
"""

from __future__ import annotations

import math

import numpy as np
from array_api_compat import array_namespace, device

from pessimism.arrays import Array, to_numpy
from pessimism.closed_forms import separable
from pessimism.core.bandit import Bandit
from pessimism.core.objective import Objective
from pessimism.core.solution import Solution


def clip_edges(eps_low: float, eps_high: float) -> tuple[float, float]:
    """Log-ratios at which the clip begins; -inf below if 1 - eps_low is not positive."""
    return math.log1p(-eps_low) if eps_low < 1 else -math.inf, math.log1p(eps_high)


def is_clipped(log_w: Array, advantage: Array, edges: tuple[float, float]) -> Array:
    """Mask of the samples at which the clipped surrogate is flat."""
    low, high = edges
    return ((advantage > 0) & (log_w > high)) | ((advantage < 0) & (log_w < low))


def clipped_surrogate(log_w: Array, advantage: Array, edges: tuple[float, float]) -> Array:
    """Clipped surrogate min(w A, clip(w) A)."""
    xp, (low, high) = array_namespace(log_w), edges
    held = xp.exp(xp.clip(log_w, None if math.isinf(low) else low, high))
    return xp.minimum(xp.exp(log_w) * advantage, held * advantage)


def optimal_set(
    bandit: Bandit, objective: Objective, advantage: Array, log_low: float, log_high: float, length: float
) -> Solution:
    """Nearest element of the set whose bounds on log w are ``log_low`` and ``log_high``.

    If the positive actions cannot all reach the upper bound, the negative ones have no mass and the positive ones share
    it. The result carries its derivative in the advantage, which is zero wherever the bounds decide.
    """
    q, A = to_numpy(bandit.behavior), to_numpy(advantage)
    # The mean is known to the rounding of E|A|: an advantage below that has no sign.
    sign = np.sign(np.where(np.abs(A) <= 16.0 * np.finfo(float).eps * np.vecdot(q, np.abs(A))[:, None], 0.0, A))
    better, equal, worse = (np.sum(np.where(sign == s, q, 0.0), axis=-1) for s in (1, 0, -1))
    gain, loss = np.expm1(log_high), np.expm1(log_low)
    room = equal + worse - gain * better
    fits = room > 8.0 * np.finfo(float).eps * (equal + worse)
    level = _level(better, equal, worse, gain, loss, log_low, log_high, fits)[:, None]
    log_w = np.where(sign > 0, np.maximum(log_high, level), np.where(sign < 0, np.minimum(log_low, level), level))
    several, lam = np.sum(q > 0, axis=-1) > 1, np.zeros(len(q))
    free = np.zeros_like(q, dtype=bool)
    if not np.all(fits):
        tight = ~fits
        rows = (q[tight], A[tight], sign[tight] > 0, log_high)
        log_w[tight], free[tight], several[tight] = _knapsack(*rows) if length == 1.0 else _concave(*rows, length)
        lam[tight] = 1.0
    found = separable.wrap(bandit, objective, advantage, log_w, lam, set_valued=several)
    log_ratio = found.log_ratio + 0.0 * advantage
    if length > 1.0 and np.any(free):
        log_ratio = _attached(bandit, advantage, log_ratio, free, length)
    if bandit.own_reference is not None:
        log_ratio = log_ratio - bandit.log_reference_ratio
    return found._replace(log_ratio=log_ratio, differentiable=True)


def _level(
    better: Array, equal: Array, worse: Array, gain: float, loss: float, log_low: float, log_high: float, fits: Array
) -> Array:
    """Logarithm ``(N,)`` of the free ratio t at which the mass max(1 + gain, t), t, min(1 + loss, t) of all is one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        down = np.log1p(np.where(fits & (equal + worse > 0), -gain * better / (equal + worse), 0.0))
        up = np.log1p(np.where(equal + better > 0, -loss * worse / (equal + better), 0.0))
        between = np.log1p(np.where(fits & (equal > 0), -(loss * worse + gain * better) / equal, 0.0))
    return np.where(down < log_low, down, np.where(up > log_high, up, np.clip(between, log_low, log_high)))


def _knapsack(q: Array, A: Array, positive: Array, log_high: float) -> tuple[Array, Array, Array]:
    """Log-ratios that fill the best actions first, each up to the bound; ties at the level may share the rest."""
    cap = np.exp(log_high)
    order = np.argsort(np.where(positive, -A, np.inf), axis=-1, kind="stable")
    filled = cap * np.cumsum(np.take_along_axis(np.where(positive, q, 0.0), order, axis=-1), axis=-1)
    last = np.minimum(np.sum(filled < 1.0, axis=-1), np.sum(positive, axis=-1) - 1)[:, None]
    level = np.take_along_axis(A, np.take_along_axis(order, last, axis=-1), axis=-1)
    above, at = positive & (level < A), positive & (level == A)
    mass_at = np.sum(np.where(at, q, 0.0), axis=-1)
    left = np.maximum(1.0 - cap * np.sum(np.where(above, q, 0.0), axis=-1), 0.0)
    with np.errstate(divide="ignore"):
        log_left = np.log(left / mass_at)[:, None]
    log_w = np.where(above, log_high, np.where(at, np.minimum(log_left, log_high), -np.inf))
    choice = (np.sum(at & (q > 0), axis=-1) > 1) & (left < cap * mass_at * (1.0 - 1e-12))
    return log_w, np.zeros_like(at), choice


def _concave(q: Array, A: Array, positive: Array, log_high: float, length: float) -> tuple[Array, Array, Array]:
    """Log-ratios of w = min(cap, c A^p) with p = length/(length - 1): the largest c for which the best k are capped."""
    with np.errstate(divide="ignore"):
        score = np.where(positive & (q > 0), np.log(np.where(positive, A, 1.0)), -np.inf) * (length / (length - 1.0))
        order = np.argsort(-score, axis=-1, kind="stable")
        ranked, log_q = (np.take_along_axis(a, order, axis=-1) for a in (score, np.log(q)))
        tail = np.logaddexp.accumulate((ranked + log_q)[:, ::-1], axis=-1)[:, ::-1]
        held = np.exp(log_high) * (np.cumsum(np.exp(log_q), axis=-1) - np.exp(log_q))
        scale = np.log(np.maximum(1.0 - held, 0.0)) - np.where(np.isneginf(tail), np.inf, tail)
        # The first rank that stays below the bound although the better ones are held at it.
        under = np.isneginf(ranked) | (ranked + scale <= log_high)
    capped = np.argmax(under, axis=-1)
    log_c = np.take_along_axis(scale, capped[:, None], axis=-1)
    rank = np.argsort(order, axis=-1)
    is_capped = rank < capped[:, None]
    free = positive & ~is_capped & (q > 0)
    log_w = np.where(is_capped, log_high, np.where(free, score + log_c, -np.inf))
    return log_w, free, np.zeros(len(q), dtype=bool)


def _attached(bandit: Bandit, advantage: Array, log_ratio: Array, free: Array, length: float) -> Array:
    """Log-ratios whose free ones are written so that autograd sees the advantage: they keep their common mass."""
    xp = bandit.xp
    mask = xp.asarray(free, device=device(bandit.reward))
    power = length / (length - 1.0)
    score = power * xp.log(xp.where(mask, advantage, xp.ones_like(advantage)))
    low = xp.full_like(score, -xp.inf)
    top = xp.max(xp.where(mask, score, low), axis=-1, keepdims=True)
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    weight = xp.where(mask, bandit.behavior * xp.exp(xp.where(mask, score - top, low)), xp.zeros_like(score))
    held = xp.where(mask | xp.isinf(log_ratio), xp.zeros_like(score), bandit.behavior * xp.exp(log_ratio))
    total = xp.sum(weight, axis=-1, keepdims=True)
    total = xp.where(total > 0, total, xp.ones_like(total))
    left = 1.0 - xp.sum(held, axis=-1, keepdims=True)
    left = xp.where(left > 0, left, xp.ones_like(left))
    return xp.where(mask, score - top - xp.log(total) + xp.log(left), log_ratio)
