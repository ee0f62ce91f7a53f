"""Baselines V and spreads of a reward under a policy: what an objective subtracts to form its advantage.

``weights=None`` means a sampled group (every completion counts the same); otherwise ``weights`` are the probabilities
of the actions and sum to one. Both act on the last axis. Equal rewards give a baseline that is exactly that reward, and
an optimal value at a large temperature keeps all its digits.
"""

from __future__ import annotations

import math

from array_api_compat import array_namespace, device

from pessimism.arrays import Array, per_row


def expectation(values: Array, weights: Array | None = None) -> Array:
    """Mean of ``values`` on the last axis.

    Parameters
    ----------
    values : Array
        Numbers ``(..., K)``.
    weights : Array, optional
        Probabilities ``(..., K)``; uniform without them.

    Returns
    -------
    Array
        Means ``(...)``.

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


def constant_parts(reward: Array, value: float = 0.0) -> tuple[Array, Array]:
    """One constant for every group, in two parts as those of :func:`mean_parts`.

    Parameters
    ----------
    reward : Array
        Rewards ``(..., K)``.
    value : float, default 0.0
        The constant.

    Returns
    -------
    tuple of Array
        The constant ``(...)``, and zeros.

    Examples
    --------
    >>> import numpy as np
    >>> [float(part) for part in constant_parts(np.array([0.0, 1.0]), 0.5)]
    [0.5, 0.0]
    """
    zeros = array_namespace(reward).zeros_like(reward[..., 0])
    return zeros + per_row(value), zeros


def mean_parts(reward: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """Mean reward as a rounded anchor plus a rest, so that (r - anchor) - rest keeps every digit.

    The rest is what rounding took from the mean. A rare action far above the others moves the mean by less than its own
    rounding, and the target depends on just that.
    """
    xp = array_namespace(reward)
    anchor = expectation(reward, weights)
    gap = reward - anchor[..., None]
    rest = expectation(gap, weights)
    # Equal rewards: the rest is their common gap exactly, not up to the rounding of a weighted sum.
    equal = xp.abs(gap[..., 0] - rest) <= 16.0 * xp.finfo(reward.dtype).eps * xp.abs(rest)
    if bool(xp.any(equal)):
        inside = gap if weights is None else xp.where(weights > 0, gap, rest[..., None])
        rest = xp.where(equal, xp.minimum(xp.maximum(rest, xp.min(inside, axis=-1)), xp.max(inside, axis=-1)), rest)
    return anchor, rest


_NEAR = 0.4  # temperatures between the mean and the optimal value up to which the mean is the better anchor


def optimal_value_parts(reward: Array, beta: float, weights: Array | None = None) -> tuple[Array, Array]:
    """Optimal value as anchor plus rest: the anchor is the mean where the rest is small, else the maximum."""
    xp = array_namespace(reward)
    seen = xp.ones_like(reward, dtype=xp.bool) if weights is None else xp.broadcast_arrays(weights, reward)[0] > 0
    top = xp.max(xp.where(seen, reward, xp.full_like(reward, -xp.inf)), axis=-1)
    mean = xp.minimum(expectation(reward, weights), top)  # which rounding may leave above equal rewards

    def exponent(anchor: Array) -> Array:
        # Actions without weight may have any reward: keep exp of it finite.
        return xp.where(seen, (reward - anchor[..., None]) / beta, xp.zeros_like(reward))

    rest = xp.log(expectation(xp.exp(exponent(top)), weights))
    near = rest + (top - mean) / per_row(beta) < _NEAR
    if bool(xp.any(near)):
        # Cut where no row is near, lest it overflows.
        excess = expectation(xp.expm1(xp.minimum(exponent(mean), 700.0)), weights)
        rest = xp.where(near, xp.log1p(xp.where(near, excess, xp.zeros_like(excess))), rest)
    return xp.where(near, mean, top), per_row(beta) * rest


def optimal_value(reward: Array, beta: float, weights: Array | None = None) -> Array:
    r"""Optimal value :math:`V^*_\beta = \beta \log E_\mu[\exp(r / \beta)]` of the KL-regularized problem.

    It decreases in beta, from max r (beta -> 0) to E[r] (beta -> infinity).

    Parameters
    ----------
    reward : Array
        Rewards ``(..., K)``.
    beta : float
        Temperature, in units of the reward; > 0.
    weights : Array, optional
        Probabilities ``(..., K)``; uniform without them.

    Returns
    -------
    Array
        Optimal values ``(...)``.

    References
    ----------
    .. [1] A*-PO, arXiv 2505.20686.

    Examples
    --------
    >>> import numpy as np
    >>> round(float(optimal_value(np.array([0.0, 1.0]), 0.5)), 6)
    0.71689
    """
    anchor, rest = optimal_value_parts(reward, beta, weights)
    return anchor + rest


def standard_deviation(reward: Array, weights: Array | None = None) -> Array:
    """Standard deviation of the reward: of the population under ``weights``, unbiased (n - 1) in a sampled group.

    TRL and verl use the unbiased one (``torch.std``); a group of one completion has spread 0.

    Parameters
    ----------
    reward : Array
        Rewards ``(..., K)``.
    weights : Array, optional
        Probabilities ``(..., K)``; without them the rewards are those of a sampled group.

    Returns
    -------
    Array
        Standard deviations ``(...)``.

    Examples
    --------
    >>> import numpy as np
    >>> float(standard_deviation(np.array([0.0, 2.0]), np.array([0.5, 0.5])))
    1.0
    """
    anchor, rest = mean_parts(reward, weights)
    gap = (reward - anchor[..., None]) - rest[..., None]
    spread = root_mean_square(gap, weights)
    if weights is None and reward.shape[-1] > 1:
        spread = spread * math.sqrt(reward.shape[-1] / (reward.shape[-1] - 1))
    return spread


def batch_standard_deviation(reward: Array, weights: Array | None = None) -> Array:
    """Standard deviation of the rewards of a whole batch of groups, about their common mean.

    It is that of the population under ``weights``, every group counting the same, and unbiased in sampled groups.

    Parameters
    ----------
    reward : Array
        Rewards ``(..., K)``; the leading axes are those of the batch.
    weights : Array, optional
        Probabilities ``(..., K)``; without them the rewards are those of sampled groups.

    Returns
    -------
    Array
        The one standard deviation, in the shape ``(...)``.

    Examples
    --------
    >>> import numpy as np
    >>> batch_standard_deviation(np.array([[0.0, 0.0], [2.0, 2.0]]), np.full((2, 2), 0.5))
    array([1., 1.])
    """
    xp = array_namespace(reward)
    gap = reward - xp.mean(expectation(reward, weights))
    spread = root_mean_square(xp.reshape(root_mean_square(gap, weights), (-1,)))
    if weights is None and math.prod(reward.shape) > 1:
        spread = spread * math.sqrt(math.prod(reward.shape) / (math.prod(reward.shape) - 1))
    return spread + xp.zeros_like(reward[..., 0])


def sum_of_standardized(rewards: Array, weights: Array | None = None, *, eps: float = 1e-4) -> Array:
    """Sum of several rewards, each centered and divided by its own standard deviation in the group first (GDPO).

    It is a reward to hand to an objective that divides by the deviation of the batch, such as ``dapo`` with
    ``scale="batch"``: TRL's ``normalize_then_sum``. Every reward weighs the same.

    Parameters
    ----------
    rewards : Array
        Rewards ``(M, ..., K)``, M of each completion.
    weights : Array, optional
        Probabilities ``(..., K)``; without them the completions are a sampled group.
    eps : float, default 1e-4
        Added to each standard deviation, in units of the reward.

    Returns
    -------
    Array
        Sums ``(..., K)``.

    References
    ----------
    .. [1] arXiv 2601.05242.

    Examples
    --------
    >>> import numpy as np
    >>> right, short = np.array([0.0, 1.0, 1.0]), np.array([0.0, 0.0, 100.0])
    >>> sum_of_standardized(np.stack([right, short])).round(2)
    array([-1.73, -0.  ,  1.73])
    """
    xp = array_namespace(rewards)
    own = None if weights is None else weights + xp.zeros_like(rewards)
    anchor, rest = mean_parts(rewards, own)
    gap = (rewards - anchor[..., None]) - rest[..., None]
    return xp.sum(gap / (standard_deviation(rewards, own)[..., None] + eps), axis=0)


def deviation_of_others(reward: Array, weights: Array | None = None) -> Array:
    """Standard deviation of the other members of each member's group, unbiased; of the population under ``weights``.

    Parameters
    ----------
    reward : Array
        Rewards ``(..., K)``.
    weights : Array, optional
        Probabilities ``(..., K)``, under which one member more or less makes no difference; without them the rewards
        are those of a sampled group.

    Returns
    -------
    Array
        Standard deviations ``(..., K)``.

    Raises
    ------
    ValueError
        If a sampled group has fewer than three members.

    Examples
    --------
    >>> import numpy as np
    >>> deviation_of_others(np.array([0.0, 0.0, 2.0])).round(4)
    array([1.4142, 1.4142, 0.    ])
    """
    xp, width = array_namespace(reward), reward.shape[-1]
    if weights is not None:
        return standard_deviation(reward, weights)[..., None] + xp.zeros_like(reward)
    if width < 3:
        raise ValueError(f"a group must have three members or more for the deviation of the others, got {width}")
    own = xp.eye(width, dtype=reward.dtype, device=device(reward))
    others = (1.0 - own) / (width - 1)
    pairs = reward[..., None, :] - own * (reward[..., None, :] - xp.roll(reward, 1, axis=-1)[..., None, :])
    anchor = pairs[..., 0:1]  # some reward of the others: equal ones deviate by exactly 0
    gap = pairs - anchor
    gap = gap - xp.sum(others * gap, axis=-1, keepdims=True)
    return root_mean_square(gap, others + xp.zeros_like(gap)) * math.sqrt((width - 1) / (width - 2))


def root_mean_square(values: Array, weights: Array | None = None) -> Array:
    """Root of the mean square on the last axis, whose squares neither overflow nor underflow.

    Parameters
    ----------
    values : Array
        Numbers ``(..., K)``.
    weights : Array, optional
        Probabilities ``(..., K)``; uniform without them.

    Returns
    -------
    Array
        Roots ``(...)``.

    Examples
    --------
    >>> import numpy as np
    >>> float(root_mean_square(np.array([1e200, -1e200])))
    1e+200
    """
    xp = array_namespace(values)
    seen = values if weights is None else xp.where(weights > 0, values, xp.zeros_like(values))
    size = xp.max(xp.abs(seen), axis=-1)
    unit = xp.where(size > 0, size, xp.ones_like(size))
    scaled = seen / unit[..., None]
    return xp.sqrt(expectation(scaled * scaled, weights)) * unit
