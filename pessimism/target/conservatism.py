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
from pessimism.closed_forms.regime import Distance
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
        * ``pessimism_factor``: effective temperature / beta; ``advantage_factor``: the same, with the effective
          temperature in units of the advantage where beta is, since the objective divides the rewards by their spread;
        * ``kl_gap``: KL(nominal || mu) - KL(pi || mu), with ``target.nominal``, the nominal one in the reward;
        * ``gain_share``, ``nominal_kl`` and ``tv_nominal``: see :func:`effect`.

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
    log_nu = to_numpy_float(target.bandit.log_reference)
    beta = np.nan if target.beta is None else to_numpy_float(per_row(target.row_objective.temperature))
    facts, pi = effect(target), _kept(pi)
    with np.errstate(invalid="ignore", divide="ignore"):
        log_z = log_partition(array_namespace(q), q, np.log(q), advantage / np.reshape(beta, (-1, 1)))
    leak, kl = facts["leak"], facts["kl"]
    temperature = np.where(leak > 0, np.nan, temperature_of_logs(log_policy, log_nu, reward, _digits(target.policy))[0])
    columns = {
        "regime": np.atleast_1d(target.regime).ravel(),
        "kappa": np.atleast_1d(to_numpy_float(target.kappa)).ravel(),
        "log_z": log_z,
        "kl": kl,
        "kl_reverse": divergences.kl_divergence(q, pi),
        "chi_square": divergences.chi_square(pi, q),
        "total_variation": facts["total_variation"],
        "entropy": divergences.entropy(pi),
        "max_ratio": facts["max_ratio"],
        "effective_sample_size": divergences.effective_sample_size(pi, q),
        "value": facts["value"],
        "behavior_value": facts["behavior_value"],
        "leak": leak,
        "effective_temperature": temperature,
        "pessimism_factor": temperature / beta,
        "advantage_factor": _in_advantages(target, log_policy, log_nu, leak, temperature) / beta,
        "kl_gap": np.where(leak > 0, np.nan, divergences.kl_divergence(nominal, q) - kl),
        "gain_share": facts["gain_share"],
        "nominal_kl": facts["nominal_kl"],
        "tv_nominal": facts["tv_nominal"],
    }
    known = ("regime", "log_z", "kappa", "leak", "nominal_kl", "tv_nominal")
    return {name: of if name in known else _where_kept(pi, of) for name, of in columns.items()}


def _in_advantages(target: InducedTarget, log_policy: Array, log_nu: Array, leak: Array, in_rewards: Array) -> Array:
    """Effective temperatures in units of what the objective's own temperature weighs."""
    what = target.weighed
    if np.array_equal(what, to_numpy(target.bandit.reward)) or target.beta is None:
        return in_rewards
    return np.where(leak > 0, np.nan, temperature_of_logs(log_policy, log_nu, what, _digits(target.policy))[0])


def effect(target: InducedTarget, *names: str) -> dict[str, Array]:
    """What a target does to its behavior, as arrays ``(N,)`` by name: the measures that need no root, or some of them.

    With pi the policy, what leaks renormalized away, and mu the behavior: ``value`` E_pi[r], ``behavior_value``
    E_mu[r], ``gain_share`` (their difference over that between the best action's reward and E_mu[r]: 1 for the greedy
    policy, negative for one that is worse than mu, nan where all rewards are equal), ``kl`` KL(pi || mu),
    ``max_ratio``, ``total_variation`` between pi and mu, ``leak``, ``nominal_kl`` KL(nominal || mu), and
    ``tv_nominal``, the total variation between the nominal target and the policy together with what leaks. The nominal
    target is the one in what the temperature weighs, ``target.nominal_rows``. nan where there is no policy.
    """
    width = target.reward.shape[-1]
    q, policy, reward = (
        to_numpy_float(getattr(target, name)).reshape(-1, width) for name in ("behavior", "policy", "reward")
    )
    leak, pi = np.atleast_1d(to_numpy_float(target.leak)).ravel(), _kept(policy)
    measures: dict[str, Callable[[], Array]] = {
        "value": lambda: np.sum(pi * reward, axis=-1),
        "behavior_value": lambda: np.sum(q * reward, axis=-1),
        "gain_share": lambda: _gain_share(pi, q, reward),
        "kl": lambda: divergences.kl_divergence(pi, q),
        "max_ratio": lambda: divergences.max_ratio(pi, q),
        "total_variation": lambda: divergences.total_variation(pi, q),
        "leak": lambda: leak,
        "nominal_kl": lambda: divergences.kl_divergence(target.nominal_rows, q),
        "tv_nominal": lambda: divergences.total_variation(policy, target.nominal_rows) + 0.5 * leak,
    }
    known = ("leak", "nominal_kl", "tv_nominal")
    columns = {name: measures[name]() for name in names or measures}
    return {name: of if name in known else _where_kept(pi, of) for name, of in columns.items()}


