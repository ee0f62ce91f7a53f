r"""Intervals of shares and medians of a log, with the prompts as what was sampled: 95 %, no random numbers.

Groups of one prompt at several steps are one cluster. A share has the exact interval of Clopper and Pearson at the
effective number of groups (Korn and Graubard, Survey Methodology 24, 1998), a median the order statistics that the
binomial law at that number says (Woodruff, JASA 47, 1952). The effective number is that of the groups divided by the
design effect: the variance of the share, or of the share below the median, as the totals of the prompts show it, over
that of independent groups. Where every prompt has one group both intervals are the textbook's exact ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pessimism.arrays import Floats

LEVEL = 0.95
_TAIL = (1.0 - LEVEL) / 2.0


def share_interval(
    hit: NDArray[np.bool_], prompt: NDArray[np.intp], part: NDArray[np.intp] | None = None, parts: int = 1
) -> Floats:
    """Shares of the groups of each part in which something holds, and their intervals.

    Parameters
    ----------
    hit : ndarray of bool, shape (N,)
        Whether it holds for each group.
    prompt : ndarray of int, shape (N,)
        Number of the prompt of each group.
    part : ndarray of int, shape (N,), optional
        Part of the log that each group is in; by default there is one.
    parts : int, default 1
        Number of the parts.

    Returns
    -------
    ndarray, shape (parts, 3)
        Share, lower end and upper end; nan for a part without groups, with ends of 0 and 1 where it has one prompt.

    Examples
    --------
    >>> share_interval(np.array([True] * 9 + [False]), np.arange(10)).round(4)
    array([[0.9   , 0.555 , 0.9975]])
    >>> share_interval(np.array([True] * 9 + [False]), np.arange(10) // 2).round(4)  # two groups a prompt
    array([[0.9   , 0.4524, 0.9995]])
    """
    part = np.zeros(len(hit), dtype=np.intp) if part is None else part
    y = hit.astype(float)
    groups = np.bincount(part, minlength=parts).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.bincount(part, weights=y, minlength=parts) / groups
    size = _effective(y - share[part], prompt, part, groups)
    low, high = _clopper_pearson(share, size)
    return np.stack([share, low, high], axis=-1)


def median_interval(
    values: Floats,
    prompt: NDArray[np.intp],
    part: NDArray[np.intp] | None = None,
    parts: int = 1,
    *,
    ordinal: bool = False,
) -> Floats:
    """Medians of each part, nan left out, and their intervals.

    Parameters
    ----------
    values : ndarray, shape (N,)
        A number for each group, nan where it has none.
    prompt : ndarray of int, shape (N,)
        Number of the prompt of each group.
    part : ndarray of int, shape (N,), optional
        Part of the log that each group is in; by default there is one.
    parts : int, default 1
        Number of the parts.
    ordinal : bool, default False
        Whether the numbers are steps of a scale, between which there is nothing: of two in the middle the lower one
        is the median.

    Returns
    -------
    ndarray, shape (parts, 3)
        Median, lower end and upper end. nan for a part without numbers; the ends are nan, too, where five independent
        groups or fewer have one: no two of their values enclose the median with a probability of 95 %.

    Examples
    --------
    >>> median_interval(np.arange(10.0), np.arange(10))  # exact: the second and the ninth, with 97.9 %
    array([[4.5, 1. , 8. ]])
    >>> median_interval(np.arange(5.0), np.arange(5))
    array([[ 2., nan, nan]])
    """
    part = np.zeros(len(values), dtype=np.intp) if part is None else part
    known = ~np.isnan(values)
    values, prompt, part = values[known], prompt[known], part[known]
    order = np.lexsort((values, part))
    values, prompt, part = values[order], prompt[order], part[order]
    groups = np.bincount(part, minlength=parts)
    start, found = np.cumsum(groups) - groups, np.full((parts, 3), np.nan)
    some = np.flatnonzero(groups)
    with np.errstate(invalid="ignore"):  # of an infinite and its opposite
        low, high = values[start[some] + (groups[some] - 1) // 2], values[start[some] + groups[some] // 2]
        found[some, 0] = np.where((low == high) | ordinal, low, 0.5 * low + 0.5 * high)
    middle = found[part, 0]
    below = (values < middle) + 0.5 * (values == middle)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(part, weights=below, minlength=parts) / groups
    rank = _rank(groups, _effective(below - mean[part], prompt, part, groups.astype(float)))
    has = np.flatnonzero(rank > 0)
    found[has, 1] = values[start[has] + rank[has] - 1]
    found[has, 2] = values[start[has] + groups[has] - rank[has]]
    return found


def _effective(residual: Floats, prompt: NDArray[np.intp], part: NDArray[np.intp], groups: Floats) -> Floats:
    """Effective number of independent groups of each part ``(parts,)``, corrected for the degrees of freedom."""
    width = int(prompt.max(initial=-1)) + 1
    pairs, cluster = np.unique(part * width + prompt, return_inverse=True)
    of = pairs // max(1, width)
    prompts = np.bincount(of, minlength=len(groups)).astype(float)
    total = np.bincount(cluster, weights=residual)
    with np.errstate(invalid="ignore", divide="ignore"):
        clustered = prompts / (prompts - 1.0) * np.bincount(of, weights=total**2, minlength=len(groups))
        alone = groups / (groups - 1.0) * np.bincount(part, weights=residual**2, minlength=len(groups))
        size = groups * np.where(alone > 0, alone / clustered, prompts / groups)
        # Two estimates of a variance, from groups and from prompts, have tails of their own.
        tails = special.stdtrit(groups - 1.0, _TAIL) / special.stdtrit(prompts - 1.0, _TAIL)
    size = np.where(prompts == groups, groups, np.minimum(size * tails**2, groups))
    return np.where(prompts > 1, size, np.minimum(groups, 1.0))


def _clopper_pearson(share: Floats, size: Floats) -> tuple[Floats, Floats]:
    hits, misses = share * size, (1.0 - share) * size
    with np.errstate(invalid="ignore"):
        low = np.where(hits > 0, special.betaincinv(hits, misses + 1.0, _TAIL), 0.0 * hits)
        high = np.where(misses > 0, special.betaincinv(hits + 1.0, misses, 1.0 - _TAIL), 1.0 + 0.0 * misses)
    return low, high


def _rank(groups: Any, size: Floats) -> NDArray[np.intp]:
    """Order statistic that bounds the median from below (and, counted from above, from above); 0 where none does."""
    whole = np.maximum(np.floor(np.nan_to_num(size) + 1e-9), 1.0).astype(np.int64)
    least = np.ceil(special.bdtrik(_TAIL, whole, 0.5))
    least -= special.bdtr(np.maximum(least - 1.0, 0.0), whole, 0.5) >= _TAIL  # where the inverse is within rounding
    least = np.where(special.bdtr(np.maximum(least - 1.0, 0.0), whole, 0.5) <= _TAIL, least, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        rank = np.floor(least * groups / whole + 1e-9)
    return np.where((least > 0) & (groups > 0), np.maximum(rank, 1.0), 0.0).astype(np.intp)
