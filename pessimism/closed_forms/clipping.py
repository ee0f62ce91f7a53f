r"""The optimal set of a clipped surrogate, its element nearest to the behavior in KL(pi || mu), and its KL-tilted best.

The surrogate of action a is :math:`q A \min(w^{1/L}, 1+\epsilon)` where A > 0 and :math:`q A \max(w^{1/L}, 1-\epsilon)`
where A < 0, L the tokens of its completion; with L = 1 a linear program over the ratios w. Derived from the published
losses of PPO (arXiv 1707.06347) and GSPO (arXiv 2507.18071).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from pessimism.arrays import Array, to_numpy, to_numpy_float
from pessimism.closed_forms import separable
from pessimism.core.bandit import Bandit
from pessimism.core.objective import Objective, stop_gradient
from pessimism.core.solution import Solution


def clip_edges(eps_low: float, eps_high: float) -> tuple[float, float]:
    """Log-ratios at which the clip begins; -inf below if 1 - eps_low is not positive."""
    return math.log1p(-eps_low) if eps_low < 1 else -math.inf, math.log1p(eps_high)


def is_clipped(log_w: Array, advantage: Array, edges: tuple[float, float], dual: float | None = None) -> Array:
    """Mask of the samples at which the clipped surrogate is flat; ``dual`` is the ratio of a dual clip, if there is."""
    low, high = edges
    flat = ((advantage > 0) & (log_w > high)) | ((advantage < 0) & (log_w < low))
    return flat if dual is None else flat | ((advantage < 0) & (log_w > math.log(dual)))


def clipped_surrogate(log_w: Array, advantage: Array, edges: tuple[float, float], dual: float | None = None) -> Array:
    """Clipped surrogate min(w A, clip(w) A), where A < 0 no lower than dual A if there is a dual clip."""
    xp, (low, high) = array_namespace(log_w), edges
    held = xp.exp(xp.clip(log_w, None if math.isinf(low) else low, high))
    surrogate = xp.minimum(xp.exp(log_w) * advantage, held * advantage)
    return surrogate if dual is None else xp.where(advantage < 0, xp.maximum(surrogate, dual * advantage), surrogate)


def clip_kinks(edges: tuple[float, float], dual: float | None) -> tuple[float, ...]:
    """Log-ratios at which a clip begins; there is none below if 1 - eps_low is not positive."""
    return tuple(edge for edge in (*edges, *(() if dual is None else (math.log(dual),))) if math.isfinite(edge))


def clipped_tilt(
    bandit: Bandit, objective: Objective, advantage: Array, beta: float, edges: tuple[float, float], unseen: bool
) -> Solution:
    r"""Maximizer of the clipped surrogate less beta KL(pi || nu), by one scalar.

    With t = -lam/beta, an action is at log-ratio A/beta + t inside the clip and at t beyond it, or at the edge between
    the two: the median of the three. That rises in t, and t normalizes. With ``unseen``, where the mass at t = 0 is
    less than one, that is the target, and the rest leaks.
    """
    q, nu = (to_numpy(a) for a in (bandit.behavior, bandit.reference))
    seen = q > 0
    z = np.where(seen, to_numpy(advantage), 0.0) / beta
    nu = np.where(seen, nu, 0.0)
    with np.errstate(divide="ignore"):
        log_nu = np.log(nu)
    log_share = 0.0 if bandit.own_reference is None else np.where(seen, log_nu - np.log(np.where(seen, q, 1.0)), 0.0)
    edge = np.where(z > 0, edges[1], edges[0]) - log_share

    def answer(t: Array, row: Array) -> Array:
        inside, beyond = z[row] + t[:, None], np.zeros_like(z[row]) + t[:, None]
        return np.clip(edge[row], np.minimum(inside, beyond), np.maximum(inside, beyond))

    total = np.sum(nu, axis=-1)
    total = np.where(np.abs(total - 1.0) <= 1e-14 * z.shape[-1], 1.0, total)

    def mass(lam: Array, row: Array) -> Array:  # lam in units of beta
        return total[row] + np.sum(nu[row] * np.expm1(answer(-lam, row)), axis=-1)

    rows = np.arange(len(q))
    low, high = -np.max(np.maximum(-z, 0.0), axis=-1), np.max(np.maximum(z, 0.0), axis=-1)
    slack = 1e-9 * (high - low) + 1e-12
    t = -separable.normalizing_multiplier(mass, low - slack, high + slack)
    missing = 1.0 - mass(np.zeros_like(t), rows)
    leaks = unseen & (missing > 1e-13)
    t = np.where(leaks, 0.0, t)
    u = answer(t, rows)
    # Those at an edge stay there: the others have what is left, and t follows to the last digit.
    free = seen & (u != edge) & ~leaks[:, None]
    base = np.where(free, u - t[:, None], -np.inf)
    left = 1.0 - np.sum(np.where(seen & ~free, nu * np.exp(u), 0.0), axis=-1)
    some = np.any(free, axis=-1) & (left > 0)
    with np.errstate(divide="ignore"):
        exact = np.log(np.where(some, left, 1.0)) - np.logaddexp.reduce(
            np.where(some[:, None], log_nu + base, 0.0), axis=-1
        )
    t = np.where(some, exact, t)
    u = np.where(free, base + t[:, None], u)
    return separable.wrap(bandit, objective, advantage, u, -beta * t, leak=np.where(leaks, missing, 0.0))


def optimal_set(bandit: Bandit, objective: Objective, advantage: Array, log_low: float, log_high: float) -> Solution:
    """Nearest element of the set of a linear surrogate whose bounds on log w are ``log_low`` and ``log_high``.

    If the positive actions cannot all reach the upper bound, the negative ones have no mass and the positive ones share
    it. If all are negative, as a baseline of other groups may make them, the best take what the others leave at the
    lower bound. The result carries its derivative in the advantage, which is zero wherever the bounds decide.
    """
    q, A = to_numpy(bandit.behavior), to_numpy(advantage)
    sign = _signs(q, A)
    better, equal, worse = (np.sum(np.where(sign == s, q, 0.0), axis=-1) for s in (1, 0, -1))
    gain, loss = np.expm1(log_high), np.expm1(log_low)
    room = equal + worse - gain * better
    fits = room > 8.0 * np.finfo(float).eps * (equal + worse)
    level = _level(better, equal, worse, gain, loss, log_low, log_high, fits)[:, None]
    log_w = np.where(sign > 0, np.maximum(log_high, level), np.where(sign < 0, np.minimum(log_low, level), level))
    several, lam = np.sum(q > 0, axis=-1) > 1, np.zeros(len(q))
    if not np.all(fits):
        tight = ~fits
        log_w[tight], several[tight] = _knapsack(q[tight], A[tight], sign[tight] > 0, log_high)
        lam[tight] = 1.0
    failing = better + equal == 0
    if np.any(failing):
        log_w[failing], several[failing] = _least_bad(q[failing], A[failing], log_low)
        lam[failing] = -1.0
    found = separable.wrap(bandit, objective, advantage, log_w, lam, set_valued=several)
    log_ratio = found.log_ratio + 0.0 * advantage
    if bandit.own_reference is not None:
        log_ratio = log_ratio - bandit.log_reference_ratio
    return found._replace(log_ratio=log_ratio, differentiable=True)


def optimal_set_of_lengths(
    bandit: Bandit,
    objective: Objective,
    advantage: Array,
    clip: tuple[Any, Any],
    length: Any,
    *,
    by_length: bool = False,
) -> Solution:
    """Nearest element of the set of the surrogate in s = w^(1/L), the bounds on log s being ``clip``.

    Parameters
    ----------
    bandit : Bandit
        The problems, N of them.
    objective : Objective
        Whose target it is.
    advantage : Array, shape (N, K)
        Advantages.
    clip : tuple of float or Array, shape (N, 1)
        Bounds on log s; the lower one may be -inf.
    length : float or Array, shape (N, K)
        Tokens L of each completion, >= 1.
    by_length : bool, default False
        Whether the surrogate of a completion is multiplied by its length.

    Returns
    -------
    Solution
        If the positive actions cannot all reach their upper bounds L log(1 + eps), the negative ones have no mass and
        w = min(bound, c A^(L/(L - 1)) ...) maximizes what is left, which is concave. It carries its derivative in the
        advantage.
    """
    q, A = to_numpy(bandit.behavior), to_numpy(advantage)
    tokens = np.broadcast_to(to_numpy_float(length), q.shape)
    sign, seen = _signs(q, A), q > 0
    low, high = (tokens * to_numpy_float(edge) for edge in clip)
    log_w, fits = _nearest_with_room(q, sign, low, high)
    several = np.sum(seen, axis=-1) > 1
    free, power = np.zeros_like(seen), np.zeros_like(q)
    held = np.zeros_like(seen)
    if not np.all(fits):
        tight = ~fits
        with np.errstate(divide="ignore", invalid="ignore"):
            score = np.where(seen & (sign > 0), np.log(np.abs(A)), -np.inf) - (0.0 if by_length else np.log(tokens))
            power = tokens / (tokens - 1.0)
        log_w[tight], free[tight], held[tight] = _concave(q[tight], score[tight], power[tight], high[tight])
        several[tight] = np.sum(held[tight], axis=-1) > 1
    found = separable.wrap(bandit, objective, advantage, log_w, (~fits).astype(float), set_valued=several)
    log_ratio = found.log_ratio + 0.0 * advantage
    if np.any(free):
        log_ratio = _attached(bandit, advantage, log_ratio, q * np.exp(log_w), free, held, power)
    return found._replace(log_ratio=log_ratio, differentiable=True)


def _signs(q: Array, A: Array) -> Array:
    """Signs of the advantages; the mean is known to the rounding of E|A|, and one below that has no sign."""
    return np.sign(np.where(np.abs(A) <= 16.0 * np.finfo(float).eps * np.vecdot(q, np.abs(A))[:, None], 0.0, A))


def _nearest_with_room(q: Array, sign: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Log-ratios of `_nearest_in_box` where all positive actions can reach their upper bounds, else 0; and where."""
    with np.errstate(over="ignore", invalid="ignore"):  # a bound may be infinite where the behavior has no mass
        needed = np.sum(np.where((q > 0) & (sign > 0), q * np.expm1(high), 0.0), axis=-1)
    others = np.sum(np.where(sign > 0, 0.0, q), axis=-1)
    fits = others - needed > 8.0 * np.finfo(float).eps * others
    log_w = np.zeros_like(q)
    log_w[fits] = _nearest_in_box(q[fits], sign[fits], low[fits], high[fits])
    return log_w, fits


