"""What a lower baseline or temperature does to a group: the least shift into the positive regime, the highest beta.

With E the mean over a group, its regime is the sign of log Z = log E[exp(A/beta)] (arXiv 2605.28150; docs/theory.md).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pessimism.arrays import Floats
from pessimism.core.objective import Objective
from pessimism.diagnosis.logged_groups import LoggedGroups
from pessimism.target.result import InducedTarget

SIGN = {"positive": 1.0, "boundary": 0.0, "negative": -1.0}
_EPS = float(np.finfo(np.float64).eps)


def thresholds(target: InducedTarget, log_z: Floats, *, slack: Any = 1.0) -> tuple[Floats, Floats]:
    """Return the critical shift, in temperatures, and the critical temperature of each row ``(N,)`` of a numpy target.

    They are nan where the baseline does not decide the regime: where it is not what the sign of log Z says. So is the
    temperature where it alone does not decide, because the advantage depends on it. ``slack`` multiplies the rounding
    that the advantages are taken to have.
    """
    largest = np.abs(target.reward).max(axis=-1)
    rounding = slack * 64 * _EPS * largest / (target.objective.temperature or math.nan)
    sign = np.where(np.abs(log_z) <= rounding, 0.0, np.sign(log_z))
    # That of a leaking row counts, too.
    lambert = np.isfinite(target.solution.kappa) & baseline_acts(target.objective)
    decided = lambert & (sign == [SIGN.get(regime, math.nan) for regime in target.regime])
    shift = np.where(decided, np.where(sign < 0, -log_z, 0.0), np.nan)
    if not (decided.any() and _advantage_is_fixed(target.objective)):
        return shift, np.full(len(log_z), np.nan)
    # An advantage is (r - V) s: its scale s shows in the spreads.
    spread, wide = np.ptp(target.reward, axis=-1), np.ptp(target.advantage, axis=-1)
    scale = np.where(spread > 0, wide / np.where(spread > 0, spread, 1.0), 1.0)
    beta = critical_temperature(target.behavior, target.advantage, slack * 8.0 * _EPS * largest * scale)
    return shift, np.where(decided, beta, np.nan)


def baseline_acts(objective: Objective) -> bool:
    """Whether a shift of the baseline can change a target.

    It cannot where it multiplies every weight by one number, as that of an exponential weight exp(A/beta) does: in
    q g = lam pi the multiplier takes it up. Nor on the policy's own samples, where pi (g + c) = lam pi takes up c.
    """
    if objective.on_policy:
        return False
    if objective.facts:
        return True
    beta = objective.temperature or 1.0
    u, advantage = np.array([[-0.7, 0.1, 0.4, -0.2]]), beta * np.array([[-2.0, -0.5, 0.3, 1.0]])
    q = np.full_like(u, 0.25) if objective.takes_propensity else None
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        before, after = (np.asarray(objective.score_weight(u, a, q)) for a in (advantage, advantage + beta))
        ratio = after / before
    return not np.allclose(ratio, ratio[..., :1], rtol=1e-9, atol=0.0)


def _advantage_is_fixed(objective: Objective) -> bool:
    """Whether the advantage is known to stay when the temperature changes."""
    if objective.temperature is None or objective.temperature_field is None:
        return False
    temperature = objective.temperature
    other = objective.at_temperature(2.0 * temperature)
    probe = temperature * np.array([[0.0, 1.0, 3.0]])
    return np.array_equal(objective.advantage(probe), other.advantage(probe))


def critical_temperature(behavior: Floats, advantage: Floats, rounding: Floats) -> Floats:
    r"""Highest beta with E[exp(A/beta)] >= 1 under the behavior, for advantages ``(N, K)`` known up to ``rounding``.

    inf where E[A] >= 0 (and A > 0 somewhere), 0 where A <= 0. Between them log E[exp(t A)], convex in t = 1/beta, falls
    from 0, and rises through 0 once. Hoeffding's lemma bounds that root from below, the mass on max A from above.

    Parameters
    ----------
    behavior, advantage : ndarray, shape (N, K)
        Probabilities and advantages.
    rounding : ndarray, shape (N,)
        Error of the advantages.

    Returns
    -------
    ndarray, shape (N,)
        Temperatures.

    Examples
    --------
    >>> half = np.array([[0.5, 0.5]])
    >>> critical_temperature(half, np.array([[1.0, -1000.0]]), np.array([1e-12])).round(4)  # 1 / log 2
    array([1.4427])
    """
    from scipy.optimize import elementwise

    top, mean = advantage.max(axis=-1), np.vecdot(behavior, advantage)
    beta = np.where(top <= rounding, 0.0, np.inf)
    (rows,) = np.nonzero((top > rounding) & (mean < -rounding))
    if rows.size:
        q, a = behavior[rows], advantage[rows]
        at_top = np.vecdot(q, (a == top[rows, None]).astype(float))
        ends = -4.0 * mean[rows] / np.ptp(a, axis=-1) ** 2, -1.01 * np.log(at_top) / top[rows]

        def certainty(t: Floats, row: Floats) -> Floats:
            index = row.astype(int)
            return np.asarray(np.log1p(np.vecdot(q[index], np.expm1(t[:, None] * a[index]))) / t)

        beta[rows] = 1.0 / elementwise.find_root(certainty, ends, args=(np.arange(rows.size, dtype=float),)).x
    return beta


def lowering_helps(logged: LoggedGroups, group: int, objective: Objective) -> bool:
    """Whether a group keeps more completions where the objective's baseline, if it has one, is lowered by enough.

    Enough is here what puts the mean advantage at the spread of the rewards or above.
    """
    if objective.subtracts == "nothing":
        return False
    index = np.array([group])
    ((_, (target,)),) = logged.targets(objective, index)
    enough = np.ptp(target.reward) + max(0.0, -float(target.advantage_rows.mean()))
    ((_, (lowered,)),) = logged.targets(objective, index, shift=float(enough) / (objective.temperature or 1.0))
    before, after = (int((t.policy > 0).sum()) for t in (target, lowered))
    lost = bool(np.all(target.status == "no_target"))
    found = bool(np.all(np.isin(lowered.status, ("converged", "vanishing_support", "set_valued"))))
    return bool(found and (lost or after > before))


def given_up(target: InducedTarget) -> Floats:
    """Completions of each row that lose all their mass, nan where there is no target."""
    lost = np.sum(np.isneginf(target.log_ratio), axis=-1)
    return np.where(np.isnan(target.log_ratio).any(axis=-1), np.nan, lost)
