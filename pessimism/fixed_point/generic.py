r"""The generic route: the fixed point :math:`q\, g(u, A) = \lambda \pi` of any objective, from its score weight alone.

Where the weight of an action depends on its own log-ratio only, each action is solved by a bracketed root finder for a
given lam, and lam by another for the normalization. Where the weight couples the actions of a group, the stationary
point of the logit field is found by Newton's method, with the gradient flow from the behavior as fallback.
Everything runs on the host in float64. Source: arXiv 2605.28150.
"""

from __future__ import annotations

import numpy as np
import scipy
from array_api_compat import device

from pessimism.arrays import Array, to_numpy
from pessimism.closed_forms.separable import lambert_fit
from pessimism.core.bandit import Bandit
from pessimism.core.objective import ObjectiveLike, is_coupled
from pessimism.core.solution import STATUS, Solution
from pessimism.fixed_point.flow import follow
from pessimism.fixed_point.score import LogitField, agreed_multiplier, beside, data_weight, group_weights

_DEEP, _DEEPEST, _HIGH = -700.0, -1e8, 700.0  # log-ratios: first lower end, last lower end, upper end
_FAINT, _FAINTEST = -20.0, -300.0  # log-ratios: of an action with almost no mass, and of next to none
_AGREEMENT = 1e-8  # largest residual, relative to the score weights, of something called a fixed point


class _Row(LogitField):
    """One problem on the behavior's support, every array ``(K,)``, and the conditions of its fixed point."""

    def __init__(self, objective: ObjectiveLike, q: Array, nu: Array, advantage: Array, weights: Array | None) -> None:
        super().__init__(objective, q, nu, advantage, weights)
        self.nu = nu

    def checked(self, u: Array) -> tuple[Array, str]:
        """Keep u if q g = lam pi holds with lam = E_q[g]; otherwise there is no fixed point, and u becomes nan.

        On a jump of the weight the condition must hold for a weight between its two sides.
        """
        finite = np.where(np.isneginf(u), _DEEP, u)
        policy = self.nu * np.exp(u)
        below, above = beside(lambda at: self.q * self.plain(at), self.objective, finite, self.log_share)
        lam = float(agreed_multiplier(below[None], above[None], policy[None], np.isfinite(u)[None])[0])
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is no solution
            low, high = np.minimum(below, above) - lam * policy, np.maximum(below, above) - lam * policy
            residual = np.maximum(np.maximum(low, -high), 0.0).max()
        small = max(self.scale, 1e-300)
        ok = bool(residual <= _AGREEMENT * small and abs(policy.sum() - 1.0) <= _AGREEMENT)
        ok = ok and bool(np.all(self.gain_of_faint(finite) - lam <= 1e-6 * (abs(lam) + small)))
        if not ok:
            return np.full_like(u, np.nan), "no_target"
        return u, "vanishing_support" if np.any(np.isneginf(u)) else "converged"

    def gain_of_faint(self, u: Array) -> Array:
        """Logit field per mass ``(K,)`` of actions of almost none whose weight carries the ratio, -inf for the others.

        At no mass q g = lam pi holds for any lam; only a gain below lam says that the action does not return. It is
        read at the log-ratio itself, or where there is next to no mass if that is lower.
        """
        faint = u < _FAINT
        if not faint.any():
            return np.full_like(u, -np.inf)
        here, deeper = self.plain(u), self.plain(np.where(faint, u - 50.0, u))
        carries = faint & (np.abs(deeper) <= 1e-10 * np.abs(here) + 1e-290)
        at = np.where(carries, np.maximum(u, _FAINTEST), 0.0)
        return np.where(carries, self.q * self.plain(at) / (self.nu * np.exp(at)), -np.inf)


def fixed_point(bandit: Bandit, objective: ObjectiveLike, advantage: Array, *, unseen: bool = False) -> Solution:
    """Induced target of any objective by its fixed point, row by row; shapes as in :class:`Solution`.

    With ``unseen`` and too little mass at the zeros of the weight (lam would be negative) those zeros are the target,
    and the missing mass leaks.

    Log-ratios below -700 of objectives whose weight carries the ratio itself underflow and count as no mass. A fixed
    point with non-monotone weights (the negative regime) is not looked for: its status is "not_converged".
    """
    q, reference, host_advantage = to_numpy(bandit.behavior), to_numpy(bandit.reference), to_numpy(advantage)
    given = group_weights(bandit, objective)
    weights = None if given is None else to_numpy(given)
    log_ratio, leak, multiplier = np.zeros_like(q), np.zeros(len(q)), np.full(len(q), np.nan)
    status = np.zeros(len(q), dtype=np.int8)
    coupled = is_coupled(objective)
    for i in range(len(q)):
        seen = q[i] > 0
        own = None if weights is None else weights[i, seen]
        row = _Row(objective, q[i, seen], reference[i, seen], host_advantage[i, seen], own)
        u, ended = _coupled_row(row) if coupled else _separate_row(row, unseen)
        log_ratio[i, seen] = u
        status[i] = STATUS.index(ended)
        multiplier[i] = np.sum(row.q * row.plain(np.maximum(np.nan_to_num(u, nan=0.0), _DEEP)))
        if unseen and ended == "converged":
            leak[i] = _missing(row, u)
    kappa, regime = lambert_fit(objective, q, reference, host_advantage, log_ratio, multiplier)
    regime[leak > 0] = -1
    found = (log_ratio, kappa, regime, leak, status)
    return Solution(*(bandit.xp.asarray(a, device=device(bandit.reward)) for a in found))


def _missing(row: _Row, u: Array) -> float:
    missing = 1.0 - float(np.sum(row.nu * np.exp(u)))
    return missing if missing > _AGREEMENT else 0.0


