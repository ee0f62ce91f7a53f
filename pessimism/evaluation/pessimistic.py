"""Pessimistic estimators: large ratios are shrunk, and the value has a lower bound that holds at every n."""

from __future__ import annotations

from typing import Any

import numpy as np

from pessimism.arrays import Floats
from pessimism.evaluation.checks import number, refuse, whole
from pessimism.evaluation.logs import Logs
from pessimism.evaluation.lower_bounds import bernstein_lower, ix_lower, ls_lower, moments_lower, smoothed_mean
from pessimism.evaluation.policies import Ratios, ratios
from pessimism.evaluation.result import FINITE, Evaluation, conclude


def clipped(
    policy: Any, logs: Logs, *, delta: float, cap: float | None = None, reward_min: float = 0.0, reward_max: float = 1.0
) -> Evaluation:
    r"""Clipped ratios, :math:`\frac1n \sum_i \min(w_i, M) r_i`, with the empirical Bernstein lower bound.

    Parameters
    ----------
    policy : probabilities
        As in :func:`pessimism.evaluate`.
    logs : Logs
        Logged rounds.
    delta : float
        Chance that the lower bound is above the value.
    cap : float, optional
        M > 0. Default: sqrt(n).
    reward_min, reward_max : float, default 0.0 and 1.0
        Range that the rewards cannot leave. The formula is applied to
        (r - reward_min) / (reward_max - reward_min) in [0, 1] and the result mapped back.

    Returns
    -------
    Evaluation
        Value with a lower bound.

    References
    ----------
    arXiv 0907.3740 (the bound), arXiv 2405.14335 (its use, and M = sqrt(n)).

    Examples
    --------
    >>> from pessimism import evaluate
    >>> evaluate(None, {"weight": [0.5, 3.0], "reward": [1.0, 1.0]}, "clipped", cap=2.0).value
    1.25
    """
    seen = ratios(policy, logs)
    cap = number("cap", np.sqrt(logs.n) if cap is None else cap, above=0.0)
    low, unit, terms = _from_range(seen, reward_min, reward_max)
    kept = np.minimum(seen.weight, cap) * terms
    bound = float(bernstein_lower(kept, cap, delta))
    options = {"cap": cap, "reward_min": low, "reward_max": low + unit}
    return _one_sided("clipped", seen, low + unit * float(kept.mean()), low + unit * bound, delta, options)


def ix(
    policy: Any, logs: Logs, *, delta: float, lam: float | None = None, reward_min: float = 0.0, reward_max: float = 1.0
) -> Evaluation:
    r"""Implicit exploration: :math:`\frac1n \sum_i \pi(a_i|x_i) r_i / (\mu(a_i|x_i) + \gamma)`, gamma = lam / 2.

    Parameters
    ----------
    policy : probabilities
        As in :func:`pessimism.evaluate`.
    logs : Logs
        Logged rounds, with ``pscore``.
    delta : float
        Chance that the lower bound is above the value.
    lam : float, optional
        lambda > 0, twice what is added to the propensities, chosen before seeing the log. Default: 1/sqrt(n).
    reward_min, reward_max : float, default 0.0 and 1.0
        As in :func:`clipped`. The bound needs both.

    Returns
    -------
    Evaluation
        Value with a lower bound.

    References
    ----------
    arXiv 2309.15771; arXiv 2405.14335 for gamma = lambda / 2.

    Examples
    --------
    >>> from pessimism import evaluate, make_logs
    >>> logs = make_logs(action=[0, 1], reward=[1.0, 1.0], pscore=[0.5, 0.25])
    >>> evaluate([0.25, 0.75], logs, "ix", lam=0.5).value
    0.9166666666666666
    """
    seen = ratios(policy, logs)
    pscore = seen.needs_pscore("ix")
    lam = _lambda(lam, logs.n)
    low, unit, terms = _from_range(seen, reward_min, reward_max)
    kept = seen.weight * (pscore / (pscore + lam / 2.0)) * terms
    bound = float(ix_lower(kept, lam, delta))
    options = {"lam": lam, "gamma": lam / 2.0, "reward_min": low, "reward_max": low + unit}
    return _one_sided("ix", seen, low + unit * float(kept.mean()), low + unit * bound, delta, options)


def es(
    policy: Any,
    logs: Logs,
    *,
    delta: float,
    power: float | None = None,
    lam: float | None = None,
    reward_min: float = 0.0,
) -> Evaluation:
    r"""Exponential smoothing: :math:`\frac1n \sum_i \pi(a_i|x_i) r_i / \mu(a_i|x_i)^\alpha`.

    Parameters
    ----------
    policy : probabilities
        As in :func:`pessimism.evaluate`.
    logs : Logs
        Logged rounds, with ``pscore``.
    delta : float
        Chance that the lower bound is above the value.
    power : float, optional
        alpha in [0, 1]; 1 is :func:`~pessimism.evaluation.importance.ips`. Default: 1 - 1/K as in the released code of
        arXiv 2405.14335, where the policy says what K is.
    lam : float, optional
        lambda > 0 of the lower bound, chosen before seeing the log. Default: 1/sqrt(n).
    reward_min : float, default 0.0
        As in :func:`ls`.

    Returns
    -------
    Evaluation
        Value with a lower bound.

    Notes
    -----
    The smoothed terms lie between 0 and w r, so the bound of two moments (L = 1 in arXiv 2405.14335) holds for them.

    References
    ----------
    arXiv 2305.15877 (exponential smoothing); arXiv 2405.14335 (the bound).

    Examples
    --------
    >>> from pessimism import evaluate, make_logs
    >>> logs = make_logs(action=[0, 1], reward=[1.0, 1.0], pscore=[0.25, 0.25])
    >>> evaluate([0.25, 0.75], logs, "es", power=0.5).value
    1.0
    """
    seen = ratios(policy, logs)
    pscore = seen.needs_pscore("es")
    if power is None and seen.policy is None:
        raise ValueError("power must be given for estimator es: without a policy the number of actions is unknown")
    if power is None and seen.policy is not None:
        power = 1.0 - 1.0 / seen.policy.table.shape[1]
    power = number("power", power)
    if not 0.0 <= power <= 1.0:
        raise ValueError(f"power must be between 0 and 1, got {power!r}")
    lam = _lambda(lam, logs.n)
    low, terms = _from_minimum(seen, reward_min)
    kept = seen.weight * pscore ** (1.0 - power) * terms
    bound = float(moments_lower(kept, lam, delta))
    options = {"power": power, "lam": lam, "reward_min": low}
    return _one_sided("es", seen, low + float(kept.mean()), low + bound, delta, options)


