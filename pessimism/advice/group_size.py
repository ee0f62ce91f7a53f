"""What keeps an objective out of the negative regime at a group size, with all groups and without the equal ones.

The population of each prompt is the law of the rewards that its group shows: new groups of G are drawn from it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import ROUND_CEILING
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pessimism.arrays import Floats
from pessimism.core.objective import Objective
from pessimism.diagnosis.logged_groups import LoggedGroups
from pessimism.diagnosis.thresholds import baseline_acts
from pessimism.diagnosis.wording import digits
from pessimism.groups.design import smallest_beta1
from pessimism.groups.finite_group import FiniteGroup, finite_group
from pessimism.groups.reward_law import has_baseline
from pessimism.groups.target import is_squared, solve_group
from pessimism.losses.regression import OAPL, AStarPO, Kimi

COLUMNS = ("drop_equal", "change", "setting", "negative", "holds", "note")
_BEYOND = 1e-6  # relative: what is said is "more than"
_LAWS = 64  # laws of more than two rewards at most
_DRAWS = 2**11  # groups drawn for each of them, where they cannot be counted


class Laws(NamedTuple):
    """Laws of the rewards of prompts with a signal, each once, with how many groups have it.

    Attributes
    ----------
    problems : list of tuple
        For each number of rewards, behavior and reward, ``(P, D)``, and the groups ``(P,)`` of each law.
    groups : int
        Groups with a signal.
    note : str
        Which of them were taken.
    """

    problems: list[tuple[Floats, Floats, Floats]]
    groups: int
    note: str


def laws_of(logged: LoggedGroups) -> Laws:
    """Laws of the groups of a log whose rewards are not all equal.

    Parameters
    ----------
    logged : LoggedGroups
        The log.

    Returns
    -------
    Laws
        The laws.

    Examples
    --------
    >>> import pessimism as ps
    >>> laws = laws_of(ps.diagnose("examples/verl_rollouts", "kimi").logged)
    >>> laws.groups, laws.note
    (63, '63 groups with both rewards')
    """
    found: dict[tuple[tuple[float, ...], tuple[float, ...]], int] = {}
    for same in logged.by_size(np.argsort(logged.sizes, kind="stable")):
        rows = np.sort(logged.reward[logged.rows(same)], axis=-1)
        for row, times in zip(*np.unique(rows, axis=0, return_counts=True), strict=True):
            values, counts = np.unique(row, return_counts=True)
            if len(values) > 1:
                law = tuple(values.tolist()), tuple((counts / counts.sum()).tolist())
                found[law] = found.get(law, 0) + int(times)
    groups = sum(found.values())
    two = [law for law in found if len(law[0]) == 2]
    more = sorted((law for law in found if len(law[0]) > 2), key=lambda law: float(np.dot(*law)))
    taken = more if len(more) <= _LAWS else [more[i] for i in np.linspace(0, len(more) - 1, _LAWS).astype(int)]
    problems = []
    for width in sorted({len(law[0]) for law in (*two, *taken)}):
        alike = [law for law in (*two, *taken) if len(law[0]) == width]
        weights = np.array([found[law] for law in alike], dtype=float)
        problems.append((np.array([law[1] for law in alike]), np.array([law[0] for law in alike]), weights))
    note = f"{groups:,} groups with both rewards" if not more else f"{groups:,} groups with rewards that differ"
    if len(taken) < len(more):
        note += f", {len(taken)} laws of more than two rewards for all {len(more):,}"
    return Laws(problems, groups, note)


def least_changes(
    laws: Laws, objective: Objective, group_size: int, share: float = 0.9, why_not: str | None = None
) -> pd.DataFrame:
    """Least shift, beta1 or change of the baseline that leaves the negative regime at a group size.

    Each is tried before it is told: the populations are solved again with it.

    Parameters
    ----------
    laws : Laws
        Laws of the prompts.
    objective : Objective
        The objective.
    group_size : int
        Completions of a group.
    share : float, default 0.9
        Part of the prompts that is not to be negative.
    why_not : str, optional
        Why nothing can be said.

    Returns
    -------
    pandas.DataFrame
        A row for each change, "none" first, with all groups and without the equal ones: the setting (a shift in
        temperatures), the share of prompts that are negative with it, and whether that is few enough.
    """
    rows: list[dict[str, Any]] = []
    for drop in (False, True):
        if why_not is not None:
            rows.append({"drop_equal": drop, "change": "none", "note": why_not})
            continue
        try:
            groups = [_group(objective, group_size, problem, drop) for problem in laws.problems]
        except ValueError as error:
            why = str(error).removeprefix(f"objective {objective}: ").removeprefix("with drop_equal, ")
            why = why.removesuffix("; finite_group is not defined for it")
            rows.append({"drop_equal": drop, "change": "none", "note": why})
            continue
        weights = np.concatenate([problem[2] for problem in laws.problems])
        now = _negative(groups, weights)
        rows.append({"drop_equal": drop, "change": "none", "negative": now, "holds": now <= 1.0 - share + 1e-9})
        if now <= 1.0 - share + 1e-9:
            continue
        rows += [
            {"drop_equal": drop, **change, "holds": change["negative"] <= 1.0 - share + 1e-9}
            for change in _changes(laws, objective, group_size, drop, groups, weights, share)
        ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _group(
    objective: Objective, size: int, problem: tuple[Floats, Floats, Floats], drop: bool, apart: bool = False
) -> FiniteGroup:
    behavior, reward, _ = problem
    options: dict[str, Any] = {"drop_equal": drop, "leave_one_out": apart, "unseen": True, "draws": _DRAWS}
    return finite_group(objective, size, behavior, reward, check=False, **options)


def _negative(groups: list[FiniteGroup], weights: Floats) -> float:
    """Share of the prompts that are negative."""
    negative = np.concatenate([np.atleast_1d(group.regime) == "negative" for group in groups])
    return float(np.average(negative, weights=weights))


def _shifted(group: FiniteGroup, shift: float) -> Any:
    """Regimes with the baseline so many temperatures lower."""
    data = group.data if group.drop_equal else None
    advantage = np.nan_to_num(group.advantage) + shift * (group.objective.temperature or 1.0)
    found = solve_group(group.objective, group.behavior, group.reward, advantage, data=data, unseen=group.unseen)
    return np.atleast_1d(found.regime)


def _changes(
    laws: Laws,
    objective: Objective,
    size: int,
    drop: bool,
    groups: list[FiniteGroup],
    weights: Floats,
    share: float,
) -> list[dict[str, Any]]:
    """Changes with the share of prompts that are negative with each."""
    found: list[dict[str, Any]] = []
    if objective.temperature is not None and baseline_acts(objective):
        need = np.concatenate([np.atleast_1d(0.0 - group.log_z) for group in groups])
        at = _enough(need, weights, share)
        if math.isfinite(at) and at > 0:
            setting = float(digits(at, ROUND_CEILING))
            negative = np.concatenate([_shifted(group, setting * (1.0 + _BEYOND)) == "negative" for group in groups])
            found.append(
                {"change": "shift", "setting": setting, "negative": float(np.average(negative, weights=weights))}
            )
    if isinstance(objective, OAPL | AStarPO):
        least = [
            np.atleast_1d(smallest_beta1(objective.beta2, size, reward=r, behavior=q, drop_equal=drop))
            for q, r, _ in laws.problems
        ]
        at = _enough(np.concatenate(least), weights, share)
        if math.isfinite(at) and at > 0:
            setting = float(digits(at, ROUND_CEILING))
            other = replace(objective, beta1=setting * (1.0 + _BEYOND))
            found.append({"change": "beta1", "setting": setting, "negative": _solved(laws, other, size, drop, weights)})
    if is_squared(objective) and not isinstance(objective, Kimi):
        mean = Kimi(beta=objective.temperature)
        found.append({"change": "mean of the group", "negative": _solved(laws, mean, size, drop, weights)})
    if has_baseline(objective):
        apart = [_group(objective, size, problem, drop, apart=True) for problem in laws.problems]
        found.append({"change": "leave-one-out", "negative": _negative(apart, weights)})
    return found


def _solved(laws: Laws, objective: Objective, size: int, drop: bool, weights: Floats) -> float:
    return _negative([_group(objective, size, problem, drop) for problem in laws.problems], weights)


def _enough(need: Floats, weights: Floats, share: float) -> float:
    """What meets the needs of a share of the prompts."""
    order = np.argsort(need, kind="stable")
    reached = np.cumsum(weights[order]) >= share * weights.sum() - 1e-9
    return float(need[order][np.argmax(reached)])