def _nearest_in_box(q: Array, sign: Array, low: Array, high: Array) -> Array:
    """Log-ratios max(high, t), t or min(low, t) by the sign of the advantage, with the one t that normalizes.

    The mass is piecewise linear in e^t, with a break where t passes the bound of an action: the breaks are sorted.
    """
    bound = np.where(sign > 0, high, np.where(sign < 0, low, np.inf))
    order = np.argsort(bound, axis=-1)
    b, ranked, mass = (np.take_along_axis(a, order, axis=-1) for a in (bound, sign, q))
    with np.errstate(over="ignore", invalid="ignore"):  # bounds of actions without mass may be infinite
        excess = np.where((ranked != 0) & (mass > 0), mass * np.expm1(b), 0.0)
    up, down = (np.where(ranked == s, mass, 0.0) for s in (1, -1))
    none = np.zeros((len(q), 1))

    def before(a: Array) -> Array:
        return np.concatenate([none, np.cumsum(a, axis=-1)], axis=-1)

    def after(a: Array) -> Array:
        return np.concatenate([np.cumsum(a[:, ::-1], axis=-1)[:, ::-1], none], axis=-1)

    # Between two breaks: the mass that moves with t, and the excess over one of what is held at its bound. Only terms
    # of one sign are added: what moves may be 1e-300 of the mass.
    moving = np.sum(np.where(sign == 0, q, 0.0), axis=-1, keepdims=True) + before(up) + after(down)
    fixed = after(np.where(ranked > 0, excess, 0.0)) + before(np.where(ranked < 0, excess, 0.0))
    moves = moving > 0
    with np.errstate(divide="ignore"):
        t = np.log1p(np.maximum(-fixed / np.where(moves, moving, 1.0), -1.0))
    last = np.concatenate([b, np.full_like(none, np.inf)], axis=-1)
    first = np.argmax((moves & (t <= last)) | np.isposinf(last), axis=-1)[:, None]
    start = np.concatenate([np.full_like(none, -np.inf), b], axis=-1)
    level = np.maximum(*(np.take_along_axis(a, first, axis=-1) for a in (t, start)))
    return np.where(sign > 0, np.maximum(high, level), np.where(sign < 0, np.minimum(low, level), level))


