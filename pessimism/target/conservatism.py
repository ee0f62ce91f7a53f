"""How conservative a target is, in numbers: divergences from the behavior, value, effective temperature."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from array_api_compat import array_namespace

from pessimism import divergences
from pessimism.closed_forms.negative_regime import log_partition
from pessimism.target.temperature import temperature_of_logs, to_numpy_float

Array = Any


def metrics(target: Any) -> pd.DataFrame:
    """Conservatism of an :class:`~pessimism.target.result.InducedTarget`: one row per problem, in C order of the batch.

    Columns: regime, kappa, log_z (log E_mu[exp(A/beta)]), kl (KL(pi||mu), mu the behavior), kl_reverse (KL(mu||pi)),
    chi_square, total_variation, entropy, max_ratio, effective_sample_size, value (E_pi[r]), behavior_value, leak,
    effective_temperature, pessimism_factor (effective temperature / beta), kl_gap (KL(nominal||mu) - KL(pi||mu)).

    The effective temperature is that of the nominal target around the reference, as ``target.nominal`` is. Of a policy
    that leaks, kl to value describe the renormalized rest, and what compares it with a nominal target is nan, as
    everything undefined is.
    """
    width = target.reward.shape[-1]
    names = ("behavior", "policy", "advantage", "reward", "log_policy", "nominal")
    q, pi, advantage, reward, log_policy, nominal = (
        to_numpy_float(getattr(target, name)).reshape(-1, width) for name in names
    )
    kappa, leak = (np.atleast_1d(to_numpy_float(a)).ravel() for a in (target.kappa, target.leak))
    log_nu = to_numpy_float(target.bandit.log_reference)
    beta = np.nan if target.beta is None else target.beta
    with np.errstate(invalid="ignore", divide="ignore"):
        pi = pi / np.where(pi.sum(axis=-1, keepdims=True) > 0, pi.sum(axis=-1, keepdims=True), np.nan)
        log_z = log_partition(array_namespace(q), q, np.log(q), advantage / beta)
    kl = divergences.kl_divergence(pi, q)
    temperature = np.where(leak > 0, np.nan, temperature_of_logs(log_policy, log_nu, reward))
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
    frame = pd.DataFrame(columns)
    gone = np.isnan(pi).any(axis=-1)  # invalid, without a target, or all of it leaked
    frame.loc[gone, [c for c in frame if c not in ("regime", "log_z", "kappa", "leak")]] = np.nan
    return frame
