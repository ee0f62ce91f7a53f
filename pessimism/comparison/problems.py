"""Problems on which objectives are compared: each solves them all, in parts."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd

from pessimism.arrays import Floats, to_numpy_float
from pessimism.core.objective import Objective
from pessimism.core.solution import Status
from pessimism.diagnosis.logged_groups import LoggedGroups
from pessimism.rollouts.read import read_rollouts
from pessimism.rollouts.rows import LENGTH_COLUMNS
from pessimism.target.conservatism import effect
from pessimism.target.result import InducedTarget

Solve = Callable[..., list[InducedTarget]]  # from an objective to its targets on all problems, in parts
STATISTICS: dict[str, Callable[[Floats], Any]] = {"mean": np.mean, "median": np.median}


def on_log(
    log: pd.DataFrame | str | PathLike[str], *, length_column: str | None = None, **columns: Any
) -> Callable[[Objective], list[InducedTarget]]:
    """Return what solves an objective on the groups of a log, whose completions are part of a larger space.

    Parameters
    ----------
    log : pandas.DataFrame, str or path
        Rollout log, as :func:`~pessimism.read_rollouts` takes it.
    length_column : str, optional
        Column of the lengths of completions, for objectives that read them; by default the usual ones.
    **columns : Any
        Other options of :func:`~pessimism.read_rollouts`.

    Returns
    -------
    callable
        From an objective to its targets.

    Examples
    --------
    >>> import pessimism as ps
    >>> solve = on_log("examples/verl_rollouts")
    >>> sum(len(target.kappa) for target in solve(ps.Kimi(0.1)))
    64
    """
    logged = LoggedGroups.of(read_rollouts(log, length_column=length_column or LENGTH_COLUMNS, **columns))
    return lambda of: [target for _, targets in logged.targets(of) for target in targets]


def measured(target: InducedTarget, name: str) -> Floats:
    """Return a measure of each row ``(N,)`` of a target, nan where there is none or it cannot be relied on."""
    lost = np.atleast_1d(target.solution.status) == Status.NOT_CONVERGED
    return np.where(lost, np.nan, effect(target, name)[name])


def spread_of(target: InducedTarget) -> Floats:
    """Return the spread of the rewards of each row ``(N,)``; one of spread 0 has no signal."""
    return np.atleast_1d(np.ptp(to_numpy_float(target.reward), axis=-1)).reshape(-1)


def over_signal(targets: list[InducedTarget], name: str, statistic: str) -> tuple[float, int, int]:
    """Sum up a measure over the problems with a signal, those whose rewards differ.

    Parameters
    ----------
    targets : list of InducedTarget
        Targets of all problems, in parts.
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
    values = np.concatenate([measured(target, name)[spread_of(target) > 0] for target in targets])
    if not values.size:
        raise ValueError(
            "no problem has a signal: in each of them all rewards are equal, or there is one completion alone"
        )
    known = values[~np.isnan(values)]
    return float(STATISTICS[statistic](known)) if known.size else np.nan, known.size, values.size
