"""Measures of how conservative a target is: divergences from the behavior, value, effective temperature."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace

from pessimism import divergences
from pessimism.arrays import Array, per_row, to_numpy, to_numpy_float
from pessimism.closed_forms.negative_regime import log_partition
from pessimism.core.bandit import make_bandit
from pessimism.core.validation import SUM_TOLERANCE

if TYPE_CHECKING:
    import pandas as pd

    from pessimism.target.result import InducedTarget


def metrics(target: InducedTarget) -> pd.DataFrame:
    """Conservatism of an induced target, one row for each problem, in C order of the batch.

    Parameters
    ----------
    target : InducedTarget
        Result of :func:`pessimism.induced_target`.

    Returns
    -------
    pandas.DataFrame
        The measures, with pi the target and mu the behavior, in the columns

        * ``regime`` and ``kappa``, as in the target;
        * ``log_z``: log E_mu[exp(A/beta)];
        * ``kl``: KL(pi || mu), and ``kl_reverse``: KL(mu || pi);
        * ``chi_square``, ``total_variation``, ``entropy``, ``max_ratio`` and ``effective_sample_size``;
        * ``value``: E_pi[r], and ``behavior_value``: E_mu[r];
        * ``leak``: mass that leaves the seen actions;
        * ``effective_temperature``, see :func:`effective_temperature`;
        * ``pessimism_factor``: effective temperature / beta;
        * ``kl_gap``: KL(nominal || mu) - KL(pi || mu).

    Notes
    -----
    The effective temperature is that of the nominal target around the reference, as ``target.nominal`` is; a target
    with a smaller mean reward than the reference has none. For a policy that leaks, the columns from ``kl`` to
    ``value`` describe the renormalized rest, and those that compare it with a nominal target are nan, as everything
    undefined is.
    """
    import pandas as pd

    return pd.DataFrame(numbers(target))


def numbers(target: InducedTarget) -> dict[str, Array]:
    """Measures of :func:`metrics` as arrays ``(N,)`` by name, for callers that need no frame."""
    width = target.reward.shape[-1]
    names = ("behavior", "policy", "advantage", "reward", "log_policy", "nominal")
    q, pi, advantage, reward, log_policy, nominal = (
        to_numpy_float(getattr(target, name)).reshape(-1, width) for name in names
    )
    kappa, leak = (np.atleast_1d(to_numpy_float(a)).ravel() for a in (target.kappa, target.leak))
    log_nu = to_numpy_float(target.bandit.log_reference)
    beta = np.nan if target.beta is None else to_numpy_float(per_row(target.row_objective.temperature))
    with np.errstate(invalid="ignore", divide="ignore"):
        pi = pi / np.where(pi.sum(axis=-1, keepdims=True) > 0, pi.sum(axis=-1, keepdims=True), np.nan)
        log_z = log_partition(array_namespace(q), q, np.log(q), advantage / np.reshape(beta, (-1, 1)))
    kl = divergences.kl_divergence(pi, q)
    temperature = np.where(leak > 0, np.nan, temperature_of_logs(log_policy, log_nu, reward, _digits(target.policy))[0])
    columns = {
        "regime": np.atleast_1d(target.regime).ravel(),
        "kappa": kappa,
        "log_z": log_z,
        "kl": kl,
        "kl_reverse": divergences.kl_divergence(q, pi),
        "chi_square": divergences.chi_square(pi, q),
        "total_variation": divergences.total_variation(pi, q),
        "entropy": divergences.entropy(pi),
        "max_ratio": divergences.max_ratio(pi, q),
        "effective_sample_size": divergences.effective_sample_size(pi, q),
        "value": np.sum(pi * reward, axis=-1),
        "behavior_value": np.sum(q * reward, axis=-1),
        "leak": leak,
        "effective_temperature": temperature,
        "pessimism_factor": temperature / beta,
        "kl_gap": np.where(leak > 0, np.nan, divergences.kl_divergence(nominal, q) - kl),
    }
    gone = np.isnan(pi).any(axis=-1)  # invalid, without a target, or all of it leaked
    known = ("regime", "log_z", "kappa", "leak")
    return {name: of if name in known else np.where(gone, np.nan, of) for name, of in columns.items()}


def effective_temperature(policy: Any, behavior: Any, reward: Any) -> Any:
    r"""Temperature beta' at which the nominal target is as far from the behavior as ``policy`` is.

    It solves :math:`KL(\mu e^{r/\beta'} / Z \,\|\, \mu) = KL(\pi \| \mu)` for each problem. A policy with a smaller
    mean reward than the behavior has no temperature, since every nominal target earns at least as much as the behavior.

    Parameters
    ----------
    policy : array_like, shape (..., K)
        Probabilities, or a target that has them. They may sum to less than one: mass that leaked is left out, and the
        rest renormalized.
    behavior : array_like, shape (..., K)
        Probabilities of the behavior.
    reward : array_like, shape (..., K)
        Rewards.

    Returns
    -------
    ndarray, shape (...)
        Temperatures in units of the reward: inf where the policy equals the behavior; 0 where it is as far as the
        greedy policy; nan where there is none, because the policy is worse than the behavior or farther from it than
        the greedy policy, or because all rewards are equal.

    Raises
    ------
    ValueError
        As :func:`~pessimism.core.bandit.make_bandit`, for behavior and reward.

    Warns
    -----
    RuntimeWarning
        Some policies are worse than the behavior, beyond rounding; the message says how many.

    References
    ----------
    .. [1] arXiv 2605.28150.

    Examples
    --------
    >>> import pessimism as ps
    >>> nominal = ps.nominal_target([0.5, 0.5], [0.0, 1.0], beta=0.25)
    >>> round(float(effective_temperature(nominal, [0.5, 0.5], [0.0, 1.0])), 12)
    0.25
    """
    digits = max(map(_digits, (policy, behavior)))
    arrays = [to_numpy_float(a) for a in (getattr(policy, "policy", policy), behavior, reward)]
    try:
        policy, behavior, reward = np.broadcast_arrays(*arrays)
    except ValueError:
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise ValueError(
            f"policy, behavior and reward must broadcast against each other, got shapes {shapes}"
        ) from None
    if not np.all((policy >= 0) & (policy.sum(axis=-1, keepdims=True) > 0)):
        raise ValueError("policy must be probabilities >= 0 with some mass in each problem")
    if (most := float(policy.sum(axis=-1).max(initial=0.0))) > 1.0 + SUM_TOLERANCE:
        raise ValueError(f"policy must not sum to more than 1 within {SUM_TOLERANCE:g}, got {most:.9g}")
    bandit = make_bandit(behavior, reward)
    rows = policy.reshape(bandit.reward.shape)
    with np.errstate(divide="ignore"):
        log_policy = np.log(rows)
    log_q, rewards = to_numpy(bandit.log_behavior), to_numpy(bandit.reward)
    found, worse = temperature_of_logs(log_policy, log_q, rewards, digits)
    if count := int(worse.sum()):
        whose = f"{count} of {len(rows)} policies have" if bandit.shape else "the policy has"
        why = "a smaller mean reward than the behavior; no nominal target has, so that no temperature fits"
        warnings.warn(f"effective temperature is nan: {whose} {why}", RuntimeWarning, stacklevel=2)
    return found.reshape(bandit.shape)[()]


class _Distance:
    """Divergence KL(pi || mu) of rows of log-probabilities, and near the greedy policy the shortfall from its KL.

    A policy within 1e-16 of greedy has the greedy KL in float64; its shortfall, KL(greedy || mu) - KL(pi || mu), still
    tells temperatures apart. With s the mass off the best actions it is
    -(1 - s) log(1 - s) + sum_off pi (log 1/q_best - log pi/q).
    """

    def __init__(self, log_q: Array, reward: Array) -> None:
        seen = np.isfinite(log_q)
        self.log_q, self.seen = log_q, seen
        below = np.where(seen, reward - np.max(np.where(seen, reward, -np.inf), axis=-1, keepdims=True), 0.0)
        self.best = (below == 0.0) & seen
        self.greedy = -np.logaddexp.reduce(np.where(self.best, log_q, -np.inf), axis=-1)
        self.scale = -np.min(below, axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            self.unit = np.where(self.scale[:, None] > 0, below / self.scale[:, None], 0.0)

    def take(self, rows: Array) -> _Distance:
        """The same distances for some of the rows."""
        part = object.__new__(_Distance)
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
        return terms - np.logaddexp.reduce(terms, axis=-1)[:, None]


def _digits(probabilities: Any) -> float:
    """Rounding of probabilities as they were given."""
    return float(np.finfo(np.float32 if str(getattr(probabilities, "dtype", "")).endswith("float32") else float).eps)


def temperature_of_logs(log_policy: Array, log_q: Array, reward: Array, digits: float) -> tuple[Array, Array]:
    """Temperatures ``(N,)`` of rows ``(N, K)`` of log-probabilities, and which have none since they earn too little.

    Mass that leaked is left out. A nominal target has at least the mean reward of the behavior: a policy that has less
    by more than rounding, of which ``digits`` is the size, has no temperature.
    """
    with np.errstate(invalid="ignore"):
        log_policy = log_policy - np.logaddexp.reduce(log_policy, axis=-1)[:, None]
    problem = _Distance(log_q, reward)
    distance = problem.kl(log_policy)
    outside = np.any(np.isfinite(log_policy) & ~problem.seen, axis=-1) | np.isnan(log_policy).any(axis=-1)
    result = np.full(len(reward), np.nan)
    # Log-ratios within rounding of the log-probabilities are no distance.
    logs = 8.0 * (1.0 - np.min(np.where(problem.seen, log_q, 0.0), axis=-1))
    rounding = np.finfo(float).eps * logs
    worse = (problem.scale > 0) & ~outside & (problem.loss(log_policy) > digits * logs)
    informative = (problem.scale > 0) & ~outside & ~worse
    none = informative & (distance <= rounding**2)
    result[none] = np.inf
    near = informative & (distance > 0.5 * problem.greedy)
    shortfall = problem.log_shortfall(log_policy)
    result[near & np.isneginf(shortfall)] = 0.0
    for rows, measure, goal in (
        (
            informative & ~none & ~near,
            lambda part, x: np.log(np.maximum(part.kl(x), 1e-300)),
            np.log(np.maximum(distance, 1e-300)),
        ),
        (near & np.isfinite(shortfall), lambda part, x: np.maximum(part.log_shortfall(x), -1e300), shortfall),
    ):
        (index,) = np.nonzero(rows)
        if index.size:
            result[index] = problem.scale[index] / np.exp(_solve_temperature(problem, index, measure, goal))
    return result, worse


def _solve_temperature(
    problem: _Distance, index: Array, measure: Callable[[_Distance, Array], Array], goal: Array
) -> Array:
    """Logarithm of the t at which a measure of the nominal target reaches its goal, for the rows of ``index``."""
    from scipy.optimize import elementwise

    def gap(log_t: Array, row: Array) -> Array:
        chosen = index[row.astype(int)]
        part = problem.take(chosen)
        return measure(part, part.tilted(log_t)) - goal[chosen]

    ends = (np.full(len(index), -40.0), np.full(len(index), 40.0))
    return elementwise.find_root(gap, ends, args=(np.arange(len(index), dtype=float),)).x
