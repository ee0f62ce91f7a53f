r"""Equilibria of the gradient flow of one problem, some actions perhaps without mass.

In log-probabilities the gradient flow is :math:`\dot{\log \pi_a} = F_a - \sum_b \pi_b F_b` with the logit field
:math:`F_a = q_a g_a - \pi_a \sum_b q_b g_b` (arXiv 2605.28150). It is in equilibrium where F is equal on the actions
that keep mass and smaller on those that lose it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy

from pessimism.arrays import LOG_OF_NO_MASS, Array
from pessimism.fixed_point.score import BAND, LogitField

_DEEPEST = -1e8  # log-ratio down to which an action is sought that stops without a mass that float64 knows
_FAINT = np.log(1e-6)  # log-probability below which a falling action may be on its way out
_STILL = 1e-11  # of the pulls, below which a flow moves no more
_NEAR = 1e-3  # distance in log-probabilities from which Newton may finish what the flow began


class Equilibrium(NamedTuple):
    """Equilibrium of a flow.

    On a saddle it is not stable: a flow that begins exactly between equal actions gets there, none beside it does.

    Attributes
    ----------
    log_policy : Array, shape (K,)
        Log-probabilities, -inf for actions that lose all mass.
    multiplier : float
        Multiplier lam.
    vanishes : bool
        Whether the logit field vanishes there.
    stable : bool
        Whether a flow that begins close by returns.
    """

    log_policy: Array
    multiplier: float
    vanishes: bool
    stable: bool = True


def find_equilibrium(pull: LogitField, log_policy: Array) -> Equilibrium | None:
    """Equilibrium that a flow which has come to ``log_policy`` will reach, None while it is not close to one.

    Newton's method must end close by; where it is not stable the flow must have stopped. An action of next to no mass
    that still falls has lost it for good if its drift stays negative all the way down, the others in equilibrium;
    otherwise it stops where the drift changes sign.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return _find(pull, log_policy)


def _find(pull: LogitField, log_policy: Array) -> Equilibrium | None:
    field = pull.field(log_policy)
    if not np.all(np.isfinite(field)):
        return None
    faint = (log_policy < _FAINT) & (pull.drift(log_policy) < 0)
    if not np.any(faint) and np.abs(field).max() <= 1e-13 * pull.scale:
        return _finished(pull, log_policy, ~faint) or Equilibrium(log_policy, _total(pull, log_policy), True)
    return _finished(pull, log_policy, ~faint)


def _total(pull: LogitField, log_policy: Array) -> float:
    return float(np.sum(pull.q * pull.weight(log_policy - pull.log_nu)))


def _finished(pull: LogitField, log_policy: Array, near: Array) -> Equilibrium | None:
    """Equilibrium by Newton: the actions ``near`` where they are, each other one where its fall ends, if it does."""
    start = log_policy - pull.log_nu
    kept, u = near.copy(), np.where(near, start, LOG_OF_NO_MASS)
    for _ in range(6):
        found = _newton(pull, u, kept)
        if found is None or np.abs(found[0] - start)[near].max() > _NEAR:
            return None
        u, lam = found
        settled = True
        for action in np.flatnonzero(~near):
            if pull.exhausted:
                return None
            stop = _stops(pull, u, lam, kept, int(action), float(start[action]))
            at = LOG_OF_NO_MASS if stop is None else stop
            if kept[action] != (stop is not None) or abs(at - u[action]) > 1e-3 * abs(at):
                settled, kept[action], u[action] = False, stop is not None, at
        if settled:
            break
    if not (settled and _holds(pull, u, lam, kept)):
        return None
    stable = is_stable(pull, u, kept)
    if not stable and np.abs(pull.field(log_policy)).max() > _STILL * pull.scale:
        return None
    gone = (pull.q * pull.plain(u))[~kept]
    there = np.where(kept, u + pull.log_nu, -np.inf)
    return Equilibrium(there, lam, bool(np.abs(gone).sum() <= 1e-9 * pull.scale), stable)


def _on_both_sides(pull: LogitField, u: Array, kept: Array) -> tuple[Array, Array]:
    """Least and largest drift ``(K,)``, short of -lam pi, that the weights on the two sides of a jump allow."""
    level = _level(pull.q * pull.plain(u), kept)
    below, above = (pull.q * pull.plain(u + side) - level for side in (-2.0 * BAND, 2.0 * BAND))
    return np.minimum(below, above), np.maximum(below, above)


def _holds(pull: LogitField, u: Array, lam: float, kept: Array) -> bool:
    """Whether each action on a jump needs a weight between those of its two sides to stay there."""
    held = pull.on_kink(u)[0] & kept
    if not np.any(held):
        return True
    (least, most), needed = _on_both_sides(pull, u, kept), lam * np.exp(pull.log_nu + u)
    slack = 1e-4 * pull.scale
    return bool(np.all(((needed >= least - slack) & (needed <= most + slack))[held]))


def _level(pulls: Array, kept: Array) -> Array:
    """Common drift of the kept logits: the actions without mass are still pulled, and share that among them."""
    return -np.sum(np.where(kept, 0.0, pulls), axis=-1, keepdims=True) / np.count_nonzero(kept)


