"""How conservative a policy is, in numbers: divergences from the behavior, and the effective temperature."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import elementwise

from pessimism import divergences
from pessimism.bandit import make_bandit, to_numpy

Array = Any


def effective_temperature(policy: Any, behavior: Any, reward: Any) -> Any:
    r"""Temperature beta' at which the nominal target is as far from the behavior as ``policy`` is.

    Solves :math:`KL(\mu e^{r/\beta'} / Z \,\|\, \mu) = KL(\pi \| \mu)` for each problem (arXiv 2605.28150).

    Parameters
    ----------
    policy, behavior : probabilities ``(..., K)``; the policy may sum to less than one (mass that leaked is
        left out and the rest renormalised).
    reward : rewards ``(..., K)``.

    Returns
    -------
    numpy array ``(...)`` in reward units: inf where the policy equals the behavior; 0 where it is as far as the
    greedy policy; nan where no temperature gives that distance (farther than greedy, or all rewards equal).

    Raises
    ------
    ValueError
        As :func:`~pessimism.bandit.make_bandit`, for behavior and reward.

    Examples
    --------
    >>> import pessimism as ps
    >>> nominal = ps.nominal_target([0.5, 0.5], [0.0, 1.0], beta=0.25)
    >>> round(float(effective_temperature(nominal, [0.5, 0.5], [0.0, 1.0])), 12)
    0.25
    """
    bandit = make_bandit(behavior, reward)
    rows = np.broadcast_to(to_numpy_float(policy), (*bandit.shape, bandit.reward.shape[-1])).reshape(bandit.reward.shape)
    q, log_q = to_numpy(bandit.behavior), to_numpy(bandit.log_behavior)
    r = to_numpy(bandit.reward)
    with np.errstate(invalid="ignore", divide="ignore"):
        rows = rows / rows.sum(axis=-1, keepdims=True)
    distance = divergences.kl_divergence(rows, q)
    top = np.max(np.where(q > 0, r, -np.inf), axis=-1, keepdims=True)
    below = np.where(q > 0, r - top, 0.0)
    scale = -np.min(below, axis=-1)
    best = (below == 0) & (q > 0)
    greedy = -np.log(np.sum(np.where(best, q, 0.0), axis=-1))
    result = np.full(len(r), np.nan)
    informative = (scale > 0) & np.isfinite(distance)
    # Distances below rounding of the divergence itself are no distance.
    result[informative & (distance <= 4 * np.finfo(float).eps)] = np.inf
    result[informative & (np.abs(distance - greedy) <= 1e-12 * (1 + greedy))] = 0.0
    (solve,) = np.nonzero(informative & np.isnan(result) & (distance < greedy))
    if solve.size:
        result[solve] = scale[solve] / np.exp(_log_inverse_temperature(log_q[solve], below[solve] / scale[solve, None], distance[solve]))
    return result.reshape(bandit.shape)[()]


def to_numpy_float(values: Any) -> np.ndarray[Any, Any]:
    """Any array or nested list as a float64 numpy array."""
    return to_numpy(values).astype(np.float64) if hasattr(values, "__dlpack__") else np.asarray(values, dtype=np.float64)


def _log_inverse_temperature(log_q: Array, unit: Array, distance: Array) -> Array:
    """log t with KL(mu e^{t unit}/Z || mu) = distance, unit in [-1, 0]."""

    def gap(log_t: Array, row: Array) -> Array:
        index = row.astype(int)
        x = np.exp(log_t)[:, None] * unit[index]
        log_z = np.logaddexp.reduce(log_q[index] + x, axis=-1)
        tilted = np.exp(log_q[index] + x - log_z[:, None])
        # sum pi x - log Z, from x - log Z so that nearly equal terms cancel inside
        with np.errstate(divide="ignore"):
            return np.log(np.maximum(np.sum(tilted * (x - log_z[:, None]), axis=-1), 0.0)) - np.log(distance[index])

    ends = (np.full(len(distance), -40.0), np.full(len(distance), 40.0))
    return elementwise.find_root(gap, ends, args=(np.arange(len(distance), dtype=float),)).x


def metrics(target: Any) -> pd.DataFrame:
    """Conservatism of an :class:`~pessimism.result.InducedTarget`: one row per problem, in C order of the batch.

    Columns: regime, kappa, log_z (log E_mu[exp(A/beta)]), kl (KL(pi||mu)), kl_reverse (KL(mu||pi)), chi_square,
    total_variation, entropy, max_ratio, effective_sample_size, value (E_pi[r]), behavior_value, leak,
    effective_temperature, pessimism_factor (effective temperature / beta), kl_gap (KL(nominal||mu) - KL(pi||mu)). Of a
    policy that leaks, everything but leak and log_z describes the renormalised rest. nan where undefined.
    """
    reward = np.atleast_2d(to_numpy_float(target.reward))
    width = reward.shape[-1]
    q, pi, advantage = (
        to_numpy_float(a).reshape(-1, width) for a in (target.behavior, target.policy, target.advantage)
    )
    reward = reward.reshape(-1, width)
    rest = pi.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        pi = pi / np.where(rest > 0, rest, np.nan)
    beta = target.beta
    missing = np.full(len(q), np.nan)
    kl = divergences.kl_divergence(pi, q)
    temperature = effective_temperature(pi, q, np.where(np.isfinite(reward), reward, 0.0))
    nominal_kl = missing if beta is None else divergences.kl_divergence(to_numpy_float(target.nominal).reshape(-1, width), q)
    invalid = np.isnan(pi).any(axis=-1)
    columns = {
        "regime": np.atleast_1d(target.regime).ravel(),
        "kappa": np.atleast_1d(to_numpy_float(target.kappa)).ravel(),
        "log_z": missing if beta is None else _log_z(q, advantage / beta),
        "kl": kl,
        "kl_reverse": divergences.kl_divergence(q, pi),
        "chi_square": divergences.chi_square(pi, q),
        "total_variation": divergences.total_variation(pi, q),
        "entropy": divergences.entropy(pi),
        "max_ratio": divergences.max_ratio(pi, q),
        "effective_sample_size": divergences.effective_sample_size(pi, q),
        "value": np.sum(pi * reward, axis=-1),
        "behavior_value": np.sum(q * reward, axis=-1),
        "leak": np.atleast_1d(to_numpy_float(target.leak)).ravel(),
        "effective_temperature": temperature,
        "pessimism_factor": missing if beta is None else temperature / beta,
        "kl_gap": nominal_kl - kl,
    }
    frame = pd.DataFrame(columns)
    frame.loc[invalid, [c for c in frame if c not in ("regime", "log_z")]] = np.nan
    return frame


def _log_z(q: Array, z: Array) -> Array:
    from array_api_compat import array_namespace

    from pessimism.regimes import log_partition

    with np.errstate(divide="ignore"):
        return log_partition(array_namespace(q), q, np.log(q), z)
