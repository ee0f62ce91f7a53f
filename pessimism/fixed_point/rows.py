"""The loop over the problems of a batch for routes that solve one at a time, on the host in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pessimism.arrays import Array, to_numpy
from pessimism.closed_forms.separable import as_solution
from pessimism.core.bandit import Bandit
from pessimism.core.objective import Objective
from pessimism.core.solution import Solution, Status
from pessimism.fixed_point.score import LogitField, group_weights


class RowSolution(NamedTuple):
    """What a route found for one problem: log-ratios ``(K,)`` on the behavior's support, lam, status, leaked mass."""

    log_ratio: Array
    multiplier: float
    status: Status
    leak: float = 0.0


def solve_each_row(
    bandit: Bandit,
    objective: Objective,
    advantage: Array,
    solve_row: Callable[[LogitField], RowSolution],
    *,
    order_free: bool = False,
) -> Solution:
    """Solve a batch row by row; equal problems are solved once, also those that differ in the order of their actions.

    Parameters
    ----------
    bandit : Bandit
        The problems, N of them.
    objective : Objective
        The objective whose score weight pulls.
    advantage : array, shape (N, K)
        Its advantages.
    solve_row : callable
        From the logit field of one problem, on the behavior's support, to what a route finds for it.
    order_free : bool, default False
        Hand the actions over best advantage first, so that groups that are alike but for their order count as equal.
        For a route that takes long, of objectives that do not know their actions by their place.

    Returns
    -------
    Solution
        Kappa and regime are read off what was found.
    """
    q, nu, host_advantage = (to_numpy(a) for a in (bandit.behavior, bandit.reference, advantage))
    given = group_weights(bandit, objective)
    weights = None if given is None else to_numpy(given)
    log_ratio, multiplier, leak = np.zeros_like(q), np.empty(len(q)), np.empty(len(q))
    status = np.empty(len(q), dtype=np.int8)
    known: dict[bytes, RowSolution] = {}
    for row in range(len(q)):
        seen = np.flatnonzero(q[row] > 0)
        if order_free:
            facts = [to_numpy(getattr(objective, name))[row, seen] for name in objective.facts]
            seen = seen[np.lexsort((*facts, nu[row, seen], q[row, seen], -host_advantage[row, seen]))]
        own = None if weights is None else weights[row, seen]
        of_row = objective.on_row(row, seen)
        field = LogitField(of_row, q[row, seen], nu[row, seen], host_advantage[row, seen], own)
        key = np.stack([field.q, field.log_nu, field.advantage, *field.facts]).tobytes()
        key += str([getattr(of_row, name) for name in objective.swept]).encode()
        if key not in known:
            known[key] = solve_row(field)
        log_ratio[row, seen], multiplier[row], status[row], leak[row] = known[key]
    return as_solution(bandit, objective, advantage, log_ratio, multiplier, status, leak)
