"""The population reading of logged groups: the finite-group target at the law that each group itself suggests.

A group of n completions, read in-sample, is its own whole support. Read for the population, new groups of n are drawn
from its empirical law (for 0/1 rewards: the plug-in pass rate), and the expected advantage decides. Groups of at most
two rewards are summed exactly, once per distinct (n, rewards, successes). Of other groups a linear advantage is exact,
an optimal value takes a coarse quadrature (1e-9), and the rest a few seeded draws, with their standard error.
Source: arXiv 2605.28150; docs/theory.md.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pessimism.arrays import Floats
from pessimism.core.objective import Objective
from pessimism.diagnosis.thresholds import thresholds
from pessimism.groups import expected_advantage
from pessimism.groups.design import least_beta1
from pessimism.groups.reward_law import expected_by_counts
from pessimism.groups.target import NOT_AFFINE, is_affine, log_z_of, solve_group, why_undefined
from pessimism.losses.regression import OAPL, AStarPO

COLUMNS = (
    *("population_regime", "population_log_z", "population_error", "population_kappa"),
    *("population_shift", "population_beta", "population_beta1"),
)
_STEP = 0.4  # of the quadrature: exp(-pi^2/0.4) = 2e-11
_NODES = 512  # of a quadrature per reward; above, and for other objectives, draws
_DRAWS = 2**9  # groups drawn per logged group at most
_BUDGET = 2**25  # completions drawn for a log at most, but
_FEWEST = 32  # groups in any case
_CHUNK = 2**22
_ROOTS = 2**18  # counts at once in the search for beta1
_NOT_DRAWN = "some completion was in none of the groups drawn, so that its expected advantage is not known"


class _Rows(NamedTuple):
    """Problems ``(P, K)`` with the logged groups that have them: ``group[i]`` has problem ``problem[i]``."""

    behavior: Floats
    reward: Floats
    advantage: Floats
    error: Floats
    size: NDArray[np.int64]
    group: NDArray[np.intp]
    problem: NDArray[np.intp]


def population_reading(
    groups: list[tuple[NDArray[np.intp], Floats]],
    objective: Objective,
    *,
    shift: float = 0.0,
    why: str | None = None,
) -> tuple[pd.DataFrame, str | None]:
    """Columns of the population reading, one row per logged group.

    Parameters
    ----------
    groups : list of tuple
        For each group size, the numbers of its groups ``(g,)`` and their rewards ``(g, n)``.
    objective : Objective
        The objective.
    shift : float, default 0.0
        How far the baseline goes down, in temperatures.
    why : str, optional
        Why new groups would not be treated as the logged ones are; by default they would.

    Returns
    -------
    pandas.DataFrame
        Indexed by the number of the group; the regime is "undefined" and the numbers are nan for objectives without an
        expected advantage.
    str or None
        Why some groups have no expected advantage, None where all have one.
    """
    total = sum(len(index) for index, _ in groups)
    columns: dict[str, Any] = {name: np.full(total, np.nan) for name in COLUMNS}
    columns["population_regime"] = np.full(total, "undefined", dtype="U9")
    why = why or why_undefined(objective)
    if why is None:
        pairs, others = [], []
        completions = sum(reward.size for _, reward in groups)
        draws = int(np.clip(_BUDGET // max(1, completions), _FEWEST, _DRAWS))
        for index, reward in groups:
            low, high = reward.min(axis=-1), reward.max(axis=-1)
            two = np.all((reward == low[:, None]) | (reward == high[:, None]), axis=-1)
            if two.any():
                pairs.append(_pairs(index[two], low[two], high[two], reward[two], objective))
            if not two.all():
                others += _others(index[~two], reward[~two], objective, draws)
        for rows in ([_joined(pairs)] if pairs else []) + others:
            why = _fill(columns, rows, objective, shift) or why
    return pd.DataFrame(columns), why


def _pairs(index: NDArray[np.intp], low: Floats, high: Floats, reward: Floats, objective: Objective) -> _Rows:
    """Groups of at most two rewards: each distinct (low, high, successes) once. Equal rewards count as successes."""
    n = reward.shape[-1]
    successes = (reward == high[:, None]).sum(axis=-1)
    distinct, problem = np.unique(np.stack([low, high, successes], axis=-1), axis=0, return_inverse=True)
    ends, law = np.unique(distinct[:, :2], axis=0, return_inverse=True)
    p = distinct[:, 2] / n
    mass = np.stack([1.0 - p, p], axis=-1)
    advantage = np.empty_like(mass)
    step = max(1, _CHUNK // (n * (n + 1)))
    for first in range(0, len(ends), step):
        part = (law >= first) & (law < first + step)
        found, _ = expected_by_counts(objective, ends[first : first + step], mass[part], n, law=law[part] - first)
        advantage[part] = found
    size = np.full(len(mass), n)
    return _Rows(mass, distinct[:, :2], advantage, np.zeros_like(mass), size, index, problem.ravel())


def _joined(parts: list[_Rows]) -> _Rows:
    """Problems of different group sizes as one batch."""
    start = np.cumsum([0, *(len(part.behavior) for part in parts[:-1])])
    shifted = [part._replace(problem=part.problem + s) for part, s in zip(parts, start, strict=True)]
    return _Rows(*(np.concatenate(columns) for columns in zip(*shifted, strict=True)))


def _others(index: NDArray[np.intp], reward: Floats, objective: Objective, draws: int) -> list[_Rows]:
    """Groups of more than two rewards, as laws with equal weights, in parts that fit the memory."""
    n, found = reward.shape[-1], []
    step = max(1, _CHUNK // n)
    linear = expected_advantage.linear_in_rewards(objective, np.unique(reward[: max(1, 4096 // n)]), n)
    for first in range(0, len(reward), step):
        rows = reward[first : first + step]
        behavior, size = np.full_like(rows, 1.0 / n), np.full(len(rows), n)
        advantage, error = _expected(objective, linear, rows, behavior, draws)
        group = index[first : first + step]
        found.append(_Rows(behavior, rows, advantage, error, size, group, np.arange(len(rows))))
    return found


def _expected(
    objective: Objective, linear: expected_advantage.Linear | None, reward: Floats, law: Floats, draws: int
) -> tuple[Floats, Floats]:
    """Expected advantages ``(g, n)`` of groups of more than two rewards, and the standard error of each one's log Z."""
    n, zero = reward.shape[-1], np.zeros_like(reward)
    if linear is not None:
        return expected_advantage.expected_linear(linear, reward, law, n), zero
    beta = expected_advantage.optimal_value_temperature(objective)
    widest = float(np.ptp(reward, axis=-1).max())
    if beta is not None and expected_advantage.nodes_of_quadrature(widest, beta, n, _STEP) <= _NODES:
        return expected_advantage.expected_under_optimal_value(reward, law, n, beta, step=_STEP), zero
    return _drawn(objective, reward, draws)


