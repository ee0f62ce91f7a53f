r"""Kappa, divergences and value of a policy from measured pairs: the log-ratio and the advantage of completions.

Theory says :math:`u + \kappa e^u = A/\beta` (docs/theory.md; arXiv 2605.28150), u the sequence log-ratio of the policy
to the behavior mu, w = e^u. Every reading here is a ratio of two sums over completions that mu drew, so that one matrix
of products of such sums, `moments`, holds all of them with their standard errors. Matrices add: over micro-batches,
processes and prompts. They are those of numpy or of torch, whichever the pairs come in.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from pessimism.arrays import Array, Floats, to_numpy
from pessimism.core.objective import Objective
from pessimism.target import conservatism
from pessimism.target.induced import induced_target
from pessimism.target.result import InducedTarget

# Summed over the completions of a cluster, "clusters" being 1 for each cluster; x = A/beta - u. The terms of the two
# divergences are the nonnegative ones of mean zero beside the plain ones, with the digits of a small log-ratio.
TERMS = ("clusters", "n", "w", "w^2", "x", "w x", "w u - w + 1", "w - 1 - u", "r", "w r")


class Reading(NamedTuple):
    """A ratio of two combinations of terms that are summed."""

    above: dict[str, float]
    below: str


READINGS = {
    "reward_mean": Reading({"r": 1.0}, "n"),
    "kappa_fit": Reading({"w x": 1.0}, "w^2"),
    "kappa_identity": Reading({"x": 1.0}, "n"),
    # A/beta is x + u, and u is w - 1 less the last of these.
    "kappa_untrained": Reading({"x": 1.0, "w": 1.0, "n": -1.0, "w - 1 - u": -1.0}, "n"),
    "kl": Reading({"w u - w + 1": 1.0}, "n"),
    "kl_reverse": Reading({"w - 1 - u": 1.0}, "n"),
    "value": Reading({"w r": 1.0}, "w"),
    "missing": Reading({"n": 1.0, "w": -1.0}, "n"),
}


def moments(
    log_ratio: Array,
    scaled: Array,
    reward: Array,
    weights: Array | None = None,
    *,
    cluster: NDArray[np.intp] | None = None,
) -> Array:
    """Sum, over clusters, the outer product of the sums of `TERMS` in each.

    Parameters
    ----------
    log_ratio : array, shape (N,) or (C, n)
        Log-ratio u of each completion: ``(N,)`` where all are independent, or ``(C, n)``, the rows being clusters that
        are independent of each other, such as groups with an advantage of their own, or prompts.
    scaled : array, of the same shape
        A/beta; the advantage in the group itself will do, it need not be its expectation.
    reward : array, of the same shape
        Reward of each completion.
    weights : array, of the same shape, optional
        Probabilities, where all completions are enumerated; None for samples.
    cluster : ndarray of int, shape (N,), optional
        Number of the cluster of each of ``(N,)`` completions in arrays of numpy, where clusters differ in size.

    Returns
    -------
    array, shape (10, 10)
        The sum, in double precision.

    Raises
    ------
    ValueError
        If the shapes differ, or are of another dimension.

    Examples
    --------
    >>> u, reward = np.log([0.8, 1.0, 1.2]), np.array([0.0, 0.0, 1.0])
    >>> first, second = (moments(u[part], reward[part] / 0.5, reward[part]) for part in (slice(2), slice(2, 3)))
    >>> np.allclose(first + second, moments(u, reward / 0.5, reward))
    True
    """
    xp = array_namespace(log_ratio)
    given = {"scaled": scaled, "reward": reward} | ({} if weights is None else {"weights": weights})
    for name, values in given.items():
        if values.shape != log_ratio.shape or log_ratio.ndim not in (1, 2):
            raise ValueError(
                f"{name} must be of the shape of log_ratio, (N,) or (clusters, n), got {tuple(values.shape)} "
                f"and {tuple(log_ratio.shape)}"
            )
    u, z, r = (xp.astype(a, xp.float64) for a in (log_ratio, scaled, reward))
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # a ratio beyond float64 is infinite, and leaves no number of what it enters
        w, excess, x = xp.exp(u), xp.expm1(u), z - u
        terms = xp.stack([xp.ones_like(u), w, w * w, x, w * x, w * u - excess, excess - u, r, w * r], axis=-1)
        terms = terms if weights is None else terms * xp.astype(weights, xp.float64)[..., None]
        if cluster is not None:
            return clustered(terms, cluster)
        rows = xp.sum(terms, axis=1) if u.ndim == 2 else terms
        rows = xp.concat([xp.ones_like(rows[:, :1]), rows], axis=1)
        return rows.T @ rows


def clustered(terms: Floats, cluster: NDArray[np.intp]) -> Floats:
    """Sum, over clusters of any size, the outer product of the sums of terms in each, a 1 for the cluster first.

    Parameters
    ----------
    terms : ndarray, shape (N, T)
        Terms of each completion.
    cluster : ndarray of int, shape (N,)
        Number of the cluster of each.

    Returns
    -------
    ndarray, shape (T + 1, T + 1)
        The sum.

    Examples
    --------
    >>> clustered(np.array([[1.0], [2.0], [5.0]]), np.array([0, 0, 1]))
    array([[ 2.,  8.],
           [ 8., 34.]])
    """
    _, number = np.unique(cluster, return_inverse=True)
    sums = [np.bincount(number, weights=column) for column in terms.T]
    rows = np.stack([np.ones_like(sums[0]), *sums], axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(rows.T @ rows)


def readings(products: Array) -> dict[str, float]:
    """Compute all readings from a sum of `moments`.

    Parameters
    ----------
    products : array, shape (10, 10)
        A sum of `moments`; clusters of unequal size are fine.

    Returns
    -------
    dict
        Each reading, and its standard error as ``NAME_error``:

        - n: number of completions (1 where they are enumerated); reward_mean;
        - kappa_fit: least squares of A/beta - u on w through the origin; kappa_identity: E[A]/beta + KL(mu || policy),
          with the divergence as the mean of -u, which next to the target scatters less than its nonnegative form;
        - kappa_untrained: E[A]/beta, which both of these read off the behavior itself, so that a kappa near it says
          nothing of the training;
        - kl and kl_reverse, KL(policy || mu) and KL(mu || policy) in nats: means of w u - w + 1 and w - 1 - u, both
          nonnegative term by term and unbiased, as E[w] = 1;
        - value: E[r] under the policy, self-normalized; ess: effective sample size as a share of n;
        - missing: 1 - mean w, the mass of the policy that the completions do not account for. If it is many errors
          above zero, it leaked to completions that mu hardly draws, and the other readings are those of what stayed.

    Notes
    -----
    Standard errors are those of a ratio of means (sandwich, C/(C - 1) for C clusters), nan for fewer than two clusters.

    Examples
    --------
    >>> target = induced_target([0.5, 0.3, 0.2], [0.0, 0.5, 1.0], "kimi", beta=0.5)
    >>> pairs = [np.asarray(a)[None] for a in (target.log_ratio, target.advantage / 0.5, target.reward)]
    >>> found = readings(moments(*pairs, weights=target.behavior[None]))
    >>> round(float(target.kappa), 12) == round(found["kappa_fit"], 12) == round(found["kappa_identity"], 12)
    True
    """
    m = to_numpy(products)
    total = dict(zip(TERMS, m[0].tolist(), strict=True))
    found = {"n": total["n"]}
    with np.errstate(divide="ignore", invalid="ignore"):
        for name, reading in READINGS.items():
            found |= with_error(name, reading, m)
        found["ess"] = float(np.divide(total["w"] ** 2, total["n"] * total["w^2"]))
    return found


def with_error(name: str, reading: Reading, products: Floats, terms: Sequence[str] = TERMS) -> dict[str, float]:
    """Compute a ratio of sums and, as ``NAME_error``, its standard error over clusters.

    Parameters
    ----------
    name : str
        What to call it.
    reading : Reading
        The ratio.
    products : ndarray, shape (T + 1, T + 1)
        What `moments` or `clustered` returns.
    terms : sequence of str
        Names of the terms that were summed, "clusters" first.

    Returns
    -------
    dict
        The ratio and its error, nan for fewer than two clusters.

    Examples
    --------
    >>> found = clustered(np.array([[1.0, 2.0], [3.0, 2.0]]), np.array([0, 1]))
    >>> with_error("share", Reading({"a": 1.0}, "b"), found, ("clusters", "a", "b"))
    {'share': 1.0, 'share_error': 0.5}
    """
    total = dict(zip(terms, products[0].tolist(), strict=True))
    below, clusters = total[reading.below], total["clusters"]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.divide(sum(factor * total[term] for term, factor in reading.above.items()), below)
        residual = np.zeros(len(terms))
        for term, factor in (*reading.above.items(), (reading.below, -ratio)):
            residual[terms.index(term)] += factor
        # Rounding may leave a variance of zero a little below it.
        square = max(float(residual @ products @ residual), 0.0) if clusters >= 2 else np.nan
        error = np.sqrt(square * np.divide(clusters, clusters - 1.0)) / np.abs(below)
    return {name: float(ratio), f"{name}_error": float(error)}


def mean_with_error(values: Floats, cluster: NDArray[np.intp]) -> dict[str, float]:
    """Compute a mean over completions and its standard error over clusters.

    Parameters
    ----------
    values : ndarray, shape (N,)
        A number for each completion.
    cluster : ndarray of int, shape (N,)
        Number of the cluster of each.

    Returns
    -------
    dict
        The mean, as "mean", and "mean_error", nan for fewer than two clusters.

    Examples
    --------
    >>> mean_with_error(np.array([1.0, 3.0]), np.array([0, 1]))
    {'mean': 2.0, 'mean_error': 1.0}
    """
    with np.errstate(invalid="ignore"):
        products = clustered(np.stack([np.ones_like(values), values], axis=1), cluster)
    return with_error("mean", Reading({"value": 1.0}, "n"), products, ("clusters", "n", "value"))


def effective_temperature(log_ratio: Any, reward: Any, weights: Any = None) -> Floats:
    """Find the temperature at which the nominal target is as far from the behavior as the policy.

    Parameters
    ----------
    log_ratio : array_like, shape (C, n)
        Log-ratios of groups, the completions of a group being the whole support.
    reward : array_like, shape (C, n)
        Reward of each completion.
    weights : array_like, shape (C, n), optional
        Probabilities of the completions of a group; equal ones by default.

    Returns
    -------
    ndarray, shape (C,)
        That of `pessimism.effective_temperature` for each group: nan for a group of equal rewards, and where the policy
        is worse than the behavior or farther from it than the greedy one, which a few samples can make it; inf where
        policy and behavior agree.

    Examples
    --------
    >>> effective_temperature([[0.0, 0.0, 1.0, 1.0]], [[0.0, 0.0, 0.5, 0.5]]).round(12)  # log(w+ / w-) = .5 / beta'
    array([0.5])
    """
    u, r = (np.atleast_2d(np.asarray(a, dtype=np.float64)) for a in (log_ratio, reward))
    q = np.full(u.shape, 1.0 / u.shape[-1]) if weights is None else np.broadcast_to(weights, u.shape)
    tilted = q * np.exp(u - u.max(axis=-1, keepdims=True))
    policy = tilted / tilted.sum(axis=-1, keepdims=True)
    with warnings.catch_warnings():  # a policy may well be worse than the behavior on a few samples
        warnings.filterwarnings("ignore", "effective temperature is nan", RuntimeWarning)
        return np.asarray(conservatism.effective_temperature(policy, q, r))


def is_lambert(target: InducedTarget) -> bool:
    """Say whether log w + kappa w = A/beta holds for a target, in the objective's own advantage."""
    if target.beta is None:
        return False
    u, seen = np.asarray(target.log_ratio), np.asarray(target.behavior) > 0
    z = np.asarray(target.advantage) / target.beta
    return bool(np.allclose((u + float(target.kappa) * np.exp(u))[seen], z[seen], rtol=0.0, atol=1e-6))


def has_kappa(objective: Objective) -> bool:
    """Say whether the targets of an objective are of the form log w + kappa w = A/beta, by trying one behavior.

    Parameters
    ----------
    objective : Objective
        The objective.

    Returns
    -------
    bool
        Whether they are.

    Examples
    --------
    >>> import pessimism as ps
    >>> has_kappa(ps.Kimi()), has_kappa(ps.TBA()), has_kappa(ps.GRPO())
    (True, False, False)
    """
    if objective.temperature is None:
        return False
    return is_lambert(induced_target([0.5, 0.3, 0.2], [0.0, 0.5, 1.0], objective, unseen=True))
