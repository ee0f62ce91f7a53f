"""What a claim of a target must hold to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pessimism as ps
from pessimism.core.bandit import make_bandit
from pessimism.core.solution import Solution, Status
from pessimism.target.acceptance import accepted, without
from pessimism.target.certificate import residual_on_logits

Q = np.array([[0.3, 0.7], [0.5, 0.5], [0.2, 0.8]])
R = np.array([[0.0, 1.0], [1.0, 0.0], [0.3, 0.1]])
OBJECTIVE = ps.Kimi(beta=0.5)


def found(change: Any, status: Status = Status.CONVERGED) -> tuple[Any, Any, Solution]:
    """Problems, advantages, and the target whose second row is changed."""
    target = ps.induced_target(Q, R, OBJECTIVE)
    log_ratio = target.solution.log_ratio.copy()
    log_ratio[1] += change
    states = np.full(3, status.value, dtype=np.int8)
    return target.bandit, target.advantage_rows, target.solution._replace(log_ratio=log_ratio, status=states, mass=None)


CLAIMS = [Status.CONVERGED, Status.LOCAL_MINIMUM, Status.VANISHING_SUPPORT, Status.SET_VALUED, Status.UNSTABLE]


@pytest.mark.parametrize("status", CLAIMS)
@pytest.mark.parametrize("change", [1e-6, -1e-6, np.nan, np.inf, -np.inf])
def test_a_row_that_does_not_sum_to_one_is_none(status: Status, change: float) -> None:
    bandit, advantage, solution = found(change, status)
    kept = accepted(bandit, OBJECTIVE, advantage, solution, np.zeros(3, dtype=bool))
    assert kept.status.tolist() == [status, Status.NOT_CONVERGED, status]
    assert np.all(np.isnan(kept.log_ratio[1]))
    assert np.isnan(kept.kappa[1])
    np.testing.assert_array_equal(kept.log_ratio[[0, 2]], solution.log_ratio[[0, 2]])


def test_a_policy_beside_the_fixed_point_is_none_where_it_was_searched_for() -> None:
    policy = np.asarray(ps.induced_target(Q, R, OBJECTIVE).policy)[1]
    beside = policy + np.array([1e-5, -1e-5])
    bandit, advantage, solution = found(np.log(beside / policy))
    for searched in (True, False):  # a formula is asked for its sum alone
        kept = accepted(bandit, OBJECTIVE, advantage, solution, np.full(3, searched))
        assert (kept.status == Status.NOT_CONVERGED).tolist() == [False, searched, False]


def test_what_claims_nothing_is_left_alone() -> None:
    for status in (Status.NO_TARGET, Status.NOT_CONVERGED, Status.INVALID_INPUT):
        bandit, advantage, solution = found(1.0, status)
        assert accepted(bandit, OBJECTIVE, advantage, solution, np.ones(3, dtype=bool)) is solution


def test_a_target_is_kept_as_it_is() -> None:
    bandit, advantage, solution = found(0.0)
    assert accepted(bandit, OBJECTIVE, advantage, solution, np.ones(3, dtype=bool)) is solution


def test_actions_without_data_stay_at_zero_in_a_row_that_failed() -> None:
    bandit = make_bandit([[0.0, 1.0]], [[0.0, 1.0]])
    one = np.zeros(1)
    solution = Solution(np.zeros((1, 2)), one, one.astype(np.int8), one, one.astype(np.int8))
    failed = without(bandit, solution, np.array([True]))
    np.testing.assert_array_equal(failed.log_ratio, [[0.0, np.nan]])


@pytest.mark.parametrize("error", [1e-9, 1e-6, 1e-3, 0.1])
def test_the_sum_bounds_the_certificate_of_a_formula(error: float) -> None:
    """A Lambert formula at a multiplier that is not quite the right one: exact in each action, wrong in the sum."""
    target = ps.induced_target(Q, R, OBJECTIVE)
    kappa = target.solution.kappa * (1.0 + error)
    z = target.advantage_rows / OBJECTIVE.beta
    u = target.solution.log_ratio.copy()
    for _ in range(50):
        u -= (u + kappa[:, None] * np.exp(u) - z) / (1.0 + kappa[:, None] * np.exp(u))
    policy = Q * np.exp(u)
    missing = np.abs(policy.sum(axis=-1) - 1.0)
    residual = residual_on_logits(target.bandit, OBJECTIVE, Q, policy, u, target.advantage_rows)
    assert np.all(missing > 0)
    assert np.all(residual <= missing + 1e-14)
    assert np.any(residual >= 0.05 * missing)


@pytest.mark.parametrize(("missing", "taken"), [(0.9e-9, True), (-0.9e-9, True), (1.1e-9, False), (-1.1e-9, False)])
def test_the_sum_may_miss_one_by_1e_9(missing: float, taken: bool) -> None:
    bandit, advantage, solution = found(np.log1p(missing))
    kept = accepted(bandit, OBJECTIVE, advantage, solution, np.zeros(3, dtype=bool))
    assert (kept.status[1] == Status.CONVERGED) == taken


@pytest.mark.parametrize(("residual", "taken"), [(0.9e-7, True), (1.1e-7, False)])
def test_the_certificate_of_what_was_searched_for_may_be_1e_7(residual: float, taken: bool) -> None:
    policy = np.asarray(ps.induced_target(Q, R, OBJECTIVE).policy)[1]

    def moved(by: float) -> tuple[Any, Any, Solution, float]:
        """Mass carried from one action to the other, and the pulls that are then left, from their definition."""
        beside = policy + by * np.array([1.0, -1.0])
        u = np.log(beside / Q[1])
        pull = Q[1] * OBJECTIVE.score_weight(u, R[1] - Q[1] @ R[1])
        at_behavior = np.abs(Q[1] * OBJECTIVE.score_weight(0.0 * u, R[1] - Q[1] @ R[1])).sum()
        left = np.abs(pull - beside * pull.sum()).max() / max(np.abs(pull).sum(), at_behavior)
        return *found(np.log(beside / policy)), float(left)

    slope = moved(1e-6)[-1] / 1e-6
    bandit, advantage, solution, left = moved(residual / slope)
    assert left == pytest.approx(residual, rel=1e-3)
    kept = accepted(bandit, OBJECTIVE, advantage, solution, np.ones(3, dtype=bool))
    assert (kept.status[1] == Status.CONVERGED) == taken


@pytest.mark.parametrize(
    ("behavior", "reward", "objective"),
    [
        (
            [5.190315322170126e-25, 6.888039707895251e-25, 3.2294187889424272e-24, 0.9999999946275584, 5.37244164e-09],
            [1868271.4827747843, 0.010083238581029942, -1.404355569088234, -2.044101494120594, -0.5007829416870869],
            "cql_reference:alpha=0.0008795258026590657,beta=4.3400178024886775e-05",
        ),
        (
            [1.0, 3.222735191677417e-29],
            [-14173796.738586418, 24.66872548115038],
            "mixed_chi2_kl:beta=0.3,gamma=9.37e-07",
        ),
        (None, [-3.6476611743593254e73, -7.893026509280258e72], "cql_huber:alpha=3.0"),
    ],
)
def test_a_formula_whose_rounding_counts_is_asked_again(behavior: Any, reward: Any, objective: str) -> None:
    """Each had claimed a policy whose sum or whose certificate missed by more than what a claim allows."""
    target = ps.induced_target(behavior, reward, objective)
    if target.status == "not_converged":
        assert np.isnan(target.policy).all()
    else:
        assert target.certificate()["worst"][0] < 1e-7
        assert abs(target.policy.sum() - 1.0) <= 1e-9


def test_large_rewards_that_a_formula_bears_are_solved() -> None:
    for scale in (1e6, 1e8, 1e12):
        target = ps.induced_target([0.2, 0.3, 0.5], scale * np.array([0.1, 0.7, 0.4]), "kimi", beta=1.0)
        assert target.status == "converged"
        np.testing.assert_allclose(target.policy, [0.0, 1.0, 0.0], atol=1e-4)  # A_+/E[A_+]
