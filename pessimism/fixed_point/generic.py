r"""The generic route: the fixed point :math:`q\, g(u, A) = \lambda \pi` of any objective, from its score weight alone.

Where the weight of an action depends on its own log-ratio only, each action is solved by a bracketed root finder for a
given lam, and lam by another for the normalization. Where the weight couples the actions of a group, the stationary
point of the logit field is found by Newton's method, with the gradient flow from the behavior as fallback.
Everything runs on the host in float64. Source: arXiv 2605.28150.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy

from pessimism.arrays import LOG_OF_NO_MASS, Array, finite_log
from pessimism.core.bandit import Bandit
from pessimism.core.objective import Objective
from pessimism.core.solution import Solution, Status
from pessimism.fixed_point.equilibrium import is_stable
from pessimism.fixed_point.flow import follow
from pessimism.fixed_point.rows import RowSolution, solve_each_row
from pessimism.fixed_point.score import LogitField, data_weight, stationarity

_DEEPEST, _HIGH = -1e8, 700.0  # log-ratios: last lower end of a search, and its upper end
_FAINT, _FAINTEST = -20.0, -300.0  # log-ratios: of an action with almost no mass, and of next to none
_AGREEMENT = 1e-8  # largest residual, relative to the score weights, of something called a fixed point


def fixed_point(bandit: Bandit, objective: Objective, advantage: Array, *, unseen: bool = False) -> Solution:
    """Induced target of any objective by its fixed point, row by row; shapes as in :class:`Solution`.

    With ``unseen`` and too little mass at the zeros of the weight (lam would be negative) those zeros are the target,
    and the missing mass leaks.

    Log-ratios below -700 of objectives whose weight carries the ratio itself underflow and count as no mass. A fixed
    point with non-monotone weights (the negative regime) is not looked for: its status is "not_converged".
    """

    def solve_row(field: LogitField) -> RowSolution:
        try:
            u, ended = _coupled_row(field) if objective.coupled else _separate_row(field, unseen)
        except _ExhaustedError:
            u, ended = np.full_like(field.q, np.nan), Status.NOT_CONVERGED
        lam = float(np.sum(field.q * field.plain(np.maximum(np.nan_to_num(u, nan=0.0), LOG_OF_NO_MASS))))
        return RowSolution(u, lam, ended, _missing(field, u) if unseen and ended == Status.CONVERGED else 0.0)

    return solve_each_row(bandit, objective, advantage, solve_row)


def _checked(field: LogitField, u: Array) -> tuple[Array, Status]:
    """Keep u if q g = lam pi holds with lam = E_q[g]; otherwise there is no fixed point and it becomes nan.

    On a jump of the weight the condition must hold for a weight between its two sides.
    """
    finite, policy = finite_log(u), np.exp(field.log_nu + u)
    kept = np.isfinite(u)

    def pull(at: Array) -> Array:
        return (field.q * field.plain(at[0]))[None]

    found = stationarity(pull, field.kinks, finite[None], field.log_share, policy[None], kept[None])
    lam = float(found.multiplier[0])
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is no solution
        low, high = found.drift(policy[None])
        residual = np.maximum(np.maximum(low, -high), 0.0).max()
    small = max(field.scale, 1e-300)
    ok = bool(residual <= _AGREEMENT * small and abs(policy.sum() - 1.0) <= _AGREEMENT)
    ok = ok and bool(np.all(_gain_of_faint(field, finite) - lam <= 1e-6 * (abs(lam) + small)))
    if not ok:
        return np.full_like(u, np.nan), Status.NO_TARGET
    return u, Status.VANISHING_SUPPORT if np.any(np.isneginf(u)) else Status.CONVERGED


def _gain_of_faint(field: LogitField, u: Array) -> Array:
    """Pull per mass ``(K,)`` of actions of almost none whose weight carries the ratio, -inf for the others.

    At no mass q g = lam pi holds for any lam; only a gain below lam says that the action does not return. It is
    read at the log-ratio itself, or where there is next to no mass if that is lower.
    """
    faint = u < _FAINT
    if not faint.any():
        return np.full_like(u, -np.inf)
    here, deeper = field.plain(u), field.plain(np.where(faint, u - 50.0, u))
    carries = faint & (np.abs(deeper) <= 1e-10 * np.abs(here) + 1e-290)
    at = np.where(carries, np.maximum(u, _FAINTEST), 0.0)
    return np.where(carries, field.q * field.plain(at) / (field.nu * np.exp(at)), -np.inf)


def _missing(field: LogitField, u: Array) -> float:
    missing = 1.0 - float(np.sum(field.nu * np.exp(u)))
    return missing if missing > _AGREEMENT else 0.0


def _separate_row(field: LogitField, unseen: bool) -> tuple[Array, Status]:
    """Bracketed roots of g(u, A) = lam (nu/q) e^u per action, and of the total mass in log|lam|."""
    from scipy.optimize import elementwise

    own = np.zeros_like(field.q) if field.weights is None else field.weights
    known = field.weights is not None and field.objective.takes_propensity

    def log_ratio(lam: Array) -> Array:
        """u of every action for multipliers (n,): (n, K); +inf where the weight stays above, -inf where below."""
        parts = np.broadcast_arrays(lam[:, None], field.advantage, field.log_share, own, *field.facts)

        def gap(u: Array, lam: Array, a: Array, share: Array, p: Array, *facts: Array) -> Array:
            left = dict(zip(field.objective.facts, facts, strict=True))  # of the actions still searched for
            objective = replace(field.objective, **left) if left else field.objective
            with np.errstate(over="ignore", invalid="ignore"):
                return data_weight(objective, u, a, p if known else None, share) - lam * np.exp(share + u)

        shape = parts[0].shape
        low = np.where(gap(np.full(shape, LOG_OF_NO_MASS), *parts) > 0, LOG_OF_NO_MASS, _DEEPEST)
        below = gap(low, *parts) <= 0
        above = gap(np.full(shape, _HIGH), *parts) > 0
        root = elementwise.find_root(gap, (low, np.full(shape, _HIGH)), args=tuple(parts)).x
        return np.where(below, -np.inf, np.where(above, np.inf, root))

    def log_mass(u: Array) -> Array:
        return np.logaddexp.reduce(field.log_nu + u, axis=-1)

    if len(field.q) == 1:
        return -field.log_nu, Status.CONVERGED
    # The sign of lam: at lam = 0 the mass is that of the zeros of g.
    at_zero = log_ratio(np.zeros(1))[0]
    sign = 1.0 if log_mass(at_zero) >= 0 else -1.0
    if unseen and sign < 0:
        return at_zero, Status.CONVERGED
    if field.scale == 0.0:  # nothing pulls: the reference is the fixed point
        return np.zeros_like(field.q), Status.CONVERGED

    def excess(log_lam: Array) -> Array:
        return np.clip(log_mass(log_ratio(sign * field.scale * np.exp(log_lam))), -1e4, 1e4)

    bracket = elementwise.bracket_root(
        excess, np.array([-1.0]), np.array([1.0]), xmin=np.array([-80.0]), xmax=np.array([80.0])
    )
    if not bool(bracket.success[0]):
        if np.abs(log_mass(at_zero)) < 1e-12:  # at the boundary lam is 0 to rounding
            return at_zero, Status.CONVERGED
        return np.full_like(field.q, np.nan), Status.NOT_CONVERGED
    lam = sign * field.scale * np.exp(elementwise.find_root(excess, bracket.bracket).x)
    u = log_ratio(lam)[0]
    if np.any(np.isposinf(u)):  # linear: all mass or none on either side of lam
        return np.full_like(field.q, np.nan), Status.NO_TARGET
    return _checked(field, u)


def _coupled_row(field: LogitField) -> tuple[Array, Status]:
    """Newton on the stationarity of the logit field in (u, lam), with unit mass as the last equation.

    Actions that it leaves with almost no mass and no gain are given up, and the others solved again without them.
    """
    start = np.zeros_like(field.q)
    u, ended = _checked(field, _without_the_faint(field, _newton(field, start, np.ones_like(field.q, dtype=bool))))
    if field.scale == 0.0 or (ended != Status.NO_TARGET and is_stable(field, finite_log(u), np.isfinite(u))):
        return u, ended
    run = follow(field, np.log(field.q))
    if run.equilibrium is not None and run.equilibrium.stable:
        return _checked(field, run.equilibrium.log_policy - field.log_nu)
    found = _newton(field, run.last - field.log_nu, np.ones_like(field.q, dtype=bool))
    return _checked(field, _without_the_faint(field, found))


class _ExhaustedError(Exception):
    """Raised when a search takes too long."""


def _without_the_faint(field: LogitField, u: Array) -> Array:
    if not np.all(np.isfinite(u)):
        return u
    lam = float(np.sum(field.q * field.plain(u)))
    # Where no mass is left at all, what would return gains more than lam; what gains less is given up.
    gain = _gain_of_faint(field, np.where(u < _FAINT, _FAINTEST, u))
    kept = np.isneginf(gain) | (gain >= lam - 1e-6 * (abs(lam) + field.scale))
    if np.all(kept):
        return u
    return np.where(kept, _newton(field, u, kept), -np.inf)


def _newton(field: LogitField, start: Array, kept: Array) -> Array:
    """Log-ratios that balance the kept actions, from a start; the others stay at next to no mass."""

    def whole(u: Array) -> Array:
        full = np.full((*u.shape[:-1], len(kept)), LOG_OF_NO_MASS)
        full[..., kept] = u
        return full

    def equations(x: Array) -> Array:
        if field.exhausted:
            raise _ExhaustedError
        x = np.moveaxis(x, 0, -1)  # scipy.differentiate puts the unknowns first
        u, lam = whole(x[..., :-1]), x[..., -1:]
        balance = (field.plain(u) - lam * np.exp(u + field.log_share))[..., kept]
        if on_policy:  # per mass, where no action is too rare to be seen
            balance = balance / np.exp(u + field.log_share)[..., kept]
        mass = np.sum(field.nu * np.exp(u), axis=-1, keepdims=True)
        return np.moveaxis(np.concatenate([balance, mass - 1.0], axis=-1), -1, 0)

    def jacobian(x: Array) -> Array:
        return scipy.differentiate.jacobian(equations, x).df

    on_policy = field.objective.on_policy
    first = np.append(start[kept], np.sum(field.q * field.plain(whole(start[kept]))))
    with np.errstate(all="ignore"):  # steps may overshoot; what is found is checked
        found: Array = scipy.optimize.root(equations, first, jac=jacobian, tol=1e-13).x
    return whole(found[:-1])