def _newton(pull: LogitField, u: Array, kept: Array) -> tuple[Array, float] | None:
    """Root ``(u, lam)`` of q g - lam pi = level on the kept actions, those on a jump staying there, with unit mass."""
    held, u = pull.on_kink(u)
    free = kept & ~held
    if not np.any(free):
        # All on jumps: lam may be anything that each of them allows.
        policy = np.exp(pull.log_nu + u)
        least, most = (np.asarray(a)[kept] / policy[kept] for a in _on_both_sides(pull, u, kept))
        closes = abs(policy[kept].sum() - 1.0) <= 1e-9
        return (u, float(np.clip(0.0, least.max(), max(least.max(), most.min())))) if closes else None

    def equations(x: Array) -> Array:
        everywhere = np.broadcast_to(u, (*x.shape[:-1], len(u))).copy()
        everywhere[..., free] = x[..., :-1]
        pulls, policy = pull.q * pull.plain(everywhere), np.exp(pull.log_nu + everywhere)
        balance = pulls - x[..., -1:] * policy - _level(pulls, kept)
        mass = np.sum(np.where(kept, policy, 0.0), axis=-1, keepdims=True)
        return np.concatenate([balance[..., free], mass - 1.0], axis=-1)

    x = np.append(u[free], _slope(pull, u, free, kept))
    for _ in range(40):
        if pull.exhausted:
            return None
        slopes, value = jacobian(equations, x), equations(x)
        size = np.abs(slopes).max(axis=-1)
        size[size == 0] = pull.scale or 1.0
        if not (np.all(np.isfinite(slopes)) and np.all(np.isfinite(value))):
            return None
        step = np.linalg.lstsq(slopes / size[:, None], -value / size, rcond=1e-14)[0]
        x = x + step
        if np.abs(step[:-1]).max() <= 1e-14 * max(1.0, float(np.abs(x[:-1]).max())):
            break
    error = np.abs(equations(x)[:-1] / size[:-1]).max()
    if not max(error, np.abs(step[:-1]).max()) <= 1e-9 * max(1.0, float(np.abs(x[:-1]).max())):
        return None
    u = u.copy()
    u[free] = x[:-1]
    return u, float(x[-1])


def _slope(pull: LogitField, u: Array, free: Array, kept: Array) -> float:
    """Multiplier lam for which lam pi fits q g - level best on the free actions."""
    pulls, policy = pull.q * pull.plain(u), np.exp(pull.log_nu + u)
    return float(np.sum((pulls - _level(pulls, kept))[free]) / np.sum(policy[free]))


def _stops(pull: LogitField, u: Array, lam: float, kept: Array, action: int, start: float) -> float | None:
    """Log-ratio at or below ``start`` where the drift of one action changes sign against that of the others kept.

    They are in equilibrium at u, and what the action gains beyond lam times its mass they lose in equal parts.
    """
    others = kept.copy()
    others[action] = False
    count = np.count_nonzero(others)

    def rises(own: Array | float) -> Array:
        own = np.asarray(own)
        everywhere = np.broadcast_to(u, (*own.shape, len(u))).copy()
        everywhere[..., action] = own
        pulls = pull.q * pull.weight(everywhere)
        # What the lost actions gain beyond lam times a mass that is next to none, so that none of them holds another.
        excess = pulls - lam * np.exp(pull.log_nu + everywhere)
        own_excess = excess[..., action].copy()
        excess[..., action] = 0.0
        return own_excess * (1.0 + 1.0 / count) - _level(excess, others)[..., 0]

    # Below, a weight that carries the ratio has underflowed: only what rises still counts.
    shallow, deep = (
        np.linspace(start, min(start, LOG_OF_NO_MASS + 50.0), 300),
        -np.geomspace(-LOG_OF_NO_MASS, -_DEEPEST, 50),
    )
    grid = np.append(shallow, deep[deep < shallow[-1]])
    up = np.flatnonzero(np.append(rises(shallow) >= 0, rises(grid[len(shallow) :]) > 0))
    if len(up) == 0:
        return None
    if up[0] == 0:
        return start
    return float(scipy.optimize.brentq(lambda v: np.sign(rises(v)), grid[up[0]], grid[up[0] - 1], xtol=1e-10))


def is_stable(pull: LogitField, u: Array, kept: Array) -> bool:
    """Whether the flow returns to an equilibrium, in the directions of the actions that keep mass and sit on no jump.

    Actions on a jump stay there, pulled as much as that takes: that and the logits' constant sum fix lam and the
    common drift m, which are two linear equations.
    """
    held, _ = pull.on_kink(u)
    free, held = kept & ~held, kept & held
    if np.count_nonzero(free) < 2:
        return True

    def drift(x: Array) -> Array:
        everywhere = np.broadcast_to(u, (*x.shape[:-1], len(u))).copy()
        everywhere[..., free] = x
        pulls, policy = pull.q * pull.plain(everywhere), np.exp(pull.log_nu + everywhere)
        p, pi = pulls[..., free], policy[..., free]
        count, mass = np.count_nonzero(held), np.sum(policy[..., held], axis=-1)
        # E_pi of the free drifts, and the sum of all drifts on the logits.
        left = np.sum(pi * p, axis=-1), np.sum(pulls[..., ~held], axis=-1)
        squares, total = np.sum(pi * pi, axis=-1), np.sum(pi, axis=-1)
        determinant = (1.0 - mass) * total + count * squares
        lam = ((1.0 - mass) * left[1] + count * left[0]) / determinant
        m = (total * left[0] - squares * left[1]) / determinant
        return p - pi * lam[..., None] - m[..., None]

    growth = np.linalg.eigvals(jacobian(drift, u[free]))
    return bool(growth.real.max() <= 1e-7 * max(pull.scale, np.abs(growth).max()))


def jacobian(function: Callable[[Array], Array], x: Array) -> Array:
    """Jacobian ``(m, n)`` of a function of batches ``(..., n) -> (..., m)``, by central differences."""
    h = 1e-5 * np.maximum(1.0, np.abs(x))
    steps = np.diag(h)
    return np.asarray((function(x + steps) - function(x - steps)) / (2.0 * h[:, None])).T