def optimal_box(
    bandit: Bandit, objective: Objective, advantage: Array, low: Array, high: Array, cap: float
) -> Solution:
    """Nearest element of the set of a surrogate whose bounds on log w, ``low`` and ``high``, differ between actions.

    The slope of the surrogate in w is A up to ``cap`` and A cap/w beyond it (a weight that is capped and not
    differentiated). If the positive actions cannot all reach their upper bounds, the others have no mass and the
    positive ones maximize what is left, which is concave.
    """
    q, A = to_numpy(bandit.behavior), to_numpy(advantage)
    sign, seen = _signs(q, A), q > 0
    log_w, fits = _nearest_with_room(q, sign, low, high)
    several, lam = np.sum(seen, axis=-1) > 1, np.zeros(len(q))
    for row in np.flatnonzero(~fits):
        up = np.flatnonzero(seen[row] & (sign[row] > 0))
        log_w[row] = -np.inf
        log_w[row, up], several[row] = _filled(q[row, up], A[row, up], high[row, up], cap)
        lam[row] = 1.0
    return separable.wrap(bandit, objective, advantage, log_w, lam, set_valued=several)


def _filled(q: Array, A: Array, high: Array, cap: float) -> tuple[Array, bool]:
    """Log-ratios ``(n,)`` of positive actions that have all the mass and no room; whether the level is shared freely.

    Above the level lam an action has w = cap A/lam if that is below its bound, else the bound; at it at most the cap.
    """
    bound = np.exp(high)
    most = np.minimum(bound, cap)

    def above(level: float) -> Array:
        return np.where(level < A, np.minimum(bound, cap * A / level), 0.0)

    levels = np.unique(A)[::-1]
    least, end = 0, len(levels)  # the first level at which the mass suffices, len(levels) if none does
    while least < end:
        middle = (least + end) // 2
        at = levels[middle]
        enough = q @ (above(at) + np.where(at == A, most, 0.0)) >= 1.0
        least, end = (least, middle) if enough else (middle + 1, end)
    level = levels[least] if least < len(levels) else 0.0
    over = above(level) if level > 0 else np.zeros_like(A)
    left = 1.0 - float(q @ over)
    with np.errstate(divide="ignore"):
        if level == 0.0 or left < 0.0:  # between two levels
            rises = level < A
            weight = np.where(rises, q * A, 0.0)
            return np.where(rises, np.log(A) + _water(weight, bound / A, 1.0), -np.inf), False
        at_level = level == A
        shared = _water(np.where(at_level, q, 0.0), most, left) if left > 0 else np.full_like(q, -np.inf)
        free = np.count_nonzero(at_level) > 1 and left < (q * most)[at_level].sum() * (1.0 - 1e-12)
        return np.where(at_level, shared, np.log(over)), bool(free)


