"""Problems on which objectives are compared: each solves them all, in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pessimism.arrays import Floats, to_numpy_float
from pessimism.core.objective import Objective
from pessimism.core.solution import Status
from pessimism.diagnosis.logged_groups import LoggedGroups, reads_lengths
from pessimism.diagnosis.what_was_read import clusters
from pessimism.rollouts.options import LogOptions
from pessimism.rollouts.read import LogLike, read_rollouts
from pessimism.rollouts.rows import LENGTH_COLUMNS
from pessimism.target.conservatism import effect
from pessimism.target.result import InducedTarget

STATISTICS: dict[str, Callable[[Floats], Any]] = {"mean": np.mean, "median": np.median}


class Solved(NamedTuple):
    """Targets of one objective on all problems, in parts; of problems that are alike there may be one target.

    Attributes
    ----------
    targets : list of InducedTarget
        The targets.
    like : ndarray of int, shape (N,), or None
        Which row of all targets each of the problems has; None where each has its own, in this order.
    prompt : ndarray of int, shape (N,), or None
        Number of the prompt of each problem of a log.
    """

    targets: list[InducedTarget]
    like: NDArray[np.intp] | None = None
    prompt: NDArray[np.intp] | None = None

    def each(self, parts: Iterable[Any]) -> NDArray[Any]:
        """Return what holds for the rows of the targets, a part ``(n,)`` for each, for all problems ``(N,)``."""
        rows: NDArray[Any] = np.concatenate([np.atleast_1d(part).ravel() for part in parts])
        if self.like is not None:
            rows = rows[self.like]
        return rows

    def whole(self) -> InducedTarget:
        """Return the targets of all problems, in their order, as one batch."""
        whole = InducedTarget.concatenate(self.targets)
        return whole if self.like is None else whole.take(self.like)


Solve = Callable[[Objective], Solved]


def on_log(log: LogLike, options: LogOptions | None = None) -> Solve:
    """Return what solves an objective on the groups of a log, whose completions are part of a larger space.

    Parameters
    ----------
    log : pandas.DataFrame, datasets.Dataset, path or list
        Rollout log, as :func:`~pessimism.read_rollouts` takes it.
    options : LogOptions, optional
        How it is read. Lengths of completions are read for objectives that need them, by default from the usual
        columns. A length that is malformed there concerns those objectives alone.

    Returns
    -------
    callable
        From an objective to its targets.

    Examples
    --------
    >>> import pessimism as ps
    >>> solve = on_log("examples/verl_rollouts")
    >>> solved = solve(ps.Kimi(0.1))
    >>> len(solved.each(target.kappa for target in solved.targets)), sum(len(t.kappa) for t in solved.targets)
    (64, 14)
    """
    options = options or LogOptions()
    if options.length_column is not None:
        return _on(read_rollouts(log, log_options=options))
    try:
        with_lengths = read_rollouts(log, log_options=replace(options, length_column=LENGTH_COLUMNS))
    except ValueError as error:
        return _by_lengths(_refuse(error), _on(read_rollouts(log, log_options=options)))
    solve = _on(with_lengths)
    if not with_lengths.attrs["skipped"]:
        return solve
    return _by_lengths(solve, _on(read_rollouts(log, log_options=options)))


def _on(log: pd.DataFrame) -> Solve:
    logged = LoggedGroups.of(log)
    prompt = clusters(logged.groups)
    some, like = logged.distinct()

    def solve(of: Objective) -> Solved:
        solved = solved_on(logged, of) if logged.of_batch(of) else solved_on(some, of, like)
        return solved._replace(prompt=prompt)

    return solve


def solved_on(
    logged: LoggedGroups,
    objective: Objective,
    like: NDArray[np.intp] | None = None,
    *,
    index: NDArray[np.intp] | None = None,
) -> Solved:
    """Solve an objective on groups.

    Parameters
    ----------
    logged : LoggedGroups
        The groups.
    objective : Objective
        The objective.
    like : ndarray of int, shape (N,), optional
        For each problem the group that it is like; by default each group is one.
    index : ndarray of int, optional
        Numbers, upwards, of the groups to solve alone.

    Returns
    -------
    Solved
        The targets, and which of their rows each problem has.
    """
    found = list(logged.targets(objective, index))
    row = np.argsort(np.concatenate([some for some, _ in found]))  # where each group stands among the targets
    return Solved([target for _, targets in found for target in targets], row if like is None else row[like])


def _by_lengths(lengths: Solve, others: Solve) -> Solve:
    return lambda of: (lengths if reads_lengths(of) else others)(of)


def _refuse(error: ValueError) -> Solve:
    said = str(error)

    def solve(of: Objective) -> Solved:
        raise ValueError(f"{of.name} reads the lengths of completions: {said}")

    return solve


def measured(target: InducedTarget, name: str) -> Floats:
    """Return a measure of each row ``(N,)`` of a target, nan where there is none or it cannot be relied on."""
    lost = np.atleast_1d(target.solution.status) == Status.NOT_CONVERGED
    return np.where(lost, np.nan, effect(target, name)[name])


def spread_of(target: InducedTarget) -> Floats:
    """Return the spread of the rewards of each row ``(N,)``; one of spread 0 has no signal."""
    return np.atleast_1d(np.ptp(to_numpy_float(target.reward), axis=-1)).reshape(-1)


def over_signal(solved: Solved, name: str, statistic: str) -> tuple[float, int, int]:
    """Sum up a measure over the problems with a signal, those whose rewards differ.

    Parameters
    ----------
    solved : Solved
        The targets of all problems.
    name : str
        Name of the measure.
    statistic : {"mean", "median"}
        The statistic.

    Returns
    -------
    value : float
        The statistic over the problems that have the measure, nan where none has.
    known : int
        How many have it.
    count : int
        How many have a signal.

    Raises
    ------
    ValueError
        If no problem has a signal, or for another statistic.
    """
    if statistic not in STATISTICS:
        raise ValueError(f'statistic must be "mean" or "median", got {statistic!r}')
    signal = solved.each(spread_of(target) for target in solved.targets) > 0
    values = solved.each(measured(target, name) for target in solved.targets)[signal]
    if not values.size:
        raise ValueError(
            "no problem has a signal: in each of them all rewards are equal, or there is one completion alone"
        )
    known = values[~np.isnan(values)]
    return float(STATISTICS[statistic](known)) if known.size else np.nan, known.size, values.size
