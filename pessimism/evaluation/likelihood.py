"""Empirical likelihood estimator and interval (ELFCB)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import fdtri

from pessimism.evaluation.checks import number, refuse, refuse_overflow
from pessimism.evaluation.empirical_likelihood import likelihood_weights, multiplier, smallest_value
from pessimism.evaluation.logs import Logs
from pessimism.evaluation.policies import ratios
from pessimism.evaluation.result import ASYMPTOTIC, Evaluation, effective_sample_size


def el(
    policy: Any,
    logs: Logs,
    *,
    delta: float,
    weight_max: float,
    weight_min: float = 0.0,
    reward_min: float = 0.0,
    reward_max: float = 1.0,
    rho: float | None = None,
) -> Evaluation:
    r"""Empirical likelihood: the most likely law of (w, r) with E[w] = 1, and all laws that are nearly as likely.

    The weights are :math:`q_i = 1 / (n (1 + b (w_i - 1)))` with b from
    :func:`~pessimism.evaluation.empirical_likelihood.multiplier`, m = 1 - sum w q is the importance mass that no round
    carries, and the value is :math:`\sum_i w_i r_i q_i + m \rho`, anywhere between ``details["vmin"]`` (rho =
    reward_min) and ``details["vmax"]`` (rho = reward_max).

    Parameters
    ----------
    policy, logs, delta : as in :func:`pessimism.evaluation.evaluate`.
    weight_min, weight_max : ratios that are possible at all, not the extremes seen: 0 <= weight_min < 1 < weight_max.
        For a behavior that explores with probability eps over K actions, weight_max is K / eps at most. ``numpy.inf``
        is allowed.
    reward_min, reward_max : rewards that are possible at all.
    rho : reward of the mass m. Default: midpoint of the rewards' range.

    Raises
    ------
    ValueError
        A ratio or a reward outside its range; a single round.

    Notes
    -----
    The interval holds the E[w r] of all laws within Delta = F^{-1}_{1-delta}(1, n-1) / 2 of the largest
    log-likelihood. Two-sided, asymptotically exact, not a finite-sample bound. ``details`` also holds ``multiplier``
    (b) and ``unseen_mass`` (m).

    References
    ----------
    arXiv 1906.03323: estimator, bias bound and confidence interval.

    Examples
    --------
    >>> from pessimism.evaluation import evaluate
    >>> logs = {"weight": [1.0102] * 2 + [0.0] * 8, "reward": [1.0] * 2 + [0.0] * 8}
    >>> found = evaluate(None, logs, "el", weight_max=2000.0)
    >>> round(found.lower, 6), found.upper
    (0.025504, 1.0)
    """
    seen = ratios(policy, logs)
    if logs.n < 2:
        raise ValueError("logs must hold at least two rounds for estimator el, got 1")
    wmin = number("weight_min", weight_min, above=-np.inf, below=1.0)
    if wmin < 0:
        raise ValueError(f"weight_min must not be negative, got {weight_min!r}")
    wmax = np.inf if weight_max == np.inf else number("weight_max", weight_max, above=1.0)
    rmin = number("reward_min", reward_min)
    rmax = number("reward_max", reward_max, above=rmin)
    rho = (rmin + rmax) / 2.0 if rho is None else number("rho", rho)
    if not rmin <= rho <= rmax:
        raise ValueError(f"rho must be between reward_min and reward_max, got {rho!r}")
    weight, reward = seen.weight, seen.reward
    refuse("weight", weight, weight < wmin, f"must be at least weight_min = {wmin:g}")
    refuse("weight", weight, weight > wmax, f"must be at most weight_max = {wmax:g}")
    refuse("reward", reward, reward < rmin, f"must be at least reward_min = {rmin:g}")
    refuse("reward", reward, reward > rmax, f"must be at most reward_max = {rmax:g}")

    b = multiplier(weight, wmin, wmax)
    q, unseen = likelihood_weights(weight, b)
    unit = rmax - rmin
    carried = float((weight * reward * q).sum())
    if not np.isfinite([carried, unit]).all():
        refuse_overflow(reward, "el")
    radius = float(fdtri(1, logs.n - 1, 1.0 - delta)) / 2.0
    options = {"weight_min": wmin, "weight_max": wmax, "reward_min": rmin, "reward_max": rmax, "rho": rho}
    return Evaluation(
        value=carried + unseen * rho,
        lower=rmin + unit * smallest_value(weight * ((reward - rmin) / unit), weight, wmin, wmax, b, radius),
        upper=rmax - unit * smallest_value(weight * ((rmax - reward) / unit), weight, wmin, wmax, b, radius),
        ess=effective_sample_size(weight),
        n=logs.n,
        estimator="el",
        delta=delta,
        guarantee=ASYMPTOTIC,
        options=options,
        details={
            "vmin": carried + unseen * rmin,
            "vmax": carried + unseen * rmax,
            "multiplier": b,
            "unseen_mass": unseen,
        },
    )
