r"""KL estimators in a loss on old data: the stable branch of a penalty that is not convex in the ratio.

Let u = log(pi/nu) and :math:`\rho = \nu/q`. For an estimator k(u) averaged over samples of q without a ratio, the slope
of action a's surrogate in its ratio pi/q is :math:`F' = A - (\beta/\rho)\, p(u)` with :math:`p(u) = k'(u) e^{-u}`: p
rises from -infinity to its top at ``turn`` and falls again. From the left the first crossing F' = lam is a stable
answer, and it falls in lam; one scalar normalizes. Derivation for the k3 of GRPO (arXiv 2402.03300) and the k2 of arXiv
2512.21852.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import lambertw

from pessimism.arrays import Array, to_numpy
from pessimism.closed_forms import separable
from pessimism.core.bandit import Bandit
from pessimism.core.objective import Objective
from pessimism.core.solution import Solution


@dataclass(frozen=True)
class Penalty:
    """Slope p(u) of a penalty, its top at u = ``turn``, and the inverse of its rising part."""

    slope: Callable[[Array], Array]
    inverse: Callable[[Array], Array]
    turn: float
    top: float

    def first(self, y: Array) -> Array:
        """Smallest u with p(u) = y, +inf where p stays below y."""
        return np.where(y > self.top, np.inf, self.inverse(np.minimum(y, self.top)))


# k2 = u^2/2, p = u e^-u; k3 = e^-u - 1 + u, p = (1 - e^-u) e^-u.
K2 = Penalty(lambda u: u * np.exp(-u), lambda y: -lambertw(-y).real, 1.0, float(np.exp(-1.0)))
K3 = Penalty(
    lambda u: -np.expm1(-u) * np.exp(-u),
    lambda y: np.log(2.0) - np.log1p(np.sqrt(np.maximum(1.0 - 4.0 * y, 0.0))),
    float(np.log(2.0)),
    0.25,
)


def stable_branch(
    bandit: Bandit,
    objective: Objective,
    advantage: Array,
    beta: float,
    penalty: Penalty,
    clip: tuple[Array | float, Array | float] | None = None,
    unseen: bool = False,
) -> Solution:
    """Fixed point with every action at its first crossing; rows without one are NOT_COVERED.

    With ``unseen``, where the mass at lam = 0 is less than one, that is the target, and the rest leaks. ``clip`` holds
    the bounds of log(pi/q), numbers or arrays ``(N, K)``, beyond which the advantage is cut off: above the upper one
    where A > 0, below the lower one where A < 0. With lam >= 0 it is then the only fixed point and the best policy,
    since no action gains beyond it, unless one that has not reached its bound would stay there, too, past the top of p:
    rows with such an action are NOT_COVERED.
    """
    q, nu, A = (to_numpy(a) for a in (bandit.behavior, bandit.reference, advantage))
    seen = q > 0
    A = np.where(seen, A, 0.0)
    share = np.where(seen, np.where(seen, nu, 1.0) / np.where(seen, q, 1.0), 1.0)
    nu = np.where(seen, nu, 0.0)
    if clip is None:
        edge, before, beyond = np.full_like(A, np.inf), A, A
    else:
        log_share = 0.0 if bandit.own_reference is None else np.log(share)
        edge = np.where(A > 0, clip[1], clip[0]) - log_share
        before, beyond = np.maximum(A, 0.0), np.minimum(A, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        at_edge = penalty.slope(np.maximum(np.minimum(edge, 700.0), penalty.turn))

    def answer(lam: Array, row: Array) -> Array:
        """Log-ratios u ``(n, K)`` for multipliers ``(n,)`` of the rows ``(n,)``."""
        scale, bound = share[row] / beta, edge[row]
        early, late = (scale * (part[row] - lam[:, None]) for part in (before, beyond))
        u = penalty.first(early)
        past = np.where(late > at_edge[row], np.inf, penalty.first(late))
        return np.where(seen[row], np.where(u <= bound, u, np.maximum(past, bound)), 0.0)

    total = np.sum(nu, axis=-1)
    total = np.where(np.abs(total - 1.0) <= 1e-14 * A.shape[-1], 1.0, total)

    def mass(lam: Array, row: Array) -> Array:
        with np.errstate(over="ignore"):
            return total[row] + np.sum(nu[row] * np.expm1(answer(lam, row)), axis=-1)

    # Below `low` some action has no crossing at all; at `high` none is above its reference.
    ends = np.minimum(before - beta / share * penalty.top, beyond - beta / share * at_edge)
    low = np.max(np.where(seen, ends, -np.inf), axis=-1)
    high = np.maximum(np.max(A, axis=-1), 0.0)
    low = low - 1e-6 * (np.abs(low) + high + beta)
    lam = separable.normalizing_multiplier(mass, low, high)
    rows = np.arange(len(lam))
    missing = 1.0 - mass(np.zeros_like(lam), rows)
    leaks = unseen & (missing > 1e-13)
    lam = np.where(leaks, 0.0, lam)
    u = answer(lam, rows)
    with np.errstate(invalid="ignore"):  # 0 times infinity, where the behavior has no mass
        stays = before - beta / share * at_edge > lam[:, None]
    twice = seen & (A > 0) & np.isfinite(edge) & (edge > penalty.turn) & (u < edge) & stays
    found = (leaks | (np.abs(mass(lam, rows) - 1.0) <= 1e-13)) & ~np.any(twice, axis=-1)
    u = np.where(found[:, None], u, 0.0)
    return separable.wrap(bandit, objective, advantage, u, lam, leak=np.where(leaks, missing, 0.0), covered=found)
