r"""Least settings that keep an objective with a group baseline in the positive regime of the population.

The regime is the sign of log Z, Z = E_q[exp(A_eff/beta)], with A_eff the expected advantage of a finite group. A shift
of c temperatures adds c to log Z, and log Z rises with the temperature of a group's optimal value: both least settings
are the root of a rising function. Derivations: docs/theory.md; arXiv 2605.28150.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy.special import gammaln

from pessimism.arrays import Floats, chunks
from pessimism.groups.expected_advantage import expected_under_optimal_value
from pessimism.groups.finite_group import finite_group
from pessimism.groups.reward_law import check_setting, kept_given_value, reward_law, sampler
from pessimism.groups.target import log_z_of
from pessimism.losses.regression import Kimi, OptimalValue

_WIDEST = 46.0  # |log(beta1 / spread)| beyond which the limits 0 and infinity are reached in float64
_FINEST = 2.0**-12  # beta1 over spread below which advantages of more than two rewards are linear in beta1


def smallest_shift(
    beta: float,
    group_size: int,
    pass_rate: Any = None,
    *,
    reward: Any = None,
    behavior: Any = None,
    baseline: Literal["mean", "optimal_value"] = "mean",
    leave_one_out: bool = False,
    drop_equal: bool = False,
) -> Any:
    r"""Least shift c, in temperatures, at which V - c beta is in the positive regime at a finite group size.

    :math:`c = -\log E_q[\exp(A_{eff}/\beta)]` with the unshifted baseline: at c kappa is 0, above it
    positive (arXiv 2605.28150). Negative where the baseline could even be raised by so much; 0 where all rewards
    are equal (a pass rate of 0 or 1).

    Parameters
    ----------
    beta : float
        Temperature of the regression > 0, in reward units.
    group_size : int
        Completions G of a group, at most 131,072.
    pass_rate : array_like, optional
        As for :func:`~pessimism.finite_group`.
    reward, behavior : array_like, optional
        As for :func:`~pessimism.finite_group`; ``reward`` alone ``(..., n)`` is a sample of rewards.
    baseline : {"mean", "optimal_value"}, default "mean"
        What is shifted: the mean of the group, as by ``shifted_mean``, or its optimal value at beta.
    leave_one_out, drop_equal : bool, default False
        As for :func:`~pessimism.finite_group`.

    Returns
    -------
    float or ndarray, shape (...)
        One shift per problem; exact to rounding for two rewards, and for the mean.

    Raises
    ------
    ValueError
        As :func:`~pessimism.finite_group`; also for beta <= 0 and an unknown baseline.

    Examples
    --------
    >>> smallest_shift(0.1, 8, [0.1, 0.5, 1.0], baseline="optimal_value").round(4)
    array([0.6293, 0.0676, 0.    ])
    >>> round(float(smallest_shift(1.0, 8, 0.01, drop_equal=True)), 3)  # the mean, all-equal groups dropped
    0.112
    """
    _check_temperature("beta", beta)
    if baseline not in ("mean", "optimal_value"):
        raise ValueError(f'baseline must be "mean" or "optimal_value", got {baseline!r}')
    objective = Kimi(beta=beta) if baseline == "mean" else OptimalValue(beta=beta)
    group = finite_group(
        objective,
        group_size,
        behavior,
        reward,
        pass_rate=pass_rate,
        leave_one_out=leave_one_out,
        drop_equal=drop_equal,
    )
    return 0.0 - group.log_z


def smallest_beta1(
    beta2: float,
    group_size: int,
    pass_rate: Any = None,
    *,
    reward: Any = None,
    behavior: Any = None,
    leave_one_out: bool = False,
    drop_equal: bool = False,
) -> Any:
    r"""Least temperature beta1 of the group's optimal value at which a regression at beta2 is in the positive regime.

    For OAPL and A*-PO with groups of G: the root of log Z in beta1. Without options it lies above beta2, and tends to
    beta2 G/(G - 1) as beta2 grows (arXiv 2605.28150).

    Parameters
    ----------
    beta2 : float
        Temperature of the regression > 0, in reward units.
    group_size : int
        Completions G of a group, at most 131,072.
    pass_rate : array_like, optional
        As for :func:`~pessimism.finite_group`.
    reward, behavior : array_like, optional
        As for :func:`~pessimism.finite_group`; ``reward`` alone ``(..., n)`` is a sample of rewards.
    leave_one_out, drop_equal : bool, default False
        As for :func:`~pessimism.finite_group`.

    Returns
    -------
    float or ndarray, shape (...)
        One temperature per problem; exact to rounding for two rewards, by quadrature for more. 0 where every beta1 has
        log Z >= 0 (all rewards equal, or a group of one; often with ``leave_one_out``), inf where none has (at times
        with ``drop_equal``).

    Raises
    ------
    ValueError
        As :func:`~pessimism.finite_group`; also for beta2 <= 0.

    Examples
    --------
    >>> smallest_beta1(0.1, 8, [0.1, 0.5, 1.0]).round(4)
    array([0.1388, 0.1108, 0.    ])
    >>> round(float(smallest_beta1(100.0, 8, 0.5)), 2)  # 100 * 8/7
    114.29
    """
    _check_temperature("beta2", beta2)
    check_setting(group_size, leave_one_out=leave_one_out, drop_equal=drop_equal)
    q, r = sampler(behavior, reward, pass_rate)
    rows, rewards = q.reshape(-1, q.shape[-1]), r.reshape(-1, q.shape[-1])
    laws = [reward_law(*row) for row in zip(rows, rewards, strict=True)]
    found, two = np.zeros(len(laws)), np.flatnonzero([len(law.values) == 2 for law in laws])
    if len(two):
        high = np.array([laws[i].mass[1] for i in two])
        low = np.array([laws[i].mass[0] for i in two])
        spread = np.array([np.ptp(laws[i].values) for i in two])
        size = np.full(len(two), group_size)
        for part in chunks(len(two), group_size):
            of_part = (size[part], high[part], low[part], spread[part])
            found[two[part]] = least_beta1(beta2, *of_part, leave_one_out=leave_one_out, drop_equal=drop_equal)
    for i, law in enumerate(laws):
        if len(law.values) > 2:
            found[i] = least_of_law(beta2, group_size, law.values, law.mass, leave_one_out, drop_equal)
    return found.reshape(q.shape[:-1])[()]


def _check_temperature(name: str, value: Any) -> None:
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not (is_number and 0 < value < math.inf):
        raise ValueError(f"{name} must be a finite number > 0, got {value!r}")


def least_beta1(
    beta2: float,
    size: NDArray[np.int64],
    high: Floats,
    low: Floats,
    spread: Floats,
    *,
    leave_one_out: bool = False,
    drop_equal: bool = False,
) -> Floats:
    """Least beta1 of problems ``(P,)`` with two rewards ``spread`` apart, ``high`` and ``low`` their probabilities."""
    from scipy.optimize import elementwise

    k, n = np.arange(size.max(initial=1)), size[:, None] - 1.0  # k of the n others have the higher reward
    possible = k <= n
    of_high, of_low = (possible & (k < n), possible & (k > 0)) if drop_equal else (possible, possible)
    k = np.where(possible, k, 0.0)
    with np.errstate(divide="ignore"):  # a probability may round to one
        log_high = np.where(high > 0.5, np.log1p(-low), np.log(high))[:, None]
        log_low = np.where(low > 0.5, np.log1p(-high), np.log(low))[:, None]
    log_weight = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1) + k * log_high + (n - k) * log_low
    weights = [_normalized(np.where(mask, log_weight, -np.inf)) for mask in (of_low, of_high)]
    shares = (k / n, k / n) if leave_one_out else (k / (n + 1), (k + 1) / (n + 1))

    def log_z(b: Floats, rows: NDArray[np.intp]) -> Floats:
        """Log Z of rows at beta1 = b spread; b 0 is the group's maximum, inf its mean."""
        short, above = (_shortfall(b[:, None], share[rows]) for share in shares)
        # A is 1 - V where the reward is high, -V where it is low, in units of the spread.
        up = np.vecdot(weights[1][rows], above)
        down = -np.vecdot(weights[0][rows], _value(b[:, None], shares[0][rows], short))
        advantage = np.stack([down, up], axis=-1) * (spread[rows, None] / beta2)
        return log_z_of(np.stack([low[rows], high[rows]], axis=-1), advantage, 1.0)

    everything = np.arange(len(size))
    none_needed = log_z(np.zeros(len(size)), everything) >= 0
    least = np.where(none_needed, 0.0, np.inf)
    ends = np.full((2, len(size)), [[-_WIDEST], [_WIDEST]])
    below, above = (log_z(np.exp(end), everything) for end in ends)
    least = np.where(~none_needed & (below >= 0), 0.0, least)
    (rows,) = np.nonzero(~none_needed & (below < 0) & (above >= 0))
    if rows.size:

        def at(x: Floats, row: Floats) -> Floats:
            return log_z(np.exp(x), row.astype(int))

        find: Any = elementwise.find_root
        root = find(at, (ends[0, rows], ends[1, rows]), args=(rows.astype(float),))
        least[rows] = np.exp(root.x) * spread[rows]
    return least


