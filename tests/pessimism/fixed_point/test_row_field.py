"""Pulls of many problems at once against those of one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pessimism as ps
from pessimism.core.problem import make_problem
from pessimism.fixed_point.row_field import RowField
from pessimism.fixed_point.score import LogitField
from tests.helpers import Array

BEHAVIOR = np.array([[0.5, 0.3, 0.2, 0.0], [0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]])
REWARD = np.array([[1.0, 0.0, 0.4, 9.0], [0.2, -0.3, 1.0, 0.9], [1.0, 0.0, 0.0, 0.0]])
REFERENCE = np.array([[0.2, 0.2, 0.6, 0.0], [0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]])
LOG_RATIO = np.array([[0.3, -0.5, 0.1, 0.0], [0.9, 0.1, -2.0, 0.2], [0.0, 0.4, -0.4, 0.05]])
OBJECTIVES = [
    ps.Kimi(beta=0.3),
    ps.GRPO(beta=0.5),
    ps.TOPR(value=0.3),
    ps.KLRegularized(estimator="k3", placement="loss", sampling="off_policy", beta=0.2),
]


def field_of(objective: Any, reference: Array | None = None) -> RowField:
    bandit, advantage = make_problem(BEHAVIOR, REWARD, objective, reference)
    return RowField.of_bandit(bandit, objective, advantage)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_pulls_are_those_of_each_problem(objective: Any) -> None:
    reference = REFERENCE if objective.takes_reference else None
    field = field_of(objective, reference)
    pulls = field.plain(LOG_RATIO)
    for row, (q, u) in enumerate(zip(BEHAVIOR, LOG_RATIO, strict=True)):
        seen = q > 0
        nu = q if reference is None else reference[row]
        one = LogitField(objective, q[seen], nu[seen], field.advantage[row, seen], q[seen])
        np.testing.assert_allclose(pulls[row, seen], q[seen] * one.plain(u[seen]), rtol=1e-14)
        assert np.all(pulls[row, ~seen] == 0.0)
        np.testing.assert_allclose(field.scale[row], one.scale, rtol=1e-14)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_slopes_are_derivatives_of_the_pulls(objective: Any) -> None:
    field = field_of(objective)
    pulls, slopes = field.linearized(LOG_RATIO)
    np.testing.assert_array_equal(pulls, field.plain(LOG_RATIO))
    h = 1e-5
    central = (field.plain(LOG_RATIO + h) - field.plain(LOG_RATIO - h)) / (2.0 * h)
    np.testing.assert_allclose(slopes, central, rtol=1e-4, atol=1e-5)


def test_slopes_look_away_from_a_jump() -> None:
    field = field_of(ps.GRPO(beta=0.5))
    for side in (-1e-8, 1e-8):
        at = np.where(field.seen, field.jumps[1].at + side, 0.0)
        _, slopes = field.linearized(at)
        assert np.abs(slopes).max() < 10.0  # the jump itself is of size one, over 1e-8


def test_some_rows_are_those_rows() -> None:
    objective = ps.Kimi(beta=np.array([0.1, 0.2, 0.3]))
    bandit, advantage = make_problem(BEHAVIOR, REWARD, objective)
    field = RowField.of_bandit(bandit, objective.on_rows(bandit), advantage)
    part = field.rows(np.array([2, 0]))
    np.testing.assert_array_equal(part.plain(LOG_RATIO[[2, 0]]), field.plain(LOG_RATIO)[[2, 0]])
    np.testing.assert_array_equal(part.scale, field.scale[[2, 0]])
    np.testing.assert_array_equal(part.at_reference, field.at_reference[[2, 0]])
