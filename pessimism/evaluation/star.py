"""STAR: a small reward process over abstract states, estimated from reweighted episodes and solved exactly.

The estimator comes first, then the process that it estimates, then episodes and the products of ratios along them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pessimism.arrays import Floats
from pessimism.evaluation.checks import IntArray, integers, number, refuse, sortable_labels, whole
from pessimism.evaluation.logs import Logs
from pessimism.evaluation.policies import ratios
from pessimism.evaluation.result import ASYMPTOTIC, Evaluation, conclude, normal_interval


def star(
    policy: Any, logs: Logs, *, delta: float, phi: Any = None, window: int | None = None, gamma: float = 1.0
) -> Evaluation:
    r"""Value of a policy over episodes, from the abstract reward process that the policy would produce (STAR).

    Each row counts with :math:`\gamma^t W_t`, W_t the product of the latest ``window`` ratios. Weighted frequencies
    give the reward R(z) and the transitions P(z, z') (the end of an episode is no state), and

    .. math:: J = \eta^T (I - \gamma P)^{-1} R,

    eta the distribution of the first abstract state.

    Parameters
    ----------
    policy : probabilities
        As in :func:`pessimism.evaluate`, the context being the state.
    logs : Logs
        With ``episode`` (and ``step``, unless rows are in time order); without it each row is an episode.
    delta : float
        Chance that the two-sided interval misses the value.
    phi : callable or array_like, optional
        Abstract states: a function from the context of the logs to labels ``(n,)``, or a vector of integers that maps a
        context id to its abstract state. Default: a single abstract state.
    window : int, optional
        How many of the latest ratios are multiplied, an integer >= 1. Default: all, which makes J consistent for any
        ``phi``; fewer trade that for variance.
    gamma : float, default 1.0
        Discount in (0, 1].

    Returns
    -------
    Evaluation
        Value with a two-sided interval.

    Raises
    ------
    ValueError
        The policy reaches an abstract state where no logged action has weight, or from which no episode ends.

    Notes
    -----
    One abstract state and episodes of one step give :func:`~pessimism.evaluation.importance.snips`. The released code
    counts without gamma^t, which is the same at gamma = 1, its setting; for gamma < 1 only the discounted counts stay
    consistent when ``phi`` is coarse. The paper gives no interval: this one is the delta method's over episodes.
    ``n`` is the number of episodes, ``ess`` that of the rows' weights, ``details["abstract_states"]`` the number of
    abstract states. ``mean_ratio`` is that of the single steps, which are uncorrelated: each has mean 1 given the past.

    References
    ----------
    arXiv 2410.02172.

    Examples
    --------
    >>> from pessimism import evaluate
    >>> logs = {"action": [0, 1, 1, 1], "reward": [0, 1, 0, 1], "pscore": [0.5] * 4, "episode": [0, 0, 1, 1]}
    >>> logs["context"] = ["start", "end", "start", "end"]
    >>> evaluate([0.25, 0.75], logs, "star", phi=lambda state: state, window=1).value
    1.0
    """
    window = None if window is None else whole("window", window, none=True)
    gamma = number("gamma", gamma, above=0.0)
    if gamma > 1.0:
        raise ValueError(f"gamma must be at most 1, got {gamma!r}")
    rows = episodes(logs)
    seen = ratios(policy, logs)
    with np.errstate(over="ignore"):
        weight = window_products(seen.weight[rows.order], rows.time, window) * gamma**rows.time
    if not np.isfinite(weight.sum()):
        raise ValueError("window must be smaller: products of ratios overflow")
    state, size = _abstract_states(phi, logs, rows)
    reward = seen.reward[rows.order]
    process = _estimate(weight, reward, state, size, rows, gamma)
    ahead = np.eye(size) - gamma * process.transition
    value_of = np.linalg.solve(ahead, process.reward)
    visits = np.linalg.solve(ahead.T, process.start)
    value = float(process.start @ value_of)

    # Influence of an episode: the value of its start, and its weighted surprises under the process.
    after = np.where(rows.last, 0.0, gamma * np.roll(value_of[state], -1))
    importance = np.divide(visits, process.mass, out=np.zeros(size), where=process.mass > 0)
    surprise = weight * importance[state] * (reward + after - value_of[state])
    terms = value_of[state[rows.time == 0]] + np.bincount(rows.number, surprise, minlength=rows.count)
    interval = normal_interval(value, terms, delta)
    options = {"window": window, "gamma": gamma}
    details = {"abstract_states": size}
    returns = np.bincount(rows.number, gamma**rows.time * reward, minlength=rows.count).astype(np.float64)
    return conclude("star", seen, value, interval, delta, ASYMPTOTIC, options, details, weight=weight, returns=returns)


@dataclass(frozen=True, eq=False)
class RewardProcess:
    """Start ``(Z,)``, expected reward ``(Z,)``, transitions ``(Z, Z)`` short of one by the chance of the end.

    ``mass`` ``(Z,)`` is the weight per episode that each abstract state was estimated from.
    """

    start: Floats
    reward: Floats
    transition: Floats
    mass: Floats


def _abstract_states(phi: Any, logs: Logs, rows: Episodes) -> tuple[IntArray, int]:
    """Abstract state 0, ..., Z - 1 of each ordered row, and Z."""
    if phi is None:
        return np.zeros(logs.n, dtype=np.int64), 1
    if callable(phi):
        if logs.context is None:
            raise ValueError("logs must hold context for phi, which maps it to abstract states")
        label = sortable_labels("phi", phi(logs.context), logs.n)
    else:
        table, ids = integers("phi", phi), logs.context_ids
        if ids is None or ids.dtype.kind not in "iu":
            raise ValueError("logs must hold integer context ids for phi, a vector of abstract states")
        refuse(
            "context", ids, (ids < 0) | (ids >= len(table)), f"must be the index of one of {len(table)} entries of phi"
        )
        label = table[ids]
    names, state = np.unique(label, return_inverse=True)
    return state[rows.order].astype(np.int64), len(names)


def _estimate(
    weight: Floats, reward: Floats, state: IntArray, size: int, rows: Episodes, gamma: float
) -> RewardProcess:
    """Weighted frequencies; abstract states that the process cannot reach stay empty."""
    mass = np.bincount(state, weight, minlength=size)
    start = np.bincount(state[rows.time == 0], minlength=size) / rows.count
    go = np.flatnonzero(~rows.last)
    flow = np.bincount(state[go] * size + state[go + 1], weight[go], minlength=size**2).reshape(size, size)
    ends = np.bincount(state[rows.last], weight[rows.last], minlength=size) > 0
    reached = _closure(start > 0, flow.T > 0)
    if (reached & (mass == 0)).any():
        raise ValueError("policy must give some logged action positive probability in every abstract state it reaches")
    if gamma == 1.0 and (reached & ~_closure(ends, flow > 0)).any():
        raise ValueError("policy must let episodes end: from some abstract state none does with positive weight")
    per = np.divide(1.0, mass, out=np.zeros(size), where=reached & (mass > 0))
    gains = np.bincount(state, weight * reward, minlength=size)
    return RewardProcess(start, gains * per, flow * per[:, None], np.where(reached, mass / rows.count, 0.0))


def _closure(inside: Any, leads_in: Any) -> Any:
    """States connected to the given ones; ``leads_in[a, b]`` says that a joins when b is inside."""
    while True:
        larger = inside | (leads_in & inside).any(axis=1)
        if (larger == inside).all():
            return inside
        inside = larger


@dataclass(frozen=True, eq=False)
class Episodes:
    """Rows of a log, episode by episode.

    ``order`` brings the log's rows into time order within their episodes; ``number``, ``time`` and ``last`` say of each
    ordered row which episode it belongs to, at which time from 0, and whether the episode ends there.
    """

    order: IntArray
    number: IntArray
    time: IntArray
    last: np.ndarray[tuple[int], np.dtype[np.bool_]]

    @property
    def count(self) -> int:
        """Number of episodes."""
        return int(self.last.sum())


def episodes(logs: Logs) -> Episodes:
    """Episodes of a log; without the column ``episode`` every row is one.

    Parameters
    ----------
    logs : Logs
        Logged rows.

    Returns
    -------
    Episodes
        Its rows, episode by episode.

    Raises
    ------
    ValueError
        Without ``step``, rows of an episode that do not stand together; with it, steps that do not follow each other.

    Examples
    --------
    >>> from pessimism import make_logs
    >>> found = episodes(make_logs(reward=[1, 2, 3], weight=[1, 1, 1], episode=["b", "a", "b"], step=[2, 1, 1]))
    >>> found.order.tolist(), found.time.tolist(), found.count
    ([1, 2, 0], [0, 0, 1], 2)
    """
    if logs.episode is None:
        rows = np.arange(logs.n)
        return Episodes(rows, rows, np.zeros(logs.n, dtype=np.int64), np.ones(logs.n, dtype=bool))
    names, number = np.unique(logs.episode, return_inverse=True)
    if logs.step is None:
        starts = np.flatnonzero(np.concatenate([[True], number[1:] != number[:-1]]))
        if len(starts) > len(names):
            seen: set[int] = set()
            for row in starts.tolist():
                if int(number[row]) in seen:
                    where = f"{names[number[row]].item()!r} starts again at row {row}"
                    raise ValueError(f"episode {where}: keep its rows together and in order, or give step")
                seen.add(int(number[row]))
        order = np.arange(logs.n)
    else:
        order = np.lexsort([logs.step, number])
    number = number[order]
    first = np.concatenate([[True], number[1:] != number[:-1]])
    start = np.maximum.accumulate(np.where(first, np.arange(logs.n), 0))
    if logs.step is not None:
        step = logs.step[order]
        jump = ~first & (np.diff(step, prepend=step[0]) != 1)
        if jump.any():
            row = int(jump.argmax())
            rule = f"must follow each other by one within episode {names[number[row]].item()!r}"
            raise ValueError(f"step[{order[row]}] {rule}, got {step[row]} after {step[row - 1]}")
    last = np.concatenate([first[1:], [True]])
    return Episodes(order, number.astype(np.int64), np.arange(logs.n) - start, last)


def window_products(ratio: Floats, time: IntArray, window: int | None) -> Floats:
    r"""Products :math:`W_t = \prod_{k = \max(0, t-c+1)}^{t} \rho_k` within episodes, c the window; None multiplies all.

    By products alone, so that a zero ratio makes zeros, not 0/0.

    Parameters
    ----------
    ratio, time : ndarray, shape (n,)
        Ratio of each row and its time in the episode, rows in order.
    window : int or None
        c >= 1; None multiplies all.

    Returns
    -------
    ndarray, shape (n,)
        The products.

    Examples
    --------
    >>> window_products(np.array([2.0, 0.0, 3.0, 5.0]), np.array([0, 1, 2, 0]), 1)
    array([2., 0., 3., 5.])
    >>> window_products(np.array([2.0, 0.0, 3.0, 5.0]), np.array([0, 1, 2, 0]), None)
    array([2., 0., 0., 5.])
    """
    product = ratio.copy()
    longest = int(time.max()) + 1
    if window is None or window >= longest:
        for rows in _by_time(time, longest)[1:]:
            product[rows] *= product[rows - 1]
        return product
    for back in range(1, window):
        rows = np.flatnonzero(time >= back)
        product[rows] *= ratio[rows - back]
    return product


def _by_time(time: IntArray, longest: int) -> list[IntArray]:
    order = np.argsort(time, kind="stable")
    return np.split(order, np.searchsorted(time[order], np.arange(1, longest)))
