"""The row loop: what a route is handed, which problems are solved once, and what becomes of what it finds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pessimism.core.bandit import make_bandit
from pessimism.core.solution import Solution, Status
from pessimism.fixed_point.rows import RowSolution, solve_each_row
from pessimism.fixed_point.score import LogitField
from pessimism.losses.registry import make_objective
from tests.helpers import Array


def loop(behavior: Any, advantage: Any, found: Any = None, **options: Any) -> tuple[Solution, list[LogitField]]:
    """Solution of a loop whose route returns the advantages, or ``found``; and the fields that it was handed."""
    seen: list[LogitField] = []

    def solve_row(field: LogitField) -> RowSolution:
        seen.append(field)
        return found or RowSolution(field.advantage, 0.0, Status.CONVERGED)

    bandit = make_bandit(behavior, advantage)
    solution = solve_each_row(bandit, make_objective("kimi", beta=0.5), np.asarray(advantage), solve_row, **options)
    return solution, seen


def test_a_route_sees_the_support_alone() -> None:
    solution, (field,) = loop([[0.25, 0.0, 0.75]], [[1.0, 5.0, 2.0]])
    assert field.q.tolist() == [0.25, 0.75]
    assert field.advantage.tolist() == [1.0, 2.0]
    assert solution.log_ratio.tolist() == [[1.0, 0.0, 2.0]]


@pytest.mark.parametrize(("order_free", "solved"), [(False, 3), (True, 2)])
def test_equal_problems_are_solved_once(order_free: bool, solved: int) -> None:
    behavior: Array = np.array([[0.2, 0.3, 0.5], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.1, 0.4, 0.5]])
    advantage: Array = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    solution, fields = loop(behavior, advantage, order_free=order_free)
    assert len(fields) == solved
    assert solution.log_ratio.tolist() == advantage.tolist()  # each in the order of its own actions
    assert all((np.diff(field.advantage) < 0).all() for field in fields) == order_free


def test_status_and_regime_are_kept_and_a_leak_is_negative() -> None:
    found = RowSolution(np.log([0.4, 0.4]), 0.0, Status.LOCAL_MINIMUM, 0.6)
    solution, _ = loop([[0.5, 0.5]], [[0.0, 0.0]], found)
    assert (solution.leak.tolist(), solution.regime.tolist()) == ([0.6], [-1])
    assert solution.status.tolist() == [Status.LOCAL_MINIMUM]


@pytest.mark.parametrize(("lam", "regime"), [(0.1, 1), (-0.1, -1), (0.0, 0)])
def test_kappa_and_regime_are_read_off_the_multiplier(lam: float, regime: int) -> None:
    beta, log_ratio = 0.5, np.log([0.4, 1.6])
    kappa = lam / (2.0 * beta**2)
    advantage = beta * (log_ratio + kappa * np.exp(log_ratio))
    solution, _ = loop([[0.5, 0.5]], [advantage], RowSolution(log_ratio, lam, Status.CONVERGED))
    assert solution.kappa.tolist() == pytest.approx([kappa])
    assert solution.regime.tolist() == [regime]
