"""Distances of a policy from a behavior: KL both ways, chi-square, total variation, entropy, effective sample size.

All act on the last axis, take probabilities, and follow the convention 0 log 0 = 0. ``inf`` is returned where the
divergence is infinite (mass where the second argument has none), never a clamped number.
"""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

from pessimism.arrays import Array


def _log_ratio(p: Array, q: Array) -> tuple[Any, Array]:
    """Logarithm of p/q where p > 0 (inf where only q vanishes), 0 elsewhere, by logs, so that p/q cannot overflow."""
    xp = array_namespace(p, q)
    ones = xp.ones_like(p)
    log_p = xp.log(xp.where(p > 0, p, ones))
    log_q = xp.log(xp.where(q > 0, q, ones))
    infinite = xp.where((p > 0) & (q == 0), xp.inf * ones, xp.zeros_like(p))
    return xp, xp.where(p > 0, log_p - log_q + infinite, xp.zeros_like(p))


def kl_divergence(p: Array, q: Array) -> Array:
    r"""Kullback-Leibler divergence :math:`\sum_a p_a \log(p_a / q_a)` in nats.

    Parameters
    ----------
    p, q : Array
        Probabilities ``(..., K)``.

    Returns
    -------
    Array
        Divergences ``(...)``; ``inf`` where p has mass that q lacks.

    Examples
    --------
    >>> import numpy as np
    >>> float(kl_divergence(np.array([1.0, 0.0]), np.array([0.5, 0.5])))
    0.6931471805599453
    """
    xp, ratio = _log_ratio(p, q)
    zeros = xp.zeros_like(p)
    finite = xp.where(xp.isinf(ratio), zeros, ratio)
    return xp.sum(xp.where(p > 0, p * ratio, zeros) - difference(p, q, finite), axis=-1)


def difference(p: Array, q: Array, ratio: Array) -> Array:
    """Difference p - q, through expm1 of the log-ratio where they are close.

    It sums to zero; taking it off p log(p/q) term by term leaves the digits of a divergence far below one.
    """
    xp = array_namespace(p)
    close = (xp.abs(ratio) < 0.5) & (p > 0)
    return xp.where(close, q * xp.expm1(xp.where(close, ratio, xp.zeros_like(p))), p - q)


def chi_square(p: Array, q: Array) -> Array:
    r"""Chi-square divergence :math:`\sum_a (p_a - q_a)^2 / q_a`, the variance of the ratio p/q under q.

    Parameters
    ----------
    p, q : Array
        Probabilities ``(..., K)``.

    Returns
    -------
    Array
        Divergences ``(...)``; ``inf`` where p has mass that q lacks.

    Examples
    --------
    >>> import numpy as np
    >>> float(chi_square(np.array([1.0, 0.0]), np.array([0.5, 0.5])))
    1.0
    """
    xp = array_namespace(p, q)
    positive = q > 0
    gap = (p - q) / xp.where(positive, q, xp.ones_like(q))
    infinite = xp.where((p > 0) & ~positive, xp.inf * xp.ones_like(p), xp.zeros_like(p))
    return xp.sum(xp.where(positive, (p - q) * gap, infinite), axis=-1)


def total_variation(p: Array, q: Array) -> Array:
    r"""Total variation distance :math:`\frac12 \sum_a |p_a - q_a|`, in [0, 1].

    Parameters
    ----------
    p, q : Array
        Probabilities ``(..., K)``.

    Returns
    -------
    Array
        Distances ``(...)``.

    Examples
    --------
    >>> import numpy as np
    >>> float(total_variation(np.array([1.0, 0.0]), np.array([0.5, 0.5])))
    0.5
    """
    xp = array_namespace(p, q)
    return 0.5 * xp.sum(xp.abs(p - q), axis=-1)


def entropy(p: Array) -> Array:
    r"""Shannon entropy :math:`-\sum_a p_a \log p_a` in nats.

    Parameters
    ----------
    p : Array
        Probabilities ``(..., K)``.

    Returns
    -------
    Array
        Entropies ``(...)``.

    Examples
    --------
    >>> import numpy as np
    >>> float(entropy(np.array([0.5, 0.5])))
    0.6931471805599453
    """
    xp = array_namespace(p)
    return -xp.sum(p * xp.log(xp.where(p > 0, p, xp.ones_like(p))), axis=-1)


def max_ratio(p: Array, q: Array) -> Array:
    """Largest ratio p/q over the actions that q can produce.

    Parameters
    ----------
    p, q : Array
        Probabilities ``(..., K)``.

    Returns
    -------
    Array
        Ratios ``(...)``; ``inf`` where p has mass that q lacks.

    Examples
    --------
    >>> import numpy as np
    >>> float(max_ratio(np.array([0.9, 0.1]), np.array([0.5, 0.5])))
    1.8
    """
    xp = array_namespace(p, q)
    positive = q > 0
    ratio = p / xp.where(positive, q, xp.ones_like(q))
    infinite = xp.where(p > 0, xp.inf * xp.ones_like(p), xp.zeros_like(p))
    return xp.max(xp.where(positive, ratio, infinite), axis=-1)


def effective_sample_size(p: Array, q: Array) -> Array:
    r"""Share of a sample from q that is left after weighting it to p: :math:`1 / (1 + \chi^2(p \| q))`, in (0, 1].

    Parameters
    ----------
    p, q : Array
        Probabilities ``(..., K)``.

    Returns
    -------
    Array
        Shares ``(...)``.

    Examples
    --------
    >>> import numpy as np
    >>> float(effective_sample_size(np.array([1.0, 0.0]), np.array([0.5, 0.5])))
    0.5
    """
    return 1.0 / (1.0 + chi_square(p, q))