def _drawn(objective: Objective, reward: Floats, draws: int) -> tuple[Floats, Floats]:
    """Mean advantage ``(g, n)`` of each completion over groups drawn from its group, and the standard error.

    All completions of a group drawn are used: n advantages cost one evaluation. Every group of n is drawn alike, from
    its rewards in order, so that neither their order nor the other groups matter.
    """
    count, n = reward.shape
    order = np.argsort(reward, axis=-1)
    ordered = np.take_along_axis(reward, order, axis=-1)
    total, square, times = np.zeros((n, count)), np.zeros((n, count)), np.zeros(n)
    for which in np.random.default_rng(n).integers(n, size=(draws, n)):
        advantage = np.asarray(objective.advantage(ordered[:, which])).T
        np.add.at(total, which, advantage)
        np.add.at(square, which, advantage**2)
        np.add.at(times, which, 1.0)
    seen = np.maximum(times, 1.0)[:, None]
    mean = np.where(times[:, None] > 0, total / seen, np.nan).T
    error = np.sqrt(np.maximum(square / seen - (total / seen) ** 2, 0.0) / seen).T
    inverse = np.argsort(order, axis=-1)
    return np.take_along_axis(mean, inverse, axis=-1), np.take_along_axis(error, inverse, axis=-1)


def _fill(columns: dict[str, Any], rows: _Rows, objective: Objective, down: float) -> str | None:
    """Solve the problems and write what they say into the columns of the groups that have them.

    Returns why some of them have no reading, None where all have one.
    """
    beta = objective.temperature
    seen = rows.behavior > 0
    of_seen = np.where(seen, rows.advantage, np.nan)
    whole = ~np.isnan(np.where(seen, rows.advantage, 0.0)).any(axis=-1)  # a completion never drawn is not estimated
    if not whole.any():
        return _NOT_DRAWN
    if not is_affine(objective, float(np.nanmin(of_seen)), float(np.nanmax(of_seen))):
        return NOT_AFFINE
    advantage = np.where(whole[:, None], rows.advantage, 0.0) + down * (1.0 if beta is None else beta)
    target = solve_group(objective, rows.behavior, rows.reward, advantage, unseen=True)
    log_z = log_z_of(rows.behavior, advantage, beta)
    error = _error_of_log_z(rows, advantage, log_z, beta)
    unsure = np.abs(log_z) < 2.0 * error
    # Probabilities of groups of n are known to about n eps.
    shift, highest = thresholds(target, log_z, slack=4.0 + rows.size)
    values = {
        "population_regime": np.where(unsure, "undecided", target.regime),
        "population_log_z": log_z,
        "population_error": error,
        "population_kappa": target.kappa,
        "population_shift": np.where(error > 0, np.maximum(2.0 * error - log_z, 0.0) + 0.0 * shift, shift),
        "population_beta": highest,
        "population_beta1": _least_beta1(rows, objective),
    }
    for name, found in values.items():
        missing: Any = "undefined" if name == "population_regime" else np.nan
        columns[name][rows.group] = np.where(whole, found, missing)[rows.problem]
    return None if whole.all() else _NOT_DRAWN


def _error_of_log_z(rows: _Rows, advantage: Floats, log_z: Floats, beta: float | None) -> Floats:
    """Standard error of log Z ``(P,)``, the errors of a group's completions fully correlated; 0 where all is exact."""
    if beta is None or not rows.error.any():
        return np.zeros(len(log_z))
    tilted = rows.behavior * np.exp(advantage / beta - log_z[:, None])
    return np.asarray(np.vecdot(tilted, rows.error) / beta)


def _least_beta1(rows: _Rows, objective: Objective) -> Floats:
    """Least beta1 ``(P,)`` of a group's optimal value, nan for other objectives and for more than two rewards."""
    least = np.full(len(rows.behavior), np.nan)
    two = rows.reward.shape[-1] == 2 and not rows.error.any()
    if not (two and isinstance(objective, OAPL | AStarPO)):
        return least
    spread, low, high = np.ptp(rows.reward, axis=-1), rows.behavior[:, 0], rows.behavior[:, 1]
    least[spread == 0] = 0.0
    (left,) = np.nonzero(spread > 0)
    left = left[np.argsort(rows.size[left], kind="stable")]
    while left.size:
        count = max(1, int(np.searchsorted(rows.size[left] * np.arange(1, left.size + 1), _ROOTS)))
        now, left = left[:count], left[count:]
        least[now] = least_beta1(objective.beta2, rows.size[now], high[now], low[now], spread[now])
    return least
