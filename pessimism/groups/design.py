r"""Least settings that keep an objective with a group baseline in the positive regime of the population.

The regime is the sign of log Z, Z = E_q[exp(A_eff/beta)], with A_eff the expected advantage of a finite group. A shift
of c temperatures adds c to log Z, and log Z rises with the temperature of a group's optimal value: both least settings
are the root of a rising function. Derivations: docs/theory.md; arXiv 2605.28150.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from pessimism.groups.beta1 import least_beta1, least_of_law
from pessimism.groups.finite_group import finite_group
from pessimism.groups.input import check_setting, sampler
from pessimism.groups.reward_law import reward_law
from pessimism.losses.registry import Kimi, OptimalValue


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
    beta : temperature of the regression > 0, in reward units.
    group_size, pass_rate, reward, behavior, leave_one_out, drop_equal : as for :func:`~pessimism.finite_group`;
        ``reward`` alone ``(..., n)`` is a sample of rewards.
    baseline : what is shifted, the group's mean, as by ``shifted_mean``, or its optimal value at beta.

    Returns
    -------
    float, or array ``(...)`` for several problems; exact to rounding for two rewards, and for the mean.

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
    beta2 : temperature of the regression > 0, in reward units.
    group_size, pass_rate, reward, behavior, leave_one_out, drop_equal : as for :func:`~pessimism.finite_group`.

    Returns
    -------
    float, or array ``(...)`` for several problems; exact to rounding for two rewards, by quadrature for more. 0 where
    every beta1 has log Z >= 0 (all rewards equal, or a group of one; often with ``leave_one_out``), inf where none has
    (at times with ``drop_equal``).

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
    found, two = np.zeros(len(laws)), [i for i, law in enumerate(laws) if len(law.values) == 2]
    if two:
        high = np.array([laws[i].mass[1] for i in two])
        low = np.array([laws[i].mass[0] for i in two])
        spread = np.array([np.ptp(laws[i].values) for i in two])
        size = np.full(len(two), group_size)
        found[two] = least_beta1(beta2, size, high, low, spread, leave_one_out=leave_one_out, drop_equal=drop_equal)
    for i, law in enumerate(laws):
        if len(law.values) > 2:
            found[i] = least_of_law(beta2, group_size, law.values, law.mass, leave_one_out, drop_equal)
    return found.reshape(q.shape[:-1])[()]


def _check_temperature(name: str, value: Any) -> None:
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not (is_number and 0 < value < math.inf):
        raise ValueError(f"{name} must be a finite number > 0, got {value!r}")
