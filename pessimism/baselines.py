"""Baselines V and spreads of a reward under a policy: what an objective subtracts to form its advantage.

``weights=None`` means a sampled group (every completion counts the same); otherwise ``weights`` are the probabilities
of the actions and sum to one. Both act on the last axis. Equal rewards give a baseline that is exactly that reward, and
an optimal value at a large temperature keeps all its digits.
"""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

Array = Any


def expectation(values: Array, weights: Array | None = None) -> Array:
    """Mean of ``values`` on the last axis, under ``weights`` or uniform.

    Examples
    --------
    >>> import numpy as np
    >>> float(expectation(np.array([0.0, 1.0]), np.array([0.25, 0.75])))
    0.75
    """
    xp = array_namespace(values)
    if weights is None:
        return xp.mean(values, axis=-1)
    return xp.vecdot(*xp.broadcast_arrays(weights, values))


def _supported_max(reward: Array, weights: Array | None) -> Array:
    xp = array_namespace(reward)
    if weights is not None:
        reward = xp.where(weights > 0, reward, xp.asarray(-xp.inf, dtype=reward.dtype))
    return xp.max(reward, axis=-1)


def mean_reward(reward: Array, weights: Array | None = None) -> Array:
    r"""Group mean :math:`V = E_\mu[r]`, the baseline of Kimi k1.5 (arXiv 2501.12599) and GRPO.

    Examples
    --------
    >>> import numpy as np
    >>> float(mean_reward(np.array([0.1, 0.1, 0.1])))
    0.1
    """
    mean = expectation(reward, weights)
    # A second pass over the rest makes the mean of equal rewards exact.
    return mean + expectation(reward - mean[..., None], weights)


def optimal_value(reward: Array, beta: float, weights: Array | None = None) -> Array:
    r"""Optimal value :math:`V^*_\beta = \beta \log E_\mu[\exp(r / \beta)]` of the KL-regularised problem.

    Source: A*-PO (arXiv 2505.20686). It decreases in beta, from max r (beta -> 0) to E[r] (beta -> infinity).

    Examples
    --------
    >>> import numpy as np
    >>> round(float(optimal_value(np.array([0.0, 1.0]), 0.5)), 6)
    0.71681
    """
    xp = array_namespace(reward)
    top = _supported_max(reward, weights)
    # Actions without weight may have any reward: keep exp of it finite.
    below = xp.minimum(reward - top[..., None], xp.asarray(0.0, dtype=reward.dtype)) / beta
    total = expectation(xp.exp(below), weights)
    # log1p keeps the digits when the exponentials are all near one, log when nearly all of them vanish.
    near_one = total > 0.5
    excess = xp.where(near_one, expectation(xp.expm1(below), weights), xp.zeros_like(total))
    return top + beta * xp.where(near_one, xp.log1p(excess), xp.log(total))


def standard_deviation(reward: Array, weights: Array | None = None) -> Array:
    """Standard deviation of the reward: of the population under ``weights``, unbiased (n - 1) in a sampled group.

    TRL and verl use the unbiased one (``torch.std``); a group of one completion has spread 0.

    Examples
    --------
    >>> import numpy as np
    >>> float(standard_deviation(np.array([0.0, 2.0]), np.array([0.5, 0.5])))
    1.0
    """
    xp = array_namespace(reward)
    gap = reward - mean_reward(reward, weights)[..., None]
    variance = expectation(gap * gap, weights)
    if weights is None and reward.shape[-1] > 1:
        variance = variance * (reward.shape[-1] / (reward.shape[-1] - 1))
    return xp.sqrt(variance)