def _normalized(log_weight: Floats) -> Floats:
    """Weights ``(P, M)`` that sum to one, from logarithms; all zero where each is -inf."""
    top = log_weight.max(axis=-1, keepdims=True)
    weight = np.exp(log_weight - np.where(np.isfinite(top), top, 0.0))
    return np.asarray(weight / np.maximum(weight.sum(axis=-1, keepdims=True), 1.0))


def _shortfall(b: Floats, share: Floats) -> Floats:
    """1 - V, V the optimal value at b of rewards 0 and 1 of which a share is 1; without any it is 1."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        low = np.where(b > 0, np.expm1(-1.0 / b), -1.0)
        found = np.where(np.isinf(b), 1.0 - share, -b * np.log1p((1.0 - share) * low))
    return np.where(share > 0, np.where(b > 0, found, 0.0), 1.0)


def _value(b: Floats, share: Floats, shortfall: Floats) -> Floats:
    """V without cancellation where it is small."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        small = b * np.log1p(share * np.expm1(np.minimum(1.0 / b, 30.0)))
    return np.where(1.0 / np.maximum(b, 1e-300) <= 30.0, small, 1.0 - shortfall)


def least_of_law(beta2: float, size: int, values: Floats, mass: Floats, leave_one_out: bool, drop_equal: bool) -> float:
    """Least beta1 of one law ``(D,)`` of more than two rewards."""
    spread = float(np.ptp(values))
    kept = kept_given_value(mass, size) if drop_equal else np.ones_like(mass)

    def log_z(advantage: Floats) -> float:
        advantage = advantage / np.where(kept > 0, kept, 1.0)  # an all-equal group has no advantage
        return float(log_z_of(mass[None], advantage[None], beta2)[0])

    def advantage_at(beta1: float) -> Floats:
        return expected_under_optimal_value(values, mass, size, beta1, leave_one_out=leave_one_out)

    greatest, mean = _limits(values, mass, size, leave_one_out)
    if log_z(greatest) >= 0:
        return 0.0
    if log_z(mean) < 0:
        return math.inf
    finest = _FINEST * spread
    at_finest = advantage_at(finest)
    if log_z(at_finest) >= 0:

        def near_zero(t: float) -> float:
            return log_z(greatest + t * (at_finest - greatest))

        return finest * float(scipy.optimize.brentq(near_zero, 0.0, 1.0, xtol=1e-15))

    def at(log_beta1: float) -> float:
        return log_z(advantage_at(math.exp(log_beta1)))

    low, high = math.log(finest), _first_not_negative(at, math.log(max(finest, beta2)))
    return math.inf if math.isinf(high) else math.exp(scipy.optimize.brentq(at, low, high, xtol=1e-14, rtol=1e-14))


def _first_not_negative(function: Callable[[float], float], start: float) -> float:
    """A point at or after the start where a rising function is not negative, inf where none is in reach."""
    step = 0.25
    while function(start) < 0:
        start, step = start + step, 2.0 * step
        if step > 2.0 * _WIDEST:
            return math.inf
    return start


def _limits(values: Floats, mass: Floats, size: int, leave_one_out: bool) -> tuple[Floats, Floats]:
    """Expected advantages ``(D,)`` against the group's maximum and against its mean."""
    n = size - 1
    below = np.minimum(np.cumsum(mass), 1.0)
    below[-1] = 1.0
    not_above = below**n
    parts = np.diff(not_above, prepend=0.0) * values
    if leave_one_out:
        expected = parts.sum()
    else:  # the larger of a value and the maximum of the others
        above = np.cumsum(parts[::-1])[::-1]
        expected = not_above * values + np.append(above[1:], 0.0)
    gap = values - np.vecdot(mass, values)
    return values - expected, gap if leave_one_out else (1.0 - 1.0 / size) * gap
