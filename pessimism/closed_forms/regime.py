r"""Kappa and regime of a policy that some route found: whether it is more conservative than the nominal target.

On the Lambert family kappa says so (arXiv 2605.28150). Off it, the divergence from the reference is compared with that
of the nominal target. Everything runs on the host in float64.
"""

from __future__ import annotations

import numpy as np
from array_api_compat import device

from pessimism import divergences
from pessimism.arrays import Array, chunks, per_row, to_numpy, to_numpy_float
from pessimism.core.bandit import Bandit
from pessimism.core.objective import Objective
from pessimism.special import log_sum_exp

_SAME = 1e-9  # of log-ratios, and relative of divergences: what solvers leave


class Distance:
    """Divergence KL(pi || mu) of rows of log-probabilities, and near the greedy policy the shortfall from its KL.

    A policy within 1e-16 of greedy has the greedy KL in float64; its shortfall, KL(greedy || mu) - KL(pi || mu), still
    tells temperatures apart. With s the mass off the best actions it is
    -(1 - s) log(1 - s) + sum_off pi (log 1/q_best - log pi/q).

    Parameters
    ----------
    log_q, reward : ndarray, shape (N, K)
        Log-probabilities of mu, -inf where it has no mass, and rewards.
    """

    def __init__(self, log_q: Array, reward: Array) -> None:
        seen = np.isfinite(log_q)
        self.log_q, self.seen = log_q, seen
        below = np.where(seen, reward - np.max(np.where(seen, reward, -np.inf), axis=-1, keepdims=True), 0.0)
        self.best = (below == 0.0) & seen
        self.greedy = -log_sum_exp(np.where(self.best, log_q, -np.inf))
        self.scale = -np.min(below, axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            self.unit = np.where(self.scale[:, None] > 0, below / self.scale[:, None], 0.0)

    def take(self, rows: Array) -> Distance:
        """The same distances for some of the rows."""
        part = object.__new__(Distance)
        for name, values in vars(self).items():
            setattr(part, name, values[rows])
        return part

    def kl(self, log_policy: Array) -> Array:
        """Divergence KL(pi || mu)."""
        kept = self.seen & np.isfinite(log_policy)
        ratio = np.where(kept, log_policy, 0.0) - np.where(kept, self.log_q, 0.0)
        p, q = np.where(kept, np.exp(log_policy), 0.0), np.exp(self.log_q)
        return np.sum(p * ratio - divergences.difference(p, q, ratio), axis=-1)

    def loss(self, log_policy: Array) -> Array:
        """Mean reward of the behavior less that of the policy, in units of the range of the rewards."""
        kept = self.seen & np.isfinite(log_policy)
        ratio = np.where(kept, log_policy, 0.0) - np.where(kept, self.log_q, 0.0)
        p, q = np.where(kept, np.exp(log_policy), 0.0), np.exp(self.log_q)
        return -np.sum(divergences.difference(p, q, ratio) * self.unit, axis=-1)

    def log_shortfall(self, log_policy: Array) -> Array:
        """Logarithm of KL(greedy || mu) - KL(pi || mu); -inf for the greedy policy, nan for one farther than that."""
        off = self.seen & ~self.best & np.isfinite(log_policy)
        log_off = np.where(off, log_policy, -np.inf)
        peak = np.max(log_off, axis=-1, keepdims=True)
        peak = np.where(np.isfinite(peak), peak, -1e300)
        share = np.where(off, np.exp(log_off - peak), 0.0)
        ratio = np.where(off, log_policy, 0.0) - np.where(off, self.log_q, 0.0)
        s = np.minimum(np.sum(share * np.exp(peak), axis=-1), 1.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            within = np.where(s > 0, -(1.0 - s) * np.log1p(-s) / s, 1.0)  # times s; tends to 1
            within = np.where(s == 1.0, 0.0, within)
            total = np.sum(share * (within[:, None] + self.greedy[:, None] - ratio), axis=-1)
            total -= self._among_best(log_policy, s) * np.exp(np.minimum(-peak[:, 0], 700.0))
            return np.log(total) + peak[:, 0]

    def _among_best(self, log_policy: Array, s: Array) -> Array:
        """Divergence (1 - s) KL between policy and behavior given a best action; 0 within rounding."""
        kept = self.best & np.isfinite(log_policy)
        p = np.where(kept, np.exp(np.where(kept, log_policy, 0.0)), 0.0)
        ratio = (
            np.where(kept, log_policy, 0.0)
            - np.where(kept, self.log_q, 0.0)
            - self.greedy[:, None]
            - np.log1p(-np.minimum(s, 0.9))[:, None]
        )
        kl = np.where(s <= 0.9, np.sum(p * ratio, axis=-1), 0.0)
        return np.where(np.abs(kl) <= 1e-13 * (1.0 + self.greedy), 0.0, kl)

    def tilted(self, log_t: Array) -> Array:
        """Log-probabilities of the nominal target at inverse temperature t / scale."""
        terms = self.log_q + np.exp(log_t)[:, None] * self.unit
        return terms - log_sum_exp(terms)[:, None]


def lambert_fit(
    bandit: Bandit, objective: Objective, advantage: Array, log_ratio: Array, multiplier: Array
) -> tuple[Array, Array]:
    r"""Fit kappa ``(N,)`` and the regime ``(N,)`` to policies that some route found.

    Parameters
    ----------
    bandit : Bandit
        The problems.
    objective : Objective
        The objective, with hyper-parameters that are arrays as columns.
    advantage, log_ratio : ndarray, shape (N, K)
        Its advantages, and log-ratios to the reference, -inf where an action has no mass.
    multiplier : ndarray, shape (N,)
        Multipliers lam = E_q[g].

    Returns
    -------
    kappa : ndarray, shape (N,)
        Curvature :math:`\kappa = E_q[A/\beta - u] / E_q[\pi/q]` where every action then satisfies :math:`u + \kappa
        \pi/q = A/\beta`; 0 where the policy is nominal in the advantage; else nan.
    regime : ndarray of int8, shape (N,)
        Sign of kappa. Off the Lambert family the sign of KL(nominal || nu) - KL(pi || nu), nominal at the same
        temperature in what that weighs, see `what_is_weighed`. Without a temperature as `regime_at_any_temperature`
        says.
    """
    count = len(multiplier)
    kappa, regime = np.full(count, np.nan), np.zeros(count, dtype=np.int8)
    if objective.temperature is None:
        return kappa, regime_at_any_temperature(bandit, log_ratio, multiplier)
    beta = np.broadcast_to(to_numpy_float(per_row(objective.temperature)), count)
    for part in chunks(*log_ratio.shape):
        kappa[part], regime[part] = _fit(bandit, objective, advantage, log_ratio, multiplier, beta, part)
    return kappa, regime


def _fit(
    bandit: Bandit,
    objective: Objective,
    advantage: Array,
    log_ratio: Array,
    multiplier: Array,
    beta: Array,
    rows: slice,
) -> tuple[Array, Array]:
    """Kappa and regime of some of the rows."""
    q, log_ratio, lam = to_numpy(bandit.behavior)[rows], log_ratio[rows], multiplier[rows]
    seen = q > 0
    all_seen = bool(seen.all())

    def on_seen(values: Array) -> Array:
        return values if all_seen else np.where(seen, values, 0.0)

    log_ratio = on_seen(log_ratio)
    whole = np.isfinite(log_ratio).all(axis=-1)
    u = log_ratio if whole.all() else np.where(whole[:, None], log_ratio, 0.0)
    z = on_seen(advantage[rows] / beta[rows, None])
    share = bandit.log_reference_ratio
    with np.errstate(over="ignore", invalid="ignore"):
        w = np.exp(u if share is None else u + on_seen(to_numpy(share)[rows]))
        tolerance = _SAME * (1.0 + np.abs(z).max(axis=-1))
        gap = z - u
        kappa = np.vecdot(q, gap) / np.vecdot(q, w)
        off = np.abs(kappa[:, None] * on_seen(w) - gap).max(axis=-1)
        spread = gap.max(axis=-1, where=seen, initial=-np.inf) - gap.min(axis=-1, where=seen, initial=np.inf)
    lambert, nominal = whole & (off <= tolerance), whole & (spread <= tolerance)
    either = np.flatnonzero(lambert & nominal & (np.abs(kappa) > tolerance))
    nominal[either] = ~_level_counts(objective, advantage[rows], lam, kappa, either, rows)
    kappa = np.where(nominal, 0.0, np.where(lambert, kappa, np.nan))
    regime = np.where(np.abs(kappa) > tolerance, np.sign(kappa), 0.0)
    none = np.isnan(log_ratio).any(axis=-1)  # no policy
    regime[none] = np.sign(np.where(np.isnan(lam), 0.0, lam))[none]
    rest = np.flatnonzero(~lambert & ~nominal & ~none)
    if rest.size:
        at = rows.start + rest
        weighed = what_is_weighed(bandit, objective, advantage)[at]
        regime[rest] = _against_nominal(*_measured(bandit, log_ratio[rest], at, weighed), beta[at])
    return kappa, regime.astype(np.int8)


def regime_at_any_temperature(bandit: Bandit, log_ratio: Array, multiplier: Array) -> Array:
    """Regime ``(N,)`` of policies of objectives that have no temperature.

    Where the comparison with the nominal target is the same at every temperature, that is it: negative for a policy
    that is as far from the reference as the greedy one, or farther; boundary where all rewards are equal and the
    reference stays. Elsewhere it is the sign of the multiplier.

    Parameters
    ----------
    bandit : Bandit
        The problems.
    log_ratio : ndarray, shape (N, K)
        Log-ratios to the reference, -inf where an action has no mass; nan where there is no policy.
    multiplier : ndarray, shape (N,)
        Multipliers lam = E_q[g].

    Returns
    -------
    ndarray of int8, shape (N,)
        Signs.
    """
    sign = np.where(np.isnan(multiplier), 0.0, np.sign(multiplier))
    for part in chunks(*log_ratio.shape):
        distance, log_policy = _measured(bandit, log_ratio[part], part)
        exists = ~np.isnan(log_policy).any(axis=-1)
        kl = np.where(exists, distance.kl(log_policy), 0.0)
        flat = exists & (distance.scale == 0) & (kl <= _SAME)
        own = sign[part]
        own[flat] = 0.0
        far = np.flatnonzero((kl > 0.5 * distance.greedy) & ~flat)
        if far.size:
            own[far] = np.where(np.isfinite(distance.take(far).log_shortfall(log_policy[far])), own[far], -1.0)
    return sign.astype(np.int8)


def regime_of(bandit: Bandit, log_ratio: Array, multiplier: Array) -> Array:
    """Give the regime of `regime_at_any_temperature` for arrays of the library and on the device of the bandit."""
    found = regime_at_any_temperature(bandit, to_numpy(log_ratio), to_numpy(multiplier))
    return bandit.xp.asarray(found, device=device(bandit.reward))


def what_is_weighed(bandit: Bandit, objective: Objective, advantage: Array) -> Array:
    """What the temperature of an objective weighs against the divergence, ``(N, K)``: rewards, or else advantages.

    The advantages of an objective that divides the rewards by their spread, or ranks them, stay when the unit of the
    reward changes, and so does its policy: its temperature is in units of the advantage. Compared with a nominal target
    in the reward, the same policy would be more or less conservative as the unit has it. All others weigh rewards.

    Parameters
    ----------
    bandit : Bandit
        The problems.
    objective : Objective
        The objective, with hyper-parameters that are arrays as columns.
    advantage : ndarray, shape (N, K)
        Its advantages.

    Returns
    -------
    ndarray, shape (N, K)
        The rewards, or the advantages.
    """
    reward = to_numpy(bandit.reward)
    # Without a temperature nothing is weighed; rewards that have second moments cannot be tried in another unit.
    if objective.temperature is None or "second_moment" in objective.per_action:
        return reward
    count, width = reward.shape if objective.arrays else (1, reward.shape[-1])
    # Rewards of its own, half of them right: the answer is one about the objective, and no row sees its neighbors.
    probe = np.tile(np.arange(width) % 2.0, (count, 1))
    own, q = objective.each_swept(to_numpy), np.full((count, width), 1.0 / width)
    whole, half = (np.asarray(own.advantage(unit * probe, q)) for unit in (1.0, 0.5))
    # What is added to a standard deviation is at most 1e-4 in use.
    same = (np.ptp(whole, axis=-1) > 0) & np.all(np.isclose(whole, half, rtol=1e-2, atol=0.0), axis=-1)
    return np.where(same[:, None], advantage, reward)


def _measured(
    bandit: Bandit, log_ratio: Array, rows: Array | slice, reward: Array | None = None
) -> tuple[Distance, Array]:
    """Distances from the reference on some rows, and the log-probabilities of their policies ``(n, K)``."""
    log_nu = to_numpy(bandit.log_reference)[rows]
    reward = to_numpy(bandit.reward)[rows] if reward is None else reward
    log_policy = log_nu + log_ratio
    if not bandit.full_support:
        seen = to_numpy(bandit.behavior)[rows] > 0
        log_nu, log_policy = (np.where(seen, a, -np.inf) for a in (log_nu, log_policy))
    if bandit.own_reference is not None:  # it may have mass where the behavior has none
        log_nu = log_nu - log_sum_exp(log_nu)[:, None]
    return Distance(log_nu, reward), log_policy


def _against_nominal(distance: Distance, log_policy: Array, beta: Array) -> Array:
    """Sign of KL(nominal || nu) - KL(pi || nu); near the greedy policy by what both lack to its KL."""
    with np.errstate(divide="ignore", invalid="ignore"):
        nominal = distance.tilted(np.log(distance.scale / beta))
        ours, theirs = distance.kl(log_policy), distance.kl(nominal)
        larger = np.maximum(ours, theirs)
        sign = np.where(np.abs(theirs - ours) <= _SAME * larger + 4e-15 * np.sqrt(larger), 0.0, np.sign(theirs - ours))
        near = np.flatnonzero(np.minimum(ours, theirs) > 0.5 * distance.greedy)
        if near.size:
            part = distance.take(near)
            left, right = part.log_shortfall(log_policy[near]), part.log_shortfall(nominal[near])
            closer = np.where(np.abs(left - right) <= _SAME * (1.0 + np.abs(right)), 0.0, np.sign(left - right))
            sign[near] = np.where(np.isnan(left) | (left == -np.inf), -1.0, closer)
    return sign


def _level_counts(
    objective: Objective, advantage: Array, multiplier: Array, kappa: Array, rows: Array, part: slice
) -> Array:
    """Whether rows of equal advantages whose policy is the reference are Lambert with that kappa, or else nominal.

    Both equations hold there, and the policy does not tell. The weight does: it is affine in the log-ratio where the
    level of the advantage counts, g = lam (1 - u/kappa).
    """
    plain = not (objective.coupled or objective.takes_share or objective.takes_propensity)
    if not (plain and rows.size):
        return np.zeros(rows.size, dtype=bool)
    of_rows = objective.each_swept(lambda column: to_numpy(column)[part][rows])
    slope = (multiplier / kappa)[rows, None]
    found = np.ones(rows.size, dtype=bool)
    for u in (-1.0, 1.0):
        weight = of_rows.score_weight(np.full_like(advantage[rows], u), advantage[rows], None)
        off = np.abs(weight - (multiplier[rows, None] - slope * u)).max(axis=-1)
        found &= off <= 1e-6 * np.abs(slope[:, 0]) * (1.0 + np.abs(kappa[rows]))
    return found
