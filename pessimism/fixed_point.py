r"""The generic route: the fixed point :math:`q\, g(u, A) = \lambda \pi` of any objective, from its score weight alone.

Where the weight of an action depends on its own log-ratio only, each action is solved by a bracketed root finder for a
given lam, and lam by another for the normalization. Where the weight couples the actions of a group, the stationary
point of the logit field is found by Newton's method, with the gradient flow from the behavior as fallback.
Everything runs on the host in float64. Source: arXiv 2605.28150.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import device
from scipy import differentiate, optimize
from scipy.optimize import elementwise

from pessimism.bandit import Bandit, to_numpy
from pessimism.dynamics import flow_to_rest
from pessimism.objectives.base import ObjectiveLike, temperature_of
from pessimism.targets import STATUS, Solution

Array = Any

_DEEP, _DEEPEST, _HIGH = -700.0, -1e8, 700.0  # log-ratios: first lower end, last lower end, upper end
_AGREEMENT = 1e-8  # largest residual, relative to the score weights, of something called a fixed point


def fixed_point(bandit: Bandit, objective: ObjectiveLike, advantage: Array, *, unseen: bool = False) -> Solution:
    """Induced target of any objective by its fixed point, row by row; shapes as in :class:`Solution`.

    With ``unseen`` and too little mass at the zeros of the weight (lam would be negative) those zeros are the target,
    and the missing mass leaks.

    Log-ratios below -700 of objectives whose weight carries the ratio itself underflow and count as no mass. A fixed
    point with non-monotone weights (the negative regime) is not looked for: its status is "not_converged".
    """
    q = to_numpy(bandit.behavior)
    reference = to_numpy(bandit.reference)
    host_advantage = to_numpy(advantage)
    log_ratio, leak = np.zeros_like(q), np.zeros(len(q))
    kappa, regime, status = np.full(len(q), np.nan), np.zeros(len(q), dtype=np.int8), np.zeros(len(q), dtype=np.int8)
    coupled = is_coupled(objective)
    for row in range(len(q)):
        seen = q[row] > 0
        weights = None if bandit.sampled else q[row, seen]
        problem = (objective, q[row, seen], reference[row, seen], host_advantage[row, seen], weights)
        u, ended = _coupled_row(*problem) if coupled else _separate_row(*problem, unseen)
        log_ratio[row, seen] = u
        status[row] = STATUS.index(ended)
        kappa[row], regime[row] = _read_kappa(*problem[:4], u)
        if unseen and ended == "converged":
            missing = 1.0 - float(np.sum(problem[2] * np.exp(u)))
            if missing > _AGREEMENT:
                leak[row], regime[row] = missing, -1
    found = (log_ratio, kappa, regime, leak, status)
    return Solution(*(bandit.xp.asarray(a, device=device(bandit.reward)) for a in found))


def is_coupled(objective: ObjectiveLike) -> bool:
    """Whether a weight depends on more than its own action: as declared, else probed on a generic group."""
    declared = getattr(objective, "coupled", None)
    if declared is not None:
        return bool(declared)
    u, advantage, weights = np.array([-0.3, 0.1, 0.4]), np.array([0.2, -0.5, 0.7]), np.array([0.2, 0.3, 0.5])
    together = objective.score_weight(u, advantage, weights)
    alone = [objective.score_weight(u[i : i + 1], advantage[i : i + 1], None)[0] for i in range(3)]
    return not np.allclose(together, alone, rtol=1e-12, atol=0.0)


def effective_weight(
    objective: ObjectiveLike, log_ratio: Array, advantage: Array, log_share: Array, weights: Array | None
) -> Array:
    """Score weight against behavior data; on-policy sampling is weighting by pi/q = (nu/q) e^u, nu/q the share."""
    g = objective.score_weight(log_ratio, advantage, weights)
    return g * np.exp(log_ratio + log_share) if getattr(objective, "on_policy", False) else g


def _separate_row(
    objective: ObjectiveLike, q: Array, nu: Array, advantage: Array, weights: Array | None, unseen: bool
) -> tuple[Array, str]:
    """Bracketed roots of g(u, A) = lam (nu/q) e^u per action, and of the total mass in log|lam|."""
    log_share = np.log(nu) - np.log(q)

    def log_ratio(lam: Array) -> Array:
        """u of every action for multipliers (n,): (n, K); +inf where the weight stays above, -inf where below."""
        lam, a, share = np.broadcast_arrays(lam[:, None], advantage, log_share)

        def gap(u: Array, lam: Array, a: Array, share: Array) -> Array:
            with np.errstate(over="ignore", invalid="ignore"):
                return effective_weight(objective, u, a, share, None) - lam * np.exp(share + u)

        low = np.where(gap(np.full(a.shape, _DEEP), lam, a, share) > 0, _DEEP, _DEEPEST)
        below = gap(low, lam, a, share) <= 0
        above = gap(np.full(a.shape, _HIGH), lam, a, share) > 0
        root = elementwise.find_root(gap, (low, np.full(a.shape, _HIGH)), args=(lam, a, share)).x
        return np.where(below, -np.inf, np.where(above, np.inf, root))

    def log_mass(u: Array) -> Array:
        return np.logaddexp.reduce(np.log(nu) + u, axis=-1)

    # The sign of lam: at lam = 0 the mass is that of the zeros of g.
    at_zero = log_ratio(np.zeros(1))[0]
    sign = 1.0 if log_mass(at_zero) >= 0 else -1.0
    if unseen and sign < 0:
        return at_zero, "converged"
    scale = np.sum(q * np.abs(effective_weight(objective, np.zeros_like(q), advantage, log_share, None)))
    if scale == 0.0:  # nothing pulls: the behavior is the fixed point
        return np.zeros_like(q), "converged"

    def excess(log_lam: Array) -> Array:
        return np.clip(log_mass(log_ratio(sign * scale * np.exp(log_lam))), -1e4, 1e4)

    bracket = elementwise.bracket_root(
        excess, np.array([-1.0]), np.array([1.0]), xmin=np.array([-80.0]), xmax=np.array([80.0])
    )
    if not bool(bracket.success[0]):
        if np.abs(log_mass(at_zero)) < 1e-12:  # at the boundary lam is 0 to rounding
            return at_zero, "converged"
        return np.full_like(q, np.nan), "not_converged"
    lam = sign * scale * np.exp(elementwise.find_root(excess, bracket.bracket).x)
    u = log_ratio(lam)[0]
    return _checked(objective, q, nu, advantage, weights, u, scale)


def _checked(
    objective: ObjectiveLike, q: Array, nu: Array, advantage: Array, weights: Array | None, u: Array, scale: float
) -> tuple[Array, str]:
    """Keep u if q g = lam pi holds with lam = E_q[g]; otherwise there is no fixed point and it becomes nan."""
    finite = np.where(np.isneginf(u), _DEEP, u)
    pull = q * effective_weight(objective, finite, advantage, np.log(nu) - np.log(q), weights)
    policy = nu * np.exp(u)
    residual = np.abs(pull - policy * pull.sum()).max()
    ok = bool(residual <= _AGREEMENT * scale and abs(policy.sum() - 1.0) <= _AGREEMENT)
    if not ok:
        return np.full_like(u, np.nan), "no_target"
    return u, "vanishing_support" if np.any(np.isneginf(u)) else "converged"


def _coupled_row(
    objective: ObjectiveLike, q: Array, nu: Array, advantage: Array, weights: Array | None
) -> tuple[Array, str]:
    """Newton on the stationarity of the logit field in (u, lam), with unit mass as the last equation."""
    log_nu, log_share = np.log(nu), np.log(nu) - np.log(q)

    def weight(u: Array) -> Array:
        return effective_weight(objective, u, advantage, log_share, weights)

    def equations(x: Array) -> Array:
        x = np.moveaxis(x, 0, -1)  # scipy.differentiate puts the unknowns first
        u, lam = x[..., :-1], x[..., -1:]
        balance = weight(u) - lam * np.exp(u + log_share)
        return np.moveaxis(
            np.concatenate([balance, np.sum(nu * np.exp(u), axis=-1, keepdims=True) - 1.0], axis=-1), -1, 0
        )

    def jacobian(x: Array) -> Array:
        return differentiate.jacobian(equations, x).df

    def newton(start: Array) -> Any:
        x = np.append(start, np.sum(q * weight(start)))
        return optimize.root(equations, x, jac=jacobian, tol=1e-13)

    scale = float(np.sum(q * np.abs(weight(np.zeros_like(q)))))
    solution = newton(np.zeros_like(q))
    u, ended = _checked(objective, q, nu, advantage, weights, solution.x[:-1], max(scale, 1e-300))
    if ended == "converged" or scale == 0.0:
        return u, ended
    log_policy, rests = flow_to_rest(q, log_nu, weight, np.log(q))
    if not rests:
        return np.full_like(q, np.nan), "no_target"
    return _checked(objective, q, nu, advantage, weights, newton(log_policy - log_nu).x[:-1], scale)


def _read_kappa(objective: ObjectiveLike, q: Array, nu: Array, advantage: Array, u: Array) -> tuple[float, int]:
    """Kappa where the solution is of the Lambert family (by the identity, checked on every action), and the regime."""
    beta = temperature_of(objective)
    if beta is None or not np.all(np.isfinite(u)):
        finite = np.where(np.isnan(u), 0.0, np.maximum(u, _DEEP))
        weight = effective_weight(objective, finite, advantage, np.log(nu) - np.log(q), None)
        return float("nan"), int(np.sign(np.sum(q * weight)))
    z, w = advantage / beta, np.exp(u + np.log(nu) - np.log(q))
    tolerance = 1e-9 * (1.0 + np.abs(z).max())
    kappa = float(np.sum(q * (z - u)) / np.sum(q * w))
    if np.abs(u + kappa * w - z).max() <= tolerance:
        return kappa, int(np.sign(kappa)) if abs(kappa) > tolerance else 0
    if np.ptp(z - u) <= tolerance:
        return 0.0, 0
    # Not of the family: compare with the nominal target at the same temperature.
    nominal = z - np.logaddexp.reduce(np.log(nu) + z)
    farther = np.sum(nu * np.exp(nominal) * nominal) - np.sum(nu * np.exp(u) * u)
    return float("nan"), 0 if abs(farther) <= tolerance else int(np.sign(farther))
