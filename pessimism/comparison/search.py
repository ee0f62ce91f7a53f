"""Where a function of one hyper-parameter takes a wanted value, searched outward from where the parameter stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from pessimism.arrays import Floats

_DOUBLINGS = 40  # a factor of 1e12 to either side of where the parameter stands
_HALVINGS = 12  # towards a value that the objective refuses
_FINEST = 2.0**-6  # first step of a parameter that may be negative, in the scale given

# From values of the parameter (n,) and numbers of problems (n,) to measures (n,), nan where there is none.
Measure = Callable[[Floats, np.ndarray[Any, Any]], Floats]


class Crossing(NamedTuple):
    """What the search found, one entry for each problem.

    Attributes
    ----------
    at : ndarray, shape (N,)
        Value of the parameter, nan where there is none.
    jump : ndarray, shape (N, 2)
        Measures on both sides of ``at`` where the measure jumps over what is wanted, else nan.
    reach : ndarray, shape (N, 2)
        Least and largest measure that was met, nan where there was none. It is the whole reach where ``at`` is nan.
    ends : tuple of float
        Least and largest value of the parameter that was tried.
    """

    at: Floats
    jump: Floats
    reach: Floats
    ends: tuple[float, float]


def ladders(start: float, accepts: Callable[[float], bool], scale: float) -> tuple[list[float], list[float]]:
    """Return the values to try below and above where a parameter stands, the nearest first.

    Parameters
    ----------
    start : float
        Where it stands.
    accepts : callable
        Whether the parameter may have a value.
    scale : float
        Unit of a parameter that may have any sign; one of one sign is halved and doubled.

    Returns
    -------
    below, above : list of float
        Values that are accepted. Where one is refused, the ladder goes on halfway towards it.

    Examples
    --------
    >>> below, above = ladders(0.5, lambda x: 0 < x < 1, 1.0)
    >>> below[:3], above[:3]
    ([0.25, 0.125, 0.0625], [0.75, 0.875, 0.9375])
    """
    signed = start == 0 or accepts(-start)

    def rungs(side: int) -> Iterator[float]:
        for k in range(_DOUBLINGS):
            yield start + side * scale * _FINEST * 2.0**k if signed else start * 2.0 ** (side * (k + 1))

    def ladder(side: int) -> list[float]:
        found = [start]
        for rung in rungs(side):
            if not accepts(rung):
                for _ in range(_HALVINGS):
                    halfway = 0.5 * (found[-1] + rung)
                    if accepts(halfway):
                        found.append(halfway)
                    else:
                        rung = halfway  # the nearest value that is refused
                break
            found.append(rung)
        return found[1:]

    return ladder(-1), ladder(1)


def nearest_crossing(
    measure: Measure, wanted: Floats, start: float, below: list[float], above: list[float]
) -> Crossing:
    """Find for each problem the value nearest to ``start``, rung by rung, at which a measure is what is wanted.

    Parameters
    ----------
    measure : callable
        From values of the parameter ``(n,)`` and numbers of problems ``(n,)`` to their measures ``(n,)``, nan where
        there is none.
    wanted : ndarray, shape (N,)
        What the measure has to be.
    start : float
        Where the parameter stands.
    below, above : list of float
        Values to try, as `ladders` gives them.

    Returns
    -------
    Crossing
        The values, or what was met instead.

    Examples
    --------
    >>> below, above = ladders(1.0, lambda x: x > 0, 1.0)
    >>> found = nearest_crossing(lambda x, row: 1 / x, np.array([0.3, -1.0]), 1.0, below, above)
    >>> found.at.round(6).tolist(), found.reach[1].tolist()
    ([3.333333, nan], [9.094947017729282e-13, 1099511627776.0])
    """
    from scipy.optimize import elementwise

    rows = np.arange(len(wanted))
    first = measure(np.full(len(rows), start), rows)
    reach = np.stack([first, first], axis=-1)
    last = {-1: (np.full(len(rows), start), first.copy()), 1: (np.full(len(rows), start), first.copy())}
    bracket = np.full((len(rows), 2), np.nan)
    bracket[first == wanted] = start
    for rungs in zip_longest(below, above):
        for side, rung in zip((-1, 1), rungs, strict=True):
            (open_rows,) = np.nonzero(np.isnan(bracket[:, 0]))
            if rung is None or not open_rows.size:
                continue
            found = measure(np.full(len(open_rows), rung), open_rows)
            at, before = (of[open_rows] for of in last[side])
            crosses = (np.sign(before - wanted[open_rows]) * np.sign(found - wanted[open_rows])) <= 0
            bracket[open_rows[crosses]] = np.stack([at, np.full(len(at), rung)], axis=-1)[crosses]
            known = ~np.isnan(found)
            last[side][0][open_rows[known]], last[side][1][open_rows[known]] = rung, found[known]
            reach[open_rows, 0] = np.fmin(reach[open_rows, 0], found)
            reach[open_rows, 1] = np.fmax(reach[open_rows, 1], found)
    at, jump = np.full(len(rows), np.nan), np.full((len(rows), 2), np.nan)
    (closed,) = np.nonzero(~np.isnan(bracket[:, 0]))
    if closed.size:
        low, high = np.sort(bracket[closed], axis=-1).T

        def excess(x: Floats, row: Floats) -> Floats:
            index = row.astype(int)
            return np.asarray(measure(x, index) - wanted[index])

        root = elementwise.find_root(excess, (low, high), args=(closed.astype(float),))
        at[closed] = np.where(low == high, low, root.x)
        sides = np.sort(np.stack(root.f_bracket, axis=-1), axis=-1)
        jump[closed] = np.where((low == high)[:, None], 0.0, sides) + wanted[closed, None]
    return Crossing(at, jump, reach, (min(below, default=start), max(above, default=start)))
