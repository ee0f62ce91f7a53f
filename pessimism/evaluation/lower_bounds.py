"""High-probability lower bounds on a value, from terms of rounds on the last axis: one log or a batch of them.

The papers bound a risk from above, with costs c = -reward in [-1, 0]; here everything is said about rewards >= 0. Each
bound holds with probability 1 - delta at every n, for i.i.d. rounds, right propensities and constants chosen before
seeing the log; each is raised to 0 where it would be negative, as the value cannot be.
"""

from __future__ import annotations

import numpy as np

from pessimism.arrays import Floats


def smoothed_mean(terms: Floats, lam: float) -> Floats:
    """Logarithmically smoothed mean (1/lam) mean log(1 + lam t) of terms t >= 0, ``(...)``; their mean as lam -> 0."""
    mean: Floats = np.log1p(lam * terms).mean(axis=-1) / lam
    return mean


def ls_lower(terms: Floats, lam: float, delta: float) -> Floats:
    r"""Bound of logarithmic smoothing, the tightest of the family.

    :math:`V \ge (e^{\lambda e} - 1) / \lambda` with
    :math:`e = \frac{1}{\lambda n} \sum_i \log(1 + \lambda t_i) - \frac{\log(1/\delta)}{\lambda n}`.

    Parameters
    ----------
    terms : ndarray, shape (..., n)
        t = w r >= 0 with mean V, or terms below it.
    lam : float
        lambda > 0 of the bound.
    delta : float
        Chance that the bound is above the mean.

    Returns
    -------
    ndarray, shape (...)
        The bound of each log.

    Notes
    -----
    E prod (1 + lam t_i) / (1 + lam V) = 1, so by Markov's inequality it exceeds 1/delta with probability delta at most.

    References
    ----------
    arXiv 2405.14335: the bound psi(R_LS + log(1/delta) / (lam n)) on the risk R_LS of equation (14).

    Examples
    --------
    >>> round(float(ls_lower(np.ones(100), lam=0.1, delta=0.05)), 4)
    0.6753
    """
    return _uncontracted(smoothed_mean(terms, lam), terms.shape[-1], lam, delta)


def moments_lower(terms: Floats, lam: float, delta: float, order: int = 1) -> Floats:
    r"""Bound from the first 2L moments: the series of log(1 + lam t) / lam, cut after 2L terms.

    :math:`e = \sum_{l=1}^{2L} \frac{(-\lambda)^{l-1}}{l} \frac1n \sum_i t_i^l - \frac{\log(1/\delta)}{\lambda n}` in
    place of the e of :func:`ls_lower`, which is the limit of large L where lam t < 1.

    Parameters
    ----------
    terms : ndarray, shape (..., n)
        t in [0, w r].
    lam : float
        lambda > 0 of the bound.
    delta : float
        Chance that the bound is above the mean.
    order : int, default 1
        L >= 1.

    Returns
    -------
    ndarray, shape (...)
        The bound of each log.

    References
    ----------
    arXiv 2405.14335, empirical moments bound.

    Examples
    --------
    >>> round(float(moments_lower(np.ones(100), lam=0.1, delta=0.05)), 4)
    0.6721
    """
    mean = np.zeros(terms.shape[:-1])
    for power in range(2 * order, 0, -1):
        mean = mean + (-lam) ** (power - 1) / power * (terms**power).mean(axis=-1)
    return _uncontracted(mean, terms.shape[-1], lam, delta)


def ix_lower(terms: Floats, lam: float, delta: float) -> Floats:
    r"""Bound of implicit exploration, :math:`\frac1n \sum_i t_i - \frac{\log(1/\delta)}{\lambda n}`.

    Parameters
    ----------
    terms : ndarray, shape (..., n)
        t = pi r / (mu + lam/2), rewards in [0, 1].
    lam : float
        lambda > 0 of the bound.
    delta : float
        Chance that the bound is above the mean.

    Returns
    -------
    ndarray, shape (...)
        The bound of each log.

    References
    ----------
    arXiv 2309.15771, as stated in arXiv 2405.14335.

    Examples
    --------
    >>> round(float(ix_lower(np.ones(100), lam=0.1, delta=0.05)), 4)
    0.7004
    """
    n = terms.shape[-1]
    return _floored(terms.mean(axis=-1) + np.log(delta) / (lam * n))


def bernstein_lower(terms: Floats, bound: float, delta: float) -> Floats:
    r"""Empirical Bernstein bound for terms in [0, bound].

    :math:`\bar t - \sqrt{2 \hat\sigma^2 \log(2/\delta) / n} - 7 M \log(2/\delta) / (3 (n - 1))`.

    Parameters
    ----------
    terms : ndarray, shape (..., n)
        t in [0, M] with a mean of at most V: t = min(w, cap) r.
    bound : float
        M, the largest value that a term can take, not the largest seen.
    delta : float
        Chance that the bound is above the mean.

    Returns
    -------
    ndarray, shape (...)
        The bound of each log.

    References
    ----------
    Maurer and Pontil, arXiv 0907.3740, theorem 4; the comparator in arXiv 2405.14335.

    Examples
    --------
    >>> round(float(bernstein_lower(np.ones(100), bound=1.0, delta=0.05)), 4)
    0.9131
    """
    n = terms.shape[-1]
    if n == 1:
        return np.zeros(terms.shape[:-1])
    log = np.log(2.0 / delta)
    spread = np.sqrt(2.0 * terms.var(axis=-1, ddof=1) * log / n)
    return _floored(terms.mean(axis=-1) - spread - 7.0 * bound * log / (3.0 * (n - 1)))


def _uncontracted(mean: Floats, n: int, lam: float, delta: float) -> Floats:
    """Undo the logarithm of a mean of log(1 + lam t) / lam, after paying for the confidence."""
    exponent = lam * mean + np.log(delta) / n
    return _floored(np.expm1(exponent) / lam)


def _floored(bound: Floats) -> Floats:
    """Rewards are not negative, so neither is the value."""
    return np.asarray(np.maximum(bound, 0.0), dtype=np.float64)