def ls(policy: Any, logs: Logs, *, delta: float, lam: float | None = None, reward_min: float = 0.0) -> Evaluation:
    r"""Logarithmic smoothing: :math:`\frac{1}{\lambda n} \sum_i \log(1 + \lambda w_i r_i)`.

    Parameters
    ----------
    policy : probabilities
        As in :func:`pessimism.evaluate`.
    logs : Logs
        Logged rounds.
    delta : float
        Chance that the lower bound is above the value.
    lam : float, optional
        lambda > 0, chosen before seeing the log. Default: 1/sqrt(n). Towards 0 the estimate becomes that of
        :func:`~pessimism.evaluation.importance.ips`.
    reward_min : float, default 0.0
        Value that the rewards cannot fall below. The formula is applied to r - reward_min >= 0 and reward_min is added
        back. No upper limit is needed.

    Returns
    -------
    Evaluation
        Value with a lower bound.

    Notes
    -----
    The lower bound is at least those of :func:`moments` and :func:`ix` at the same lam, on every log.

    References
    ----------
    arXiv 2405.14335, equation (14), with costs c = -r.

    Examples
    --------
    >>> from pessimism import evaluate
    >>> logs = {"weight": [0.5, 3.0], "reward": [1.0, 1.0]}
    >>> round(evaluate(None, logs, "ls", lam=1.0).value, 6), round(evaluate(None, logs, "ls", lam=1e-9).value, 6)
    (0.89588, 1.75)
    """
    seen = ratios(policy, logs)
    lam = _lambda(lam, logs.n)
    low, terms = _from_minimum(seen, reward_min)
    terms = seen.weight * terms
    value = low + float(smoothed_mean(terms, lam))
    bound = low + float(ls_lower(terms, lam, delta))
    return _one_sided("ls", seen, value, bound, delta, {"lam": lam, "reward_min": low})


def moments(
    policy: Any, logs: Logs, *, delta: float, lam: float | None = None, order: int = 1, reward_min: float = 0.0
) -> Evaluation:
    r"""Clipped terms, :math:`\frac1n \sum_i \min(w_i r_i, 1/\lambda)`, with the bound from their first 2L moments.

    Parameters
    ----------
    policy : probabilities
        As in :func:`pessimism.evaluate`.
    logs : Logs
        Logged rounds.
    delta : float
        Chance that the lower bound is above the value.
    lam : float, optional
        As in :func:`ls`.
    order : int, default 1
        L >= 1. The terms are those that make the bound largest among all with 0 <= h <= w r.
    reward_min : float, default 0.0
        As in :func:`ls`.

    Returns
    -------
    Evaluation
        Value with a lower bound.

    References
    ----------
    arXiv 2405.14335, empirical moments bound and its case L = 1.

    Examples
    --------
    >>> from pessimism import evaluate
    >>> evaluate(None, {"weight": [0.5, 3.0], "reward": [1.0, 1.0]}, "moments", lam=0.5).value
    1.25
    """
    seen = ratios(policy, logs)
    lam = _lambda(lam, logs.n)
    order = whole("order", order)
    low, terms = _from_minimum(seen, reward_min)
    kept = np.minimum(seen.weight * terms, 1.0 / lam)
    bound = low + float(moments_lower(kept, lam, delta, order))
    options = {"lam": lam, "order": order, "reward_min": low}
    return _one_sided("moments", seen, low + float(kept.mean()), bound, delta, options)


def _lambda(lam: float | None, n: int) -> float:
    return number("lam", 1.0 / np.sqrt(n) if lam is None else lam, above=0.0)


def _from_minimum(seen: Ratios, reward_min: float) -> tuple[float, Floats]:
    low = number("reward_min", reward_min)
    rule = f"must be at least reward_min = {low:g}"
    refuse("reward", seen.reward, seen.reward < low, rule)
    return low, seen.reward - low


def _from_range(seen: Ratios, reward_min: float, reward_max: float) -> tuple[float, float, Floats]:
    low, terms = _from_minimum(seen, reward_min)
    high = number("reward_max", reward_max, above=low)
    refuse("reward", seen.reward, seen.reward > high, f"must be at most reward_max = {high:g}")
    return low, high - low, terms / (high - low)


def _one_sided(
    name: str, seen: Ratios, value: float, lower: float, delta: float, options: dict[str, Any]
) -> Evaluation:
    return conclude(name, seen, value, (lower, np.inf), delta, FINITE, options)
