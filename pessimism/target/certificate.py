r"""KKT residuals of a target: whether the returned policy satisfies the conditions that define it.

For softmax policies the expected gradient of an objective on the logits is :math:`q_a g_a - \lambda \pi_a`, with
:math:`\lambda = \sum_b q_b g_b`. At a fixed point it vanishes; where the support shrinks it drifts equally on the
support and no faster outside (arXiv 2605.28150; docs/theory.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pessimism.arrays import Array, finite_log, to_numpy, to_numpy_float
from pessimism.core.bandit import Bandit
from pessimism.core.check import checked
from pessimism.core.objective import Objective
from pessimism.fixed_point.score import data_weight, group_weights, kinks_of, stationarity

if TYPE_CHECKING:
    import pandas as pd

    from pessimism.target.result import InducedTarget

_FAINT = -30.0  # log-ratio of an action with next to no mass
_SMALL = 1e-12  # residual that needs no second look
_ROUNDING = 16.0 * np.finfo(float).eps  # relative error of log-ratios


def certificate(target: InducedTarget) -> pd.DataFrame:
    """KKT residuals of an induced target, one row for each problem, in C order of the batch.

    Parameters
    ----------
    target : InducedTarget
        Result of :func:`pessimism.induced_target`.

    Returns
    -------
    pandas.DataFrame
        The residuals, in the columns

        * ``normalization``: abs(sum(pi) + leak - 1);
        * ``support``: mass on actions that the behavior cannot produce;
        * ``stationarity``: largest entry of the expected logit gradient q g - lam pi, relative to the sum of the sizes
          of its parts, at the target or at the behavior, whichever is larger; what rounding of the log-ratios explains
          is not counted;
        * ``nonnegativity``: the most negative probability, as a positive number;
        * ``worst``: the largest of the four.

    Examples
    --------
    >>> import pessimism as ps
    >>> bool(certificate(ps.induced_target([0.5, 0.5], [0.0, 1.0], "kimi", beta=0.1))["worst"][0] < 1e-15)
    True
    """
    import pandas as pd

    checked(target.objective)
    width = target.reward.shape[-1]
    q, pi, u, advantage = (
        to_numpy_float(a).reshape(-1, width)
        for a in (target.behavior, target.policy, target.log_ratio, target.advantage)
    )
    leak = np.atleast_1d(to_numpy_float(target.leak)).ravel()
    columns = {
        "normalization": np.abs(pi.sum(axis=-1) + leak - 1.0),
        "support": np.sum(np.where(q > 0, 0.0, pi), axis=-1),
        "stationarity": residual_on_logits(target.bandit, target.row_objective, q, pi, u, advantage),
        "nonnegativity": np.maximum(0.0, -pi.min(axis=-1)) + 0.0,  # no negative zero
    }
    frame = pd.DataFrame(columns)
    frame["worst"] = frame.max(axis=1, skipna=False)
    return frame


def residual_on_logits(bandit: Bandit, objective: Objective, q: Array, pi: Array, u: Array, advantage: Array) -> Array:
    """Largest residuals ``(N,)`` of q g = lam pi, relative to the pulls; the last four arguments are on the host.

    Parameters
    ----------
    bandit : Bandit
        The problems, N of them.
    objective : Objective
        The objective, with hyper-parameters that are arrays as columns.
    q, pi, u, advantage : ndarray, shape (N, K)
        Behavior, policy, its log-ratio to the reference, and advantages.

    Returns
    -------
    ndarray, shape (N,)
        The residuals, nan where there is no policy.
    """
    objective = objective.each_swept(to_numpy)
    seen, weights = q > 0, None if group_weights(bandit, objective) is None else q
    share = bandit.log_reference_ratio
    log_share = None if share is None else to_numpy_float(share)
    finite = np.where(seen, finite_log(u), 0.0)
    limit = objective.at_infinity(u, advantage)
    finite = finite if limit is None else np.where(seen, limit, 0.0)
    advantage = np.where(seen, advantage, 0.0)  # of an action that is never taken it could overflow a sum over all
    if objective.shift_rescales:  # from the best advantage no exponential overflows
        advantage = advantage - np.max(np.where(seen, advantage, -np.inf), axis=-1, keepdims=True)

    def pull(at: Array) -> Array:
        with np.errstate(all="ignore"):  # rows without a target are nan
            return np.where(seen, q * data_weight(objective, at, advantage, weights, log_share), 0.0)

    kept = seen & ~np.isneginf(u)
    found = stationarity(pull, kinks_of(objective, q, log_share), finite, log_share, pi, kept)
    scale = np.maximum(np.abs(found.below).sum(axis=-1), np.abs(pull(np.zeros_like(finite))).sum(axis=-1))
    scale = np.where(scale > 0, scale, 1.0)
    # A vanished action whose weight carries the ratio has no drift at zero mass: what it would gain per mass counts.
    nu = to_numpy_float(bandit.reference)
    gone = seen & ~kept
    with np.errstate(over="ignore", invalid="ignore"):  # rows without a target are nan
        low, high = found.drift(pi)
        per_mass = pull(np.where(gone, _FAINT, finite)) / np.where(gone, nu, 1.0) * np.exp(-_FAINT)
        gain = per_mass - found.multiplier[:, None]
        carries = (np.abs(high) <= 1e-290) & (limit is None or not objective.coupled)
        entering = np.where(gone & carries, nu * np.maximum(gain, 0.0), 0.0)

        def worst(low: Array, high: Array) -> Array:
            common = np.min(np.where(kept, high, np.inf), axis=-1, keepdims=True)
            # Full support: the drift must vanish. Otherwise it may be common to the support, and no larger outside.
            level = np.where(np.any(gone, axis=-1, keepdims=True), common, 0.0)
            inside = np.maximum(np.maximum(low - level, level - high), 0.0)
            outside = np.where(gone, np.maximum(high - common, 0.0), 0.0)
            return np.where(kept, inside, np.maximum(outside, entering)).max(axis=-1) / scale

        residual = worst(low, high)
        if np.any(residual > _SMALL):  # or nan, which stays
            # No more than rounding of the log-ratios explains: it moves each of them, and any two together or apart.
            rank = np.argsort(np.argsort(finite, axis=-1), axis=-1) - 0.5 * u.shape[-1] + 0.25
            apart = _ROUNDING * rank * np.maximum(1.0, np.abs(finite))
            base, sides = pull(finite), (pull(finite + apart), pull(finite - apart))
            below, above = np.minimum.reduce([base, *sides]) - base, np.maximum.reduce([base, *sides]) - base
            low = low + below - pi * np.maximum(np.sum(above, axis=-1, keepdims=True), 0.0)  # and lam with them
            high = high + above - pi * np.minimum(np.sum(below, axis=-1, keepdims=True), 0.0)
            residual = np.where(residual > _SMALL, np.minimum(residual, worst(low, high)), residual)
        return residual