def _water(measure: Array, bound: Array, mass: float) -> Array:
    """Logarithm of min(bound, t) with the t at which its sum under a measure is ``mass``; all arrays ``(n,)``."""
    total = measure.sum()
    unit = np.log(mass) - np.log(total)
    share = (measure / total)[None]
    return unit + _nearest_in_box(share, np.full_like(share, -1.0), (np.log(bound) - unit)[None], share)[0]


def _level(
    better: Array, equal: Array, worse: Array, gain: float, loss: float, log_low: float, log_high: float, fits: Array
) -> Array:
    """Logarithm ``(N,)`` of the free ratio t at which the mass max(1 + gain, t), t, min(1 + loss, t) of all is one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        down = np.log1p(np.where(fits & (equal + worse > 0), -gain * better / (equal + worse), 0.0))
        up = np.log1p(np.where(equal + better > 0, -loss * worse / (equal + better), 0.0))
        between = np.log1p(np.where(fits & (equal > 0), -(loss * worse + gain * better) / equal, 0.0))
    return np.where(down < log_low, down, np.where(up > log_high, up, np.clip(between, log_low, log_high)))


def _least_bad(q: Array, A: Array, log_low: float) -> tuple[Array, Array]:
    """Log-ratios of negative actions, all at the lower bound but the best, which have the rest; ties may share it."""
    best = (q > 0) & (np.max(np.where(q > 0, A, -np.inf), axis=-1, keepdims=True) == A)
    among, others = (np.sum(np.where(part, q, 0.0), axis=-1, keepdims=True) for part in (best, ~best))
    log_rest = np.log1p(-np.expm1(log_low) * others / among)
    return np.where(best, log_rest, log_low), np.count_nonzero(best, axis=-1) > 1


def _knapsack(q: Array, A: Array, positive: Array, log_high: float) -> tuple[Array, Array]:
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
    return log_w, choice


def _concave(q: Array, score: Array, power: Array, high: Array) -> tuple[Array, Array, Array]:
    """Log-ratios min(high, p (score - x)) with the one x = log lam that normalizes, p = L/(L - 1) of each action.

    Where p is infinite (L = 1) an action is full above x and empty below; those at x share what the others leave.
    Also masks of the actions below their bound, and of those at a jump. x is bracketed, and found by Newton's method
    in the logarithm of the mass, which halves the bracket where it leaves it.
    """
    linear, has = np.isinf(power), np.isfinite(score)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        log_q = np.log(q)
        full = np.where(has, score - np.where(linear, 0.0, high / power), np.inf)  # x below which it is at its bound

        def log_w(x: Array) -> Array:
            inner = np.where(linear, np.where(score > x, np.inf, -np.inf), power * (score - x))
            return np.where(has, np.minimum(high, inner), -np.inf)

        least, most = np.min(full, axis=-1, keepdims=True), np.max(score, axis=-1, keepdims=True)
        x = 0.5 * (least + most)
        for step in range(200):
            parts = log_q + log_w(x)
            mass = np.logaddexp.reduce(parts, axis=-1, keepdims=True)
            least, most = np.where(mass > 0, x, least), np.where(mass > 0, most, x)
            moving = has & ~linear & (x > full)
            slope = np.sum(np.where(moving, power * np.exp(parts - mass), 0.0), axis=-1, keepdims=True)
            newton = x + np.where(slope > 0, mass / slope, np.inf)
            middle = 0.5 * (least + most)
            following = np.where((newton >= least) & (newton <= most) & (step % 4 < 3), newton, middle)
            done = (np.abs(mass) <= 4e-16) | (most - least <= 4e-16 * np.maximum(1.0, np.abs(most)))
            if np.all(done):
                break
            x = np.where(done, x, following)
        width = 1e-14 * np.maximum(1.0, np.abs(x))
        jump = has & linear & (np.abs(score - x) <= width)
        x = np.where(np.any(jump, axis=-1, keepdims=True), np.max(np.where(jump, score, -np.inf), axis=-1)[:, None], x)
        found = np.where(jump, -np.inf, log_w(x))
        rest = 1.0 - np.sum(q * np.exp(found), axis=-1, keepdims=True)
        shared = np.log(np.maximum(rest, 0.0) / np.sum(np.where(jump, q, 0.0), axis=-1, keepdims=True))
        found = np.where(jump, np.minimum(shared, high), found)
    return found, has & ~linear & (found < high), jump


def _attached(
    bandit: Bandit, advantage: Array, log_ratio: Array, policy: Array, free: Array, held: Array, power: Array
) -> Array:
    """Log-ratios whose value stays and whose derivative in the advantage is that of p (log A - log lam).

    The free actions keep their common mass, unless those at a jump fix lam and take what they lose.
    """
    xp, place = bandit.xp, device(bandit.reward)
    rows = {"free": free, "held": held, "p": np.where(free, power, 0.0), "pi": policy}
    there = {name: xp.asarray(a, device=place) for name, a in rows.items()}
    log_a = xp.log(xp.where(there["free"] | there["held"], advantage, xp.ones_like(advantage)))
    change = log_a - stop_gradient(log_a)
    fixed = np.any(held, axis=-1, keepdims=True)
    share = np.where(fixed, held * policy, rows["p"] * policy * free)
    total = np.sum(share, axis=-1, keepdims=True)
    share = xp.asarray(share / np.where(total > 0, total, 1.0), device=place)
    moved = there["p"] * (change - xp.sum(share * change, axis=-1, keepdims=True))
    log_ratio = xp.where(there["free"], log_ratio + moved, log_ratio)
    mass = np.sum(np.where(held, policy, 0.0), axis=-1, keepdims=True)
    lost = xp.sum(there["pi"] * moved, axis=-1, keepdims=True) / xp.asarray(np.where(mass > 0, mass, 1.0), device=place)
    return xp.where(there["held"], log_ratio - lost, log_ratio)
