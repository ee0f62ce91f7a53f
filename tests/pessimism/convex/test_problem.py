"""One problem of a target on the support of its behavior: arrays of the row, and the multiplier beside a jump."""

from __future__ import annotations

import numpy as np
import pytest

import pessimism as ps
from pessimism.convex.problem import problems_of
from tests.helpers import cases, posed

CASES = cases()


def test_rows_hold_the_actions_that_the_behavior_can_produce() -> None:
    behavior, reward = posed("kimi", "unseen_actions")
    other = np.array([0.1, 0.2, 0.3, 0.4, 0.0])
    target = ps.induced_target(np.stack([behavior, other]), reward, CASES["kimi"])
    rows = problems_of(target)
    for row, q, policy, kappa in zip(rows, (behavior, other), target.policy, target.kappa, strict=True):
        np.testing.assert_array_equal(row.seen, q > 0)
        np.testing.assert_array_equal(row.q, q[q > 0])
        np.testing.assert_allclose(row.policy, policy[q > 0], rtol=1e-13)
        np.testing.assert_allclose(row.ratio * row.q, row.policy, rtol=1e-13)
        np.testing.assert_allclose(row.advantage, reward[q > 0] - q @ reward, atol=1e-13)
        assert (row.kappa, row.beta, row.status) == (kappa, 0.3, "converged")


@pytest.mark.parametrize("label", ["kimi", "awr", "truncated_is", "cispo", "reinforce"])
def test_the_multiplier_is_the_mean_score_weight(label: str) -> None:
    target = ps.induced_target(*posed(label, "generic"), CASES[label])
    (row,) = problems_of(target)
    assert row.multiplier == pytest.approx(float(target.multiplier), rel=1e-10, abs=1e-12)


def test_the_multiplier_beside_a_jump_is_what_the_other_actions_agree_on() -> None:
    """PPO fills the best action up to its clip, where its weight jumps; the next one decides."""
    target = ps.induced_target([0.4, 0.3, 0.2, 0.1], [0.2, 0.35, 0.6, 0.8], "ppo", eps_high=3.0)
    (row,) = problems_of(target)
    np.testing.assert_allclose(row.ratio, [0.0, 0.0, 3.0, 4.0], atol=1e-9)
    assert row.multiplier == pytest.approx(row.advantage[2], rel=1e-12)


def test_a_mean_slope_counts_only_where_there_is_mass() -> None:
    (row,) = problems_of(ps.induced_target([0.25, 0.25, 0.5], [1.0, 1.0, 0.0], "pevi"))
    np.testing.assert_allclose(row.policy, [0.5, 0.5, 0.0], atol=1e-12)
    assert row.mean(np.array([3.0, 5.0, np.inf])) == pytest.approx(4.0)


def test_invalid_rows_are_named() -> None:
    behavior = [[0.5, 0.5], [0.5, 0.6]]
    target = ps.induced_target(behavior, [0.0, 1.0], "kimi", beta=0.5, on_error="status")
    assert [row.status for row in problems_of(target)] == ["converged", "invalid_input"]
