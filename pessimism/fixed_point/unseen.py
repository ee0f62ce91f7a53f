r"""Mass that leaves for unseen actions, of which the data have none.

On softmax logits such an action is moved by :math:`-\lambda \pi_a` alone, lam = E_q[g]. An infinitesimal mass on it
grows exactly where lam < 0 at the fixed point of the seen actions, unless these drift upwards together, as they do
where others lose their mass to a pull that never ends. It grows until lam = 0. On the way every seen action answers a
rising lam by a falling ratio, so that it comes to rest at the first zero of its weight below, or without mass where
there is none (arXiv 2605.28150; docs/theory.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import device

from pessimism.arrays import LOG_OF_NO_MASS, Array, finite_log, to_numpy
from pessimism.core.bandit import Bandit
from pessimism.core.objective import Objective
from pessimism.core.solution import Solution, Status
from pessimism.fixed_point.score import data_weight, group_weights, kinks_of, sides, stationarity

_FIRST_STEP, _DEEPEST = 1.0, 1e8  # steps down in a log-ratio, doubled until the weight turns, or are as long as this
_RAY = (1.0, 10.0, 100.0)  # falls of all log-ratios together, along which a coupled weight is tried
_TINY = 1e-300  # what stands for a weight of exactly zero, so that the end of a flat stretch is found
_NUDGE = 1e-6  # relative change of what a weight is read at, by which its rounding is estimated
_UNSURE = 64.0 * np.finfo(float).eps  # relative errors of advantages and log-ratios
_LEAST = 1e-13  # mass that counts as leaking
_NO_POINT = (Status.NO_TARGET, Status.NOT_CONVERGED, Status.INVALID_INPUT)


def may_leak(objective: Objective) -> bool:
    """Whether actions can be unseen: not where the policy itself draws data, since it then sees what it takes."""
    return not (objective.on_policy or objective.mixes_data)


def let_leak(bandit: Bandit, objective: Objective, advantage: Array, solution: Solution) -> Solution:
    """Let mass leave for unseen actions wherever lam < 0 beyond rounding.

    Parameters
    ----------
    bandit : Bandit
        The problems, N of them.
    objective : Objective
        The objective, whose data do not follow the policy (`may_leak`).
    advantage : array, shape (N, K)
        Its advantages.
    solution : Solution
        Targets on the seen actions alone. Rows that leak already, and rows without a target, stay as they are.

    Returns
    -------
    Solution
        The same solution if nothing leaks. Rows that leak have every action at a zero of its weight, -inf where it has
        none below; their regime is negative. Coupled weights have no such zeros, action by action: where all fall
        with the mass, in proportion, all of it leaks; otherwise such a row is "not_converged".
    """
    status, leak = to_numpy(solution.status), to_numpy(solution.leak)
    rows = ~(np.isin(status, _NO_POINT) | (leak > 0))
    if not rows.any():
        return solution
    chosen = bandit.xp.asarray(rows, device=device(bandit.reward))
    few = bandit if rows.all() else bandit.rows(chosen)
    theirs = objective.each_swept(lambda column: to_numpy(column)[rows])
    seen = _Seen(few, theirs, to_numpy(advantage)[rows], to_numpy(solution.log_ratio)[rows])
    pulled = seen.lets_others_grow()
    if not pulled.any():
        return solution
    leaking = np.flatnonzero(rows)[pulled]
    u, kappa, regime = (to_numpy(a).copy() for a in solution[:3])
    status, leak = status.copy(), leak.copy()
    if objective.coupled:
        empties = seen.falls_in_proportion(pulled)
        support = to_numpy(bandit.support)[leaking]
        u[leaking] = np.where(empties[:, None], np.where(support, -np.inf, 0.0), np.nan)
        leak[leaking] = np.where(empties, 1.0, np.nan)
        status[leaking] = np.where(empties, Status.VANISHING_SUPPORT, Status.NOT_CONVERGED)
    else:
        zeros = seen.zeros_below(pulled)
        nu = to_numpy(bandit.reference)[leaking]
        missing = 1.0 - np.sum(np.where(to_numpy(bandit.support)[leaking], nu * np.exp(zeros), 0.0), axis=-1)
        kept, leaking = missing > _LEAST, leaking[missing > _LEAST]
        u[leaking], leak[leaking] = zeros[kept], missing[kept]
        gone = np.any(np.isneginf(zeros[kept]), axis=-1)
        status[leaking] = np.where(gone, Status.VANISHING_SUPPORT, Status.CONVERGED)
    kappa[leaking], regime[leaking] = np.nan, -1
    found = (u, kappa, regime, leak, status)
    return Solution(*(bandit.xp.asarray(a, device=device(bandit.reward)) for a in found))


class _Seen:
    """Seen actions of problems at their targets, on the host: arrays ``(N, K)``."""

    def __init__(self, bandit: Bandit, objective: Objective, advantage: Array, log_ratio: Array) -> None:
        weights, log_share = group_weights(bandit, objective), bandit.log_reference_ratio
        self.objective, self.advantage = objective, advantage
        self.q, self.nu = to_numpy(bandit.behavior), to_numpy(bandit.reference)
        self.weights = None if weights is None else to_numpy(weights)
        self.log_share = None if log_share is None else to_numpy(log_share)
        self.support, self.kinks = self.q > 0, kinks_of(objective, self.q, self.log_share)
        self.log_ratio = np.where(self.support, log_ratio, 0.0)

    def lets_others_grow(self) -> Array:
        """Mask ``(N,)`` of the rows in which a small mass on unseen actions grows."""
        u, kept = finite_log(self.log_ratio), self.support & ~np.isneginf(self.log_ratio)

        def pull(at: Array, size: float = 1.0) -> Array:
            return np.where(self.support, self.q * self._weight(at, size), 0.0)

        policy = np.where(self.support, self.nu * np.exp(self.log_ratio), 0.0)
        found = stationarity(pull, self.kinks, u, self.log_share, policy, kept)
        lam = found.multiplier
        with np.errstate(invalid="ignore"):
            if not np.any(lam < -_UNSURE * np.sum(np.abs(found.below), axis=-1)):
                return np.zeros(len(lam), dtype=bool)
            base = pull(u)
            # A log-ratio is as exact as the ratio at best; neighbors err to both sides, which differences do not see.
            apart = np.where(np.arange(u.shape[-1]) % 2, -_NUDGE, _NUDGE) * np.maximum(1.0, np.abs(u))
            change = np.abs(pull(u + apart) - base) + np.abs(pull(u, 1.0 + _NUDGE) - base)
            unsure = _UNSURE * np.sum(np.abs(base) + change / _NUDGE, axis=-1)
            # Where others vanish under a pull that does not, the seen actions that are left rise together.
            rise = np.min(np.where(kept, found.drift(policy)[1], np.inf), axis=-1)
            return (lam < -unsure) & (rise <= unsure)

    def falls_in_proportion(self, rows: Array) -> Array:
        """Mask ``(n,)`` of the rows whose weights are proportional to the mass when all ratios fall together."""
        u = finite_log(self.log_ratio)
        base, same = self._weight(u), np.ones(len(u), dtype=bool)
        for fall in _RAY:
            change = np.exp(fall) * self._weight(u - fall) - base
            same &= np.all(np.abs(change) <= 1e-6 * np.abs(base), axis=-1, where=self.support)
        return np.asarray(same[rows])

    def _weight(self, u: Array, size: float = 1.0) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            return data_weight(self.objective, u, size * self.advantage, self.weights, self.log_share)

    def zeros_below(self, rows: Array) -> Array:
        """Log-ratios ``(n, K)`` of the first zeros of the weights below the target, -inf where there is none."""
        zeros = self.log_ratio[rows].copy()
        place = np.nonzero(self.support[rows] & ~np.isneginf(zeros))
        row, column = np.flatnonzero(rows)[place[0]], place[1]

        own = self.q[row, column] if self.objective.takes_propensity else None
        share = None if self.log_share is None else self.log_share[row, column]
        advantage = self.advantage[row, column]
        # Arrays over the batch are columns, facts of the actions have one column for each.
        theirs = self.objective.each_swept(lambda a: a[row, np.minimum(column, a.shape[1] - 1)])

        def weight(u: Array, entry: Array) -> Array:
            """Weights of the actions ``entry``, each with a sign: what is zero counts as not below it."""
            objective = theirs.each_swept(lambda a: a[entry])
            p, s = (None if a is None else a[entry] for a in (own, share))
            with np.errstate(over="ignore", invalid="ignore"):
                g = data_weight(objective, u, advantage[entry], p, s)
            return np.where((g == 0.0) & (u > LOG_OF_NO_MASS), _TINY, g)

        below = sides(self.kinks, finite_log(self.log_ratio), self.log_share)[0]
        zeros[place] = _first_zero_below(weight, self.log_ratio[row, column], below[row, column])
        return zeros


def _first_zero_below(weight: Callable[[Array, Array], Array], start: Array, below: Array) -> Array:
    """Zero of each weight(u, entry) ``(n,)`` below its start, or the start where the weight is >= 0 just below it."""
    from scipy.optimize import elementwise

    find: Any = elementwise.find_root

    def labeled(u: Array, entry: Array) -> Array:
        return weight(u, entry.astype(int))

    at_once = weight(below, np.arange(len(start))) >= 0
    found = np.where(at_once, start, -np.inf)
    high, low, (left,) = below.copy(), below.copy(), np.nonzero(~at_once)
    step, turned = _FIRST_STEP, np.zeros(len(start), dtype=bool)
    while left.size and step < _DEEPEST:
        low[left] = high[left] - step
        turned[left] = weight(low[left], left) > 0
        left, step = left[~turned[left]], 2.0 * step
        high[left] = low[left]
    (entry,) = np.nonzero(turned)
    if entry.size:
        found[entry] = find(labeled, (low[entry], high[entry]), args=(entry.astype(float),)).x
    return found
