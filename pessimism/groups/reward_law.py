r"""Sampled groups as counts: the law of a reward, the ways to draw a group from it, the advantage of each member.

The last functions check the arguments of the public verbs on groups, and read behavior and rewards from them.

A group of G i.i.d. completions of one prompt enters an objective through its rewards alone. With D distinct rewards it
is a vector of D counts, multinomial; given one member of reward v, the other G - 1 are multinomial again. Arrays here
are numpy float64; U reward laws that share their number of values, M vectors of counts, D values.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

from pessimism.arrays import Floats, to_numpy
from pessimism.core.bandit import make_bandit
from pessimism.core.objective import Objective
from pessimism.core.validation import check_integer

Counts = NDArray[np.int64]
_CHUNK = 2**22  # rewards evaluated at once
_DENSE = 2**16  # rewards up to which groups are written out; above, counts become weights if that is the same
_WRITTEN = 2**24  # rewards in all groups, up to which they can be counted
LARGEST = 2**17  # completions of a group
_NEGLIGIBLE = 1e-40  # conditional probability of a group that no sum of float64 sees


class RewardLaw(NamedTuple):
    """Distinct rewards ``(D,)`` of positive probability, rising; their probabilities; and which of them an action has.

    ``which`` ``(K,)`` is -1 for an action that the behavior never takes.
    """

    values: Floats
    mass: Floats
    which: NDArray[np.intp]


def reward_law(behavior: Floats, reward: Floats) -> RewardLaw:
    """Law of the reward of one problem.

    Parameters
    ----------
    behavior, reward : ndarray, shape (K,)
        Probabilities and rewards of the actions.

    Returns
    -------
    RewardLaw
        Distinct rewards and their probabilities.

    Examples
    --------
    >>> law = reward_law(np.array([0.5, 0.25, 0.25, 0.0]), np.array([1.0, 0.0, 1.0, 7.0]))
    >>> law.values, law.mass, law.which
    (array([0., 1.]), array([0.25, 0.75]), array([ 1,  0,  1, -1]))
    """
    seen = behavior > 0
    values, inverse = np.unique(reward[seen], return_inverse=True)
    which = np.full(len(reward), -1, dtype=np.intp)
    which[seen] = inverse
    mass = np.bincount(inverse, weights=behavior[seen], minlength=len(values))
    return RewardLaw(values, np.asarray(mass, dtype=np.float64), which)


def few_groups(size: int, values: int, most: int) -> bool:
    """Whether all groups can be counted: at most so many, of 2^24 rewards in all."""
    groups = math.comb(size + values - 1, values - 1)
    return groups <= most and groups * size <= _WRITTEN


def compositions(size: int, values: int) -> Counts:
    """Every vector of counts that adds up to ``size``.

    Parameters
    ----------
    size : int
        Size of a group.
    values : int
        Number of distinct rewards.

    Returns
    -------
    ndarray, shape (M, values)
        One vector a row.

    Examples
    --------
    >>> compositions(2, 2).tolist()
    [[0, 2], [1, 1], [2, 0]]
    """
    if values == 1:
        return np.array([[size]])
    if values == 2:
        first = np.arange(size + 1)
        return np.stack([first, size - first], axis=-1)
    bars = np.array(list(combinations(range(size + values - 1), values - 1)), dtype=np.int64)
    return np.diff(bars, axis=-1, prepend=-1, append=size + values - 1) - 1


def log_multinomial(counts: Counts, mass: Floats) -> Floats:
    """Log-probabilities ``(P, M)`` of counts ``(M, D)`` under probabilities ``(P, D)``; -inf where impossible."""
    size = counts.sum(axis=-1).max(initial=0)
    ways = gammaln(size + 1.0) - gammaln(counts + 1.0).sum(axis=-1)
    with np.errstate(divide="ignore"):
        return np.asarray(ways + xlogy(counts, mass[:, None, :]).sum(axis=-1))


def member_advantages(objective: Objective, values: Floats, counts: Counts) -> Floats:
    """Advantage ``(U, M, D)`` of a member of each value in each group, 0 where the group has none.

    Parameters
    ----------
    objective : ObjectiveLike
        Whose advantage it is.
    values : ndarray, shape (U, D)
        Distinct rewards.
    counts : ndarray, shape (M, D)
        Members of each value, the same number G >= 1 in each row.

    Returns
    -------
    ndarray, shape (U, M, D)
        The advantages.
    """
    size, present = int(counts[0].sum()), counts > 0
    # Float64 counts as weights: the same numbers, except where the group's own size matters (an unbiased std).
    if len(counts) * size > _DENSE and _reads_weights(objective, values, counts):
        rows = np.broadcast_to(values[:, None, :], (len(values), *counts.shape))
        found = objective.advantage(rows, np.broadcast_to(counts / size, rows.shape))
        return np.where(present, found, 0.0)
    table = np.empty((len(values), *counts.shape))
    step = max(1, _CHUNK // (len(counts) * size))
    rows_step = max(1, _CHUNK // size)
    for u in range(0, len(values), step):
        for m in range(0, len(counts), rows_step):
            part = (slice(u, u + step), slice(m, m + rows_step))
            table[part] = _written_out(objective, values[part[0]], counts[part[1]])
    return np.where(present, table, 0.0)


def _written_out(objective: Objective, values: Floats, counts: Counts) -> Floats:
    size = int(counts[0].sum())
    which = np.repeat(np.tile(np.arange(counts.shape[1]), len(counts)), counts.ravel()).reshape(len(counts), size)
    advantage = np.asarray(objective.advantage(values[:, which]))
    first = np.minimum(np.cumsum(counts, axis=-1) - counts, size - 1)
    return np.take_along_axis(advantage, np.broadcast_to(first, (len(values), *first.shape)), axis=-1)


def _reads_weights(objective: Objective, values: Floats, counts: Counts) -> bool:
    """Whether counts as weights give the advantages of the groups written out: on three groups, one law."""
    some = counts[np.unique([1 % len(counts), len(counts) // 3, len(counts) // 2, len(counts) - 2])]
    exact = _written_out(objective, values[:1], some)
    weighted = objective.advantage(
        np.broadcast_to(values[:1, None, :], exact.shape), np.broadcast_to(some / some[0].sum(), exact.shape)
    )
    scale = np.abs(exact).max() + np.abs(values[:1]).max()
    return bool(np.all(np.abs(np.where(some > 0, weighted - exact, 0.0)) <= 1e-13 * scale))


def members_left_out(objective: Objective, values: Floats, others: Counts) -> Floats:
    """Advantage ``(U, M, D)`` of a completion of each value against the baseline of the others ``(M, D)`` alone."""
    table = member_advantages(objective, values, others)
    some = np.argmax(others > 0, axis=-1)
    # V = r - A for any of the others, so that A_v = (v - r) + A.
    own = np.take_along_axis(table, np.broadcast_to(some[:, None], (len(values), len(others), 1)), axis=-1)
    return (values[:, None, :] - values[:, some][..., None]) + own


def has_baseline(objective: Objective) -> bool:
    """Whether the advantage is the reward minus one number per group: on a generic group."""
    probe = np.array([0.0, 0.1, 0.35, 1.0])  # which objectives of a Bernoulli reward take, too
    subtracted = probe - np.asarray(objective.advantage(probe))
    return bool(np.ptp(subtracted) <= 1e-12 * (1.0 + np.abs(subtracted).max()))


def kept_given_value(mass: Floats, size: int) -> Floats:
    """Probability ``(..., D)`` that a group with one member of a value has others, from its law ``(..., D)``."""
    zero = np.zeros_like(mass[..., :1])
    before = np.concatenate([zero, np.cumsum(mass, axis=-1)[..., :-1]], axis=-1)
    after = np.concatenate([zero, np.cumsum(mass[..., ::-1], axis=-1)[..., :-1]], axis=-1)[..., ::-1]
    rest = before + after  # the sum of the others, not one minus a mass near one
    with np.errstate(divide="ignore"):
        log_mass = np.where(mass > 0.5, np.log1p(-np.minimum(rest, 1.0)), np.log(np.where(mass > 0, mass, 1.0)))
    log_mass = np.where(mass > 0, log_mass, -np.inf)
    if size == 1:
        return np.zeros_like(mass)
    return np.asarray(-np.expm1((size - 1) * log_mass))


def expected_by_counts(
    objective: Objective,
    values: Floats,
    mass: Floats,
    size: int,
    *,
    law: NDArray[np.intp] | None = None,
    leave_one_out: bool = False,
    drop_equal: bool = False,
) -> tuple[Floats, tuple[float, float]]:
    r"""Expected advantage of a completion given its reward, E[A_i | r_i = v], by a sum over all groups.

    Exact to rounding, a relative error of about G eps in the probabilities of groups.

    Parameters
    ----------
    objective : ObjectiveLike
        Whose advantage it is.
    values : ndarray, shape (U, D)
        Distinct rewards.
    mass : ndarray, shape (P, D)
        Their probabilities, one row per problem.
    size : int
        Completions G of a group.
    law : ndarray, shape (P,), optional
        Row of ``values`` that a problem has. Default: the first.
    leave_one_out : bool, default False
        Take the baseline of the others.
    drop_equal : bool, default False
        Take the expectation given that the group is kept; 0 where it never is.

    Returns
    -------
    expected : ndarray, shape (P, D)
        Expected advantage of each value.
    ends : tuple of two floats
        Lowest and highest advantage that any group gives.
    """
    law = np.zeros(len(mass), dtype=np.intp) if law is None else law
    counts = compositions(size - 1 if leave_one_out else size, values.shape[1])
    unit = np.eye(values.shape[1], dtype=np.int64)
    keep, weights = np.zeros(len(counts), dtype=bool), []
    for v in range(values.shape[1]):
        others = counts if leave_one_out else counts - unit[v]
        possible = others.min(axis=-1) >= 0
        if drop_equal:
            possible &= others[:, v] < size - 1
        weight = np.full((len(mass), len(counts)), -np.inf)
        weight[:, possible] = log_multinomial(others[possible], mass)
        top = weight.max(axis=-1, keepdims=True, initial=-np.inf)
        weight = np.where(top > -np.inf, np.exp(weight - np.where(top > -np.inf, top, 0.0)), 0.0)
        weight /= np.maximum(weight.sum(axis=-1, keepdims=True), 1.0)
        weights.append(weight)
        keep |= weight.max(axis=0) > _NEGLIGIBLE
    advantages: Any = members_left_out if leave_one_out else member_advantages
    table = advantages(objective, values, counts[keep])
    expected = [np.vecdot(weight[:, keep], table[law, :, v]) for v, weight in enumerate(weights)]
    return np.stack(expected, axis=-1), (float(table.min()), float(table.max()))


def check_setting(group_size: Any, *, leave_one_out: bool, drop_equal: bool) -> None:
    """Raise ``ValueError`` unless the group size is an integer that the options make sense for."""
    least = 2 if leave_one_out or drop_equal else 1
    check_integer("group_size", group_size, least, " with leave_one_out or drop_equal" if least == 2 else "", LARGEST)


def sampler(behavior: Any, reward: Any, pass_rate: Any) -> tuple[Floats, Floats]:
    """Behavior and rewards ``(..., K)`` in numpy from either way to give them."""
    if pass_rate is None:
        bandit = make_bandit(behavior, reward)
        return tuple(to_numpy(a).reshape(*bandit.shape, -1) for a in (bandit.behavior, bandit.reward))  # type: ignore[return-value]
    if behavior is not None or reward is not None:
        raise ValueError("give pass_rate, or reward (and behavior), not both")
    try:
        p = np.asarray(pass_rate)
        if p.dtype.kind not in "fiubO":
            raise TypeError
        p = p.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"pass_rate must be real numbers in [0, 1], got {' '.join(repr(pass_rate).split())}") from None
    outside = ~((p >= 0) & (p <= 1))
    if outside.any():
        index = tuple(np.argwhere(outside)[0].tolist())
        place = f"[{', '.join(map(str, index))}]" if index else ""
        raise ValueError(f"pass_rate{place} must be in [0, 1], got {p[index]}")
    return np.stack([1.0 - p, p], axis=-1), np.broadcast_to(np.array([0.0, 1.0]), (*p.shape, 2))