def _separate_row(row: _Row, unseen: bool) -> tuple[Array, str]:
    """Log-ratios by bracketed roots of g(u, A) = lam (nu/q) e^u per action, and of the total mass in log|lam|."""
    from scipy.optimize import elementwise

    own = np.zeros_like(row.q) if row.weights is None else row.weights
    known = row.weights is not None and getattr(row.objective, "takes_propensity", False)

    def log_ratio(lam: Array) -> Array:
        """Log-ratios u ``(n, K)`` for multipliers ``(n,)``; +inf where the weight stays above, -inf where below."""
        parts = np.broadcast_arrays(lam[:, None], row.advantage, row.log_share, own)

        def gap(u: Array, lam: Array, a: Array, share: Array, p: Array) -> Array:
            with np.errstate(over="ignore", invalid="ignore"):
                return data_weight(row.objective, u, a, p if known else None, share) - lam * np.exp(share + u)

        shape = parts[0].shape
        low = np.where(gap(np.full(shape, _DEEP), *parts) > 0, _DEEP, _DEEPEST)
        below = gap(low, *parts) <= 0
        above = gap(np.full(shape, _HIGH), *parts) > 0
        root = elementwise.find_root(gap, (low, np.full(shape, _HIGH)), args=tuple(parts)).x
        return np.where(below, -np.inf, np.where(above, np.inf, root))

    def log_mass(u: Array) -> Array:
        return np.logaddexp.reduce(row.log_nu + u, axis=-1)

    if len(row.q) == 1:
        return -row.log_nu, "converged"
    # The sign of lam: at lam = 0 the mass is that of the zeros of g.
    at_zero = log_ratio(np.zeros(1))[0]
    sign = 1.0 if log_mass(at_zero) >= 0 else -1.0
    if unseen and sign < 0:
        return at_zero, "converged"
    if row.scale == 0.0:  # nothing pulls: the reference is the fixed point
        return np.zeros_like(row.q), "converged"

    def excess(log_lam: Array) -> Array:
        return np.clip(log_mass(log_ratio(sign * row.scale * np.exp(log_lam))), -1e4, 1e4)

    bracket = elementwise.bracket_root(
        excess, np.array([-1.0]), np.array([1.0]), xmin=np.array([-80.0]), xmax=np.array([80.0])
    )
    if not bool(bracket.success[0]):
        if np.abs(log_mass(at_zero)) < 1e-12:  # at the boundary lam is 0 to rounding
            return at_zero, "converged"
        return np.full_like(row.q, np.nan), "not_converged"
    lam = sign * row.scale * np.exp(elementwise.find_root(excess, bracket.bracket).x)
    u = log_ratio(lam)[0]
    if np.any(np.isposinf(u)):  # linear: all mass or none on either side of lam
        return np.full_like(row.q, np.nan), "no_target"
    return row.checked(u)


def _coupled_row(row: _Row) -> tuple[Array, str]:
    """Log-ratios by Newton on the stationarity of the logit field in (u, lam), with unit mass as the last equation.

    Actions that it leaves with almost no mass and no gain are given up, and the others solved again without them.
    """
    start = np.zeros_like(row.q)
    u, ended = row.checked(_without_the_faint(row, _newton(row, start, np.ones_like(row.q, dtype=bool))))
    if ended != "no_target" or row.scale == 0.0:
        return u, ended
    run = follow(row, np.log(row.q))
    if run.rest is not None and run.rest.stable:
        return row.checked(run.rest.log_policy - row.log_nu)
    found = _newton(row, run.last - row.log_nu, np.ones_like(row.q, dtype=bool))
    return row.checked(_without_the_faint(row, found))


def _without_the_faint(row: _Row, u: Array) -> Array:
    if not np.all(np.isfinite(u)):
        return u
    lam = float(np.sum(row.q * row.plain(u)))
    # Where no mass is left at all, what would return gains more than lam; what gains less is given up.
    gain = row.gain_of_faint(np.where(u < _FAINT, _FAINTEST, u))
    kept = np.isneginf(gain) | (gain >= lam - 1e-6 * (abs(lam) + row.scale))
    if np.all(kept):
        return u
    return np.where(kept, _newton(row, u, kept), -np.inf)


def _newton(row: _Row, start: Array, kept: Array) -> Array:
    """Log-ratios that balance the kept actions, from a start; the others stay at next to no mass."""

    def whole(u: Array) -> Array:
        full = np.full((*u.shape[:-1], len(kept)), _DEEP)
        full[..., kept] = u
        return full

    def equations(x: Array) -> Array:
        x = np.moveaxis(x, 0, -1)  # scipy.differentiate puts the unknowns first
        u, lam = whole(x[..., :-1]), x[..., -1:]
        balance = (row.plain(u) - lam * np.exp(u + row.log_share))[..., kept]
        if on_policy:  # per mass, where no action is too rare to be seen
            balance = balance / np.exp(u + row.log_share)[..., kept]
        mass = np.sum(row.nu * np.exp(u), axis=-1, keepdims=True)
        return np.moveaxis(np.concatenate([balance, mass - 1.0], axis=-1), -1, 0)

    def jacobian(x: Array) -> Array:
        return scipy.differentiate.jacobian(equations, x).df

    on_policy = getattr(row.objective, "on_policy", False)
    first = np.append(start[kept], np.sum(row.q * row.plain(whole(start[kept]))))
    with np.errstate(all="ignore"):  # steps may overshoot; what is found is checked
        found: Array = scipy.optimize.root(equations, first, jac=jacobian, tol=1e-13).x
    return whole(found[:-1])
