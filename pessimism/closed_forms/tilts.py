"""Closed forms: the policy that a family of objectives induces, as a log-ratio to the reference.

Each function takes a validated :class:`~pessimism.core.bandit.Bandit` and the advantage ``(N, K)`` and returns a
:class:`Solution`. docs/theory.md derives them; arXiv 2605.28150 is the source of the Lambert-tempered target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import device

from pessimism.arrays import Array, per_row, pick, put, to_numpy
from pessimism.closed_forms.dual_newton import solve_dual
from pessimism.closed_forms.duals import KappaDual, ShiftDual
from pessimism.closed_forms.negative_regime import Minimum, log_partition, negative_minima
from pessimism.closed_forms.regime import regime_of
from pessimism.core.bandit import Bandit
from pessimism.core.objective import stop_gradient
from pessimism.core.solution import NOT_COVERED, Solution, Status

if TYPE_CHECKING:
    from pessimism.core.bandit import Bandit


def nominal(bandit: Bandit, advantage: Array, beta: Any) -> Solution:
    r"""Nominal target :math:`\pi^* = \nu \exp(A/\beta) / Z`, the maximizer of E_pi[A] - beta KL(pi || nu)."""
    return _normalized(bandit, _below_best(bandit, advantage) / beta)


def nominal_policy(bandit: Bandit, reward: Array, beta: Any) -> Array:
    """Probabilities ``(N, K)`` of the nominal target."""
    log_policy = bandit.log_reference + nominal(bandit, reward, beta).log_ratio
    return bandit.xp.exp(bandit.masked(log_policy, -bandit.xp.inf))


def _below_best(bandit: Bandit, advantage: Array) -> Array:
    """Advantage measured from its largest on the support: what normalizes away must not cost digits at small beta."""
    return advantage - bandit.xp.max(bandit.masked(advantage, -bandit.xp.inf), axis=-1, keepdims=True)


def _normalized(bandit: Bandit, log_weight: Array) -> Solution:
    """Policy proportional to nu exp(log_weight) on the support of the behavior."""
    xp = bandit.xp
    terms = bandit.masked(bandit.log_reference + log_weight, -xp.inf)
    top = xp.max(terms, axis=-1)
    log_z = top + xp.log(xp.sum(xp.exp(terms - top[:, None]), axis=-1))
    zeros = xp.zeros_like(log_z)
    return Solution(
        log_ratio=log_weight - log_z[:, None],
        kappa=zeros,
        regime=xp.zeros_like(zeros, dtype=xp.int8),
        leak=zeros,
        status=xp.zeros_like(zeros, dtype=xp.int8),
        differentiable=True,
        mass=1.0 + 0.0 * log_z,
    )


def _seen_only(bandit: Bandit, z: Array) -> Array:
    """Values z with those of actions without probability, which no sum counts, moved into the range of the others."""
    xp = bandit.xp
    if bandit.full_support:
        return z
    filler = xp.vecdot(bandit.behavior, bandit.masked(z, 0.0))
    return xp.where(bandit.support, z, filler[:, None])


def lambert(bandit: Bandit, advantage: Array, beta: Any, *, unseen: bool = False, floor: float = 0.0) -> Solution:
    r"""Lambert-tempered target: :math:`\log w + \kappa w = A/\beta` with E_mu[w] = 1 (arXiv 2605.28150).

    It is the minimizer of E_q[(beta log(pi/nu) - A)^2] over policies. With a reference nu other than the behavior q it
    is the same problem around q with advantage A + beta log(nu/q). ``floor=c`` holds the term of ratios below c at
    kappa c. In the negative regime the mass 1 - Z leaks (``unseen=True``), or rows are NOT_COVERED: minimizers are
    several, and the flow from the reference decides.
    """
    xp = bandit.xp
    shift = bandit.log_reference_ratio
    z = advantage / beta if shift is None else advantage / beta + shift
    # The solver overwrites its z by u; rows outside the positive regime keep u = z.
    u = _seen_only(bandit, z)

    def rounding(rows: Array) -> Array:
        """Error of z beyond eps abs(z): eps^2 of the rewards for the baseline, eps for a ratio of references."""
        eps = xp.finfo(xp.float64).eps
        own = xp.take(beta, rows, axis=0) if getattr(beta, "ndim", 0) else beta
        error = 4.0 * eps**2 * xp.max(xp.abs(xp.take(bandit.reward, rows, axis=0)), axis=-1) / per_row(own)
        wide = error > eps  # rewards far apart, or in units of their spread
        if bool(xp.any(wide)):
            of_z = 4.0 * eps * xp.max(xp.abs(xp.take(u, rows, axis=0)), axis=-1)
            error = xp.where(wide, xp.minimum(error, of_z), error)
        if shift is None:
            return error
        size = xp.abs(xp.take(shift, rows, axis=0)) + xp.abs(xp.take(advantage, rows, axis=0) / own)
        return error + eps * xp.max(size, axis=-1)

    kappa, regime, done = solve_dual(xp, bandit.behavior, u, KappaDual(floor), rounding)
    leak, status, mass = xp.zeros_like(kappa), _status(xp, done), 1.0 + 0.0 * kappa
    level = regime == 0
    if bool(xp.any(level)):  # which are not normalized, but are policies to rounding as they are
        q, z = (pick(xp, a, level) for a in (bandit.behavior, u))
        mass = put(xp, mass, level, xp.vecdot(q, xp.exp(z)))
    negative = regime < 0
    if bool(xp.any(negative)):
        if unseen:
            q, log_q, z = (pick(xp, a, negative) for a in (bandit.behavior, bandit.log_behavior, u))
            leak = put(xp, leak, negative, -xp.expm1(log_partition(xp, q, log_q, z)))
        else:
            status = xp.where(negative, xp.full_like(status, NOT_COVERED), status)
    return Solution(u if shift is None else u - shift, kappa, regime, leak, status, mass=mass)


def minima(bandit: Bandit, advantage: Array, beta: Any) -> list[list[Minimum]]:
    """Every local minimizer of the squared loss of each row in the negative regime, lowest first, on the host.

    Log-ratios are those to the reference, 0 where the behavior has no mass.
    """
    shift = bandit.log_reference_ratio
    z = advantage / beta if shift is None else advantage / beta + shift
    q, z = to_numpy(bandit.behavior), to_numpy(_seen_only(bandit, z))
    moved = np.zeros_like(q) if shift is None else to_numpy(shift)
    return [
        [
            m._replace(log_ratio=np.where(q[row] > 0, m.log_ratio - moved[row], 0.0))
            for m in negative_minima(q[row], z[row])
        ]
        for row in range(len(q))
    ]


def lowest_minima(bandit: Bandit, advantage: Array, beta: Any) -> Solution:
    """Minimizer of lowest loss of each row in the negative regime; "not_converged" where none is found."""
    every = minima(bandit, advantage, beta)
    log_ratio = np.where(to_numpy(bandit.support), np.nan, 0.0)
    kappa, regime = np.full(len(every), np.nan), np.full(len(every), -1, dtype=np.int8)
    status = np.full(len(every), Status.NOT_CONVERGED, dtype=np.int8)
    for row, of_row in enumerate(every):
        if of_row:
            log_ratio[row], kappa[row], status[row] = of_row[0].log_ratio, of_row[0].kappa, Status.LOCAL_MINIMUM
    found = (log_ratio, kappa, regime, 0.0 * kappa, status)
    return Solution(*(bandit.xp.asarray(a, device=device(bandit.reward)) for a in found))


def truncated(bandit: Bandit, advantage: Array, beta: Any, cap: float) -> Solution:
    r"""Target of importance weights truncated at ``cap``: :math:`\log w + \kappa \max(w, c) = A/\beta`.

    Where no ratio exceeds the cap that is the nominal target: kappa 0 and the boundary. In the negative regime, which
    an advantage from elsewhere may make, rows are NOT_COVERED.
    """
    xp = bandit.xp
    straight, bent = nominal(bandit, advantage, beta), lambert(bandit, advantage, beta, floor=cap)
    reached = xp.any(bandit.support & (bent.log_ratio > float(np.log(cap))), axis=-1) | (bent.regime < 0)
    mixed = [
        xp.where(reached if a.ndim == 1 else reached[:, None], b, a)
        for a, b in zip(straight.rows, bent.rows, strict=True)
    ]
    log_ratio, kappa, regime, leak, status = mixed
    return Solution(log_ratio, kappa, regime, leak, status, mass=xp.where(reached, bent.mass, straight.mass))


def _status(xp: Any, done: Array) -> Array:
    return xp.astype(~done, xp.int8) * Status.NOT_CONVERGED.value


def chi_square_kl(bandit: Bandit, advantage: Array, beta: Any, gamma: float) -> Solution:
    r"""Target of a mixed penalty beta (KL + gamma/2 chi^2): :math:`\log w + \gamma w = (A - s)/\beta`, s normalizing.

    It is the Lambert target with kappa = gamma fixed. gamma = 1 is the penalty of chi^2-PO (arXiv 2407.13399).
    """
    xp = bandit.xp
    u = _seen_only(bandit, _below_best(bandit, advantage) / beta)
    _, regime, done = solve_dual(xp, bandit.behavior, u, ShiftDual(gamma))
    zeros = xp.zeros_like(u[:, 0])
    status = _status(xp, done)
    return Solution(log_ratio=u, kappa=zeros + gamma, regime=regime, leak=zeros, status=status, mass=zeros + 1.0)


def capped_exponential(bandit: Bandit, advantage: Array, beta: Any, cap: float) -> Solution:
    r"""Target of a weighted likelihood: :math:`\pi \propto q \min(\exp(A/\beta), c)`, nominal if nothing is capped."""
    xp = bandit.xp
    log_weight = advantage / beta
    log_cap = xp.asarray(np.log(cap), dtype=log_weight.dtype)
    solution = _normalized(bandit, _below_best(bandit, xp.minimum(advantage, beta * log_cap)) / beta)
    seen = bandit.masked(advantage, -xp.inf)
    uneven = xp.any(bandit.support & (advantage < xp.max(seen, axis=-1, keepdims=True)), axis=-1)
    capped = uneven & xp.any((log_weight > log_cap) & bandit.support, axis=-1)  # a cap on all alike is none
    nan = xp.full_like(solution.kappa, xp.nan)
    return solution._replace(kappa=xp.where(capped, nan, solution.kappa), regime=xp.astype(capped, xp.int8))


def water_filling(bandit: Bandit, advantage: Array) -> Solution:
    r"""Limit of the policy gradient E_q[A grad log pi] without ratios: :math:`\pi = (q A - c)_+ / E_q[A]`.

    With A >= 0 the fixed point is pi = q A / E_q[A] (c = 0). A negative advantage drives its action's logit to minus
    infinity; the limit is then the Euclidean projection of q A / E_q[A] on the simplex. It exists only if
    E_q[A] > 0; otherwise the loss is unbounded below (AsymRE, arXiv 2506.20520, theorem 4.2).
    """
    xp = bandit.xp
    weighted = bandit.behavior * advantage
    total = xp.sum(weighted, axis=-1)
    rounding = 8.0 * xp.finfo(xp.float64).eps * xp.max(xp.abs(bandit.reward), axis=-1)
    multiplier = xp.where(xp.abs(total) <= rounding, xp.zeros_like(total), total)
    exists = multiplier > 0
    still = ~xp.any(weighted != 0, axis=-1)  # nothing pulls: the behavior stays
    point = weighted / xp.where(exists, total, xp.ones_like(total))[:, None]
    policy = _project_on_simplex(xp, point)
    positive = policy > 0
    log_policy = xp.log(xp.where(positive, policy, xp.ones_like(policy)))
    log_q = bandit.masked(bandit.log_behavior, 0.0)
    log_ratio = xp.where(positive, log_policy - log_q, xp.asarray(-xp.inf, dtype=policy.dtype))
    nan = xp.full_like(total, xp.nan)
    vanishing = xp.any(bandit.support & ~positive, axis=-1)
    status = xp.astype(vanishing, xp.int8) * Status.VANISHING_SUPPORT.value
    log_ratio = xp.where(exists[:, None], log_ratio, xp.where(still, 0.0 * total, nan)[:, None])
    return Solution(
        log_ratio=log_ratio,
        kappa=nan,
        regime=regime_of(bandit, stop_gradient(log_ratio), stop_gradient(multiplier)),
        leak=xp.where(exists | still, xp.zeros_like(total), nan),
        status=xp.where(
            exists, status, xp.where(still, xp.zeros_like(status), xp.full_like(status, Status.NO_TARGET.value))
        ),
        differentiable=True,
        mass=xp.where(exists, xp.sum(policy, axis=-1), xp.ones_like(total)),
    )


def _project_on_simplex(xp: Any, point: Array) -> Array:
    """Euclidean projection of each row, which sums to one already, on the probability simplex (Held et al., 1974)."""
    inside = xp.all(point >= 0, axis=-1)
    if bool(xp.all(inside)):
        return point
    ordered = xp.flip(xp.sort(point, axis=-1), axis=-1)
    excess = xp.cumulative_sum(ordered, axis=-1) - 1.0
    count = xp.arange(1, point.shape[-1] + 1, dtype=point.dtype, device=device(point))
    kept = ordered * count > excess
    last = xp.sum(xp.astype(kept, xp.int64), axis=-1) - 1
    level = xp.take_along_axis(excess / count, last[:, None], axis=-1)
    return xp.where(inside[:, None], point, xp.clip(point - level, 0.0, None))


def greedy(bandit: Bandit, advantage: Array, *, unique: bool = False) -> Solution:
    """Reference restricted to the actions of largest advantage: bolder than the nominal target at any temperature.

    It is the nominal target itself where all advantages are equal: then the reference stays. Several best actions make
    the optimum a set, of which this is the element nearest to the reference in KL(pi || reference), unless ``unique``
    says that the objective itself balances them. Its derivative in the reward is zero: only a change of order moves it.
    """
    xp = bandit.xp
    best = xp.max(bandit.masked(advantage, -xp.inf), axis=-1, keepdims=True)
    kept = bandit.support & (advantage == best)
    mass = xp.sum(xp.where(kept, bandit.reference, xp.zeros_like(advantage)), axis=-1, keepdims=True)
    still = 0.0 * (advantage - stop_gradient(advantage))
    log_ratio = xp.where(kept, still - xp.log(mass), xp.full_like(advantage, -xp.inf))
    shrinks = xp.any(bandit.support & ~kept, axis=-1)
    ties = xp.sum(xp.astype(kept, xp.int64), axis=-1) > 1
    status = xp.astype(shrinks, xp.int8) * Status.VANISHING_SUPPORT.value
    if not unique:
        status = xp.where(ties, xp.full_like(status, Status.SET_VALUED.value), status)
    nan = xp.full_like(mass[:, 0], xp.nan)
    return Solution(
        log_ratio=bandit.masked(log_ratio, 0.0),
        kappa=nan,
        regime=-xp.astype(shrinks, xp.int8),
        leak=xp.zeros_like(nan),
        status=status,
        differentiable=True,
        mass=1.0 + 0.0 * mass[:, 0],
    )
