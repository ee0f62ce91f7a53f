"""Logs of decisions in sequence: rows in time order, and products of ratios over windows of steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pessimism.evaluation.checks import FloatArray, IntArray
from pessimism.evaluation.logs import Logs


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

    Raises
    ------
    ValueError
        Without ``step``, rows of an episode that do not stand together; with it, steps that do not follow each other.

    Examples
    --------
    >>> from pessimism.evaluation import make_logs
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


def window_products(ratio: FloatArray, time: IntArray, window: int | None) -> FloatArray:
    r"""Products :math:`W_t = \prod_{k = \max(0, t-c+1)}^{t} \rho_k` within episodes, c the window; None multiplies all.

    By products alone, so that a zero ratio makes zeros, not 0/0.

    Parameters
    ----------
    ratio, time : ``(n,)``, rows in order.
    window : c >= 1, or None.

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