def _gain_share(pi: Array, q: Array, reward: Array) -> Array:
    """Part of the possible gain in reward over that of the behavior."""
    mean, best = np.sum(q * reward, axis=-1), np.max(np.where(q > 0, reward, -np.inf), axis=-1)
    lowest = np.min(np.where(q > 0, reward, np.inf), axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Differences from the mean: what is common to all rewards rounds away nothing.
        gained = np.sum((pi - q) * (reward - mean[:, None]), axis=-1)
        return np.where(best > lowest, gained / (best - mean), np.nan)


def _kept(policy: Array) -> Array:
    """Rows of a policy without what leaked; nan where all of it has."""
    mass = policy.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return policy / np.where(mass > 0, mass, np.nan)


def _where_kept(pi: Array, values: Array) -> Array:
    """Measures of the rows that have a policy, nan for those that are invalid, without a target, or leaked whole."""
    return np.where(np.isnan(pi).any(axis=-1), np.nan, values)


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


def _digits(probabilities: Any) -> float:
    """Rounding of probabilities as they were given."""
    return float(np.finfo(np.float32 if str(getattr(probabilities, "dtype", "")).endswith("float32") else float).eps)


def temperature_of_logs(log_policy: Array, log_q: Array, reward: Array, digits: float) -> tuple[Array, Array]:
    """Temperatures ``(N,)`` of rows ``(N, K)`` of log-probabilities, and which have none since they earn too little.

    Mass that leaked is left out. A nominal target has at least the mean reward of the behavior: a policy that has less
    by more than rounding, of which ``digits`` is the size, has no temperature.

    The order of the actions does not matter: they are sorted by reward, and problems that are then the same are solved
    once. A log of 0/1 rewards has few others.
    """
    order = np.argsort(reward, axis=-1, kind="stable")
    log_policy, log_q, reward = (np.take_along_axis(a, order, axis=-1) for a in (log_policy, log_q, reward))
    first, which = _distinct(log_policy, log_q, reward)
    found, worse = _temperature_of_rows(log_policy[first], log_q[first], reward[first], digits)
    return found[which], worse[which]


def _distinct(*rows: Array) -> tuple[Array, Array]:
    """Rows ``(D,)`` that are unlike each other in some array, to the last bit, and for each row which it is like."""
    whole = np.concatenate(rows, axis=-1).astype(float)
    factors = np.random.default_rng(0).integers(2**62, size=whole.shape[-1], dtype=np.uint64) * np.uint64(
        2
    ) + np.uint64(1)
    code = (whole.view(np.uint64) * factors).sum(axis=-1, dtype=np.uint64)
    _, first, which = np.unique(code, return_index=True, return_inverse=True)
    if not np.array_equal(whole[first[which]].view(np.uint64), whole.view(np.uint64)):  # two rows of one code
        return np.arange(len(whole)), np.arange(len(whole))
    return first, which


def _temperature_of_rows(log_policy: Array, log_q: Array, reward: Array, digits: float) -> tuple[Array, Array]:
    with np.errstate(invalid="ignore"):
        log_policy = log_policy - np.logaddexp.reduce(log_policy, axis=-1)[:, None]
    problem = Distance(log_q, reward)
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
    problem: Distance, index: Array, measure: Callable[[Distance, Array], Array], goal: Array
) -> Array:
    """Logarithm of the t at which a measure of the nominal target reaches its goal, for the rows of ``index``."""
    from scipy.optimize import elementwise

    def gap(log_t: Array, row: Array) -> Array:
        chosen = index[row.astype(int)]
        part = problem.take(chosen)
        return measure(part, part.tilted(log_t)) - goal[chosen]

    ends = (np.full(len(index), -40.0), np.full(len(index), 40.0))
    return elementwise.find_root(gap, ends, args=(np.arange(len(index), dtype=float),)).x
