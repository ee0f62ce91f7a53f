"""The negative regime: which of its minima is the target, and what leaks to unseen actions."""

from __future__ import annotations

import numpy as np
import pytest

import pessimism as ps
from tests.helpers import PROBLEMS, Array, cases, make_problem
from tests.pessimism.closed_forms.regimes import BARELY, NEGATIVE

CASES = cases()


def test_a_barely_negative_baseline_keeps_the_smooth_minimum() -> None:
    behavior, reward, beta, value = BARELY
    points = ps.stationary_points(behavior, reward, "constant_baseline", beta=beta, value=value)
    target = ps.induced_target(behavior, reward, "constant_baseline", beta=beta, value=value)
    smooth = [p for p in points if p.branch is None]
    assert target.regime == "negative"
    assert len(smooth) == 1
    assert len(points) > 1
    np.testing.assert_allclose(target.policy, smooth[0].policy, rtol=1e-12)


def test_a_lone_minimum_of_the_negative_regime_is_the_target() -> None:
    problem = np.array([0.5, 0.3, 0.2]), np.array([0.0, 0.3, 0.6])
    objective = ps.ConstantBaseline(beta=1.0, value=0.31)
    (point,) = ps.stationary_points(*problem, objective)
    target = ps.induced_target(*problem, objective)
    assert target.regime == "negative"
    np.testing.assert_allclose(target.policy, point.policy, rtol=1e-12)
    assert target.status == "local_minimum"


@pytest.mark.parametrize(("behavior", "reward", "beta", "value"), [*NEGATIVE, BARELY])
def test_the_lowest_minimum_is_there_for_the_asking(behavior: Array, reward: Array, beta: float, value: float) -> None:
    points = ps.stationary_points(behavior, reward, "constant_baseline", beta=beta, value=value)
    hyper = {"beta": beta, "value": value}
    lowest = ps.induced_target(behavior, reward, "constant_baseline", minimum="lowest", **hyper)
    np.testing.assert_allclose(lowest.policy, points[0].policy, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(lowest.kappa, points[0].kappa, rtol=1e-10)
    assert lowest.status == "local_minimum"
    reached = ps.induced_target(behavior, reward, "constant_baseline", **hyper)
    assert min(np.abs(p.policy - reached.policy).max() for p in points) <= 1e-10
    assert float(reached.kappa) < 0


def test_only_minimizers_of_regressions_are_enumerated() -> None:
    with pytest.raises(ValueError, match=r'minimum="lowest": objective grpo\(.*\) is no squared regression'):
        ps.induced_target([0.5, 0.5], [0.0, 1.0], "grpo", minimum="lowest")
    with pytest.raises(ValueError, match='minimum must be "flow" or "lowest", got \'deepest\''):
        ps.induced_target([0.5, 0.5], [0.0, 1.0], "kimi", minimum="deepest")


@pytest.mark.parametrize(
    ("behavior", "reward", "name", "hyper", "policy"),
    [
        ([0.9, 0.1], [1, 0], "constant_baseline", {"beta": 1.0, "value": 2.5}, [0.9906, 0.0094]),
        ([0.9, 0.1], [1, 0], "constant_baseline", {"beta": 1.0, "value": 4.0}, [0.9981, 0.0019]),
        (
            [0.015, 0.444, 0.231, 0.271, 0.039],
            [1, 0, 1, 0, 0],
            "oapl",
            {"beta1": 0.01, "beta2": 0.1},
            [0.0369, 0.0, 0.9631, 0.0, 0.0],
        ),
    ],
)
def test_the_target_is_where_training_from_the_behavior_ends(
    behavior: list[float], reward: list[float], name: str, hyper: dict[str, float], policy: list[float]
) -> None:
    target = ps.induced_target(behavior, reward, name, **hyper)
    np.testing.assert_allclose(target.policy, policy, atol=6e-5)
    assert target.status == "local_minimum"
    assert "gradient flow from the reference" in target.message[()]


@pytest.mark.parametrize("behavior", [[0.5, 0.3, 0.2], [0.5, 0.5, 0.0]])
def test_equal_rewards_above_the_baseline_by_more_than_a_temperature_are_unstable(behavior: list[float]) -> None:
    stable = ps.induced_target(behavior, [0.0, 0.0, 0.0], "constant_baseline", beta=0.1, value=0.09)
    unstable = ps.induced_target(behavior, [0.0, 0.0, 0.0], "constant_baseline", beta=0.1, value=0.11)
    for target, status in ((stable, "local_minimum"), (unstable, "unstable")):
        np.testing.assert_allclose(target.policy, behavior, atol=1e-15)
        assert target.status == status
    assert "drives it away" in unstable.message[()]


@pytest.mark.parametrize(("behavior", "reward", "beta", "value"), [*NEGATIVE, BARELY])
def test_the_surplus_leaks_to_unseen_actions(behavior: Array, reward: Array, beta: float, value: float) -> None:
    target = ps.induced_target(behavior, reward, "constant_baseline", beta=beta, value=value, unseen=True)
    partition = behavior @ np.where(behavior > 0, np.exp((np.where(behavior > 0, reward, 0.0) - value) / beta), 0.0)
    assert target.regime == "negative"
    assert target.status == "converged"
    assert np.isnan(target.kappa)
    np.testing.assert_allclose(target.leak, 1.0 - partition, rtol=1e-12)
    np.testing.assert_allclose(target.policy.sum(), partition, rtol=1e-12)
    np.testing.assert_allclose(target.log_ratio[behavior > 0], (reward - value)[behavior > 0] / beta, rtol=1e-13)
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-12


@pytest.mark.parametrize("name", ["kimi", "shifted_mean", "oapl"])
def test_nothing_leaks_from_the_positive_regime(name: str) -> None:
    closed = ps.induced_target(*PROBLEMS["generic"], CASES[name])
    leaky = ps.induced_target(*PROBLEMS["generic"], CASES[name], unseen=True)
    np.testing.assert_array_equal(closed.policy, leaky.policy)
    assert float(leaky.leak) == 0.0


def test_many_actions_in_the_negative_regime() -> None:
    """Every listed point is a minimum: descent from beside it stays, and its certificate holds."""
    behavior, reward = make_problem(7, 120)
    points = ps.stationary_points(behavior, reward, "constant_baseline", beta=0.5, value=3.0)
    assert len(points) > 10
    advantage = reward - 3.0
    for point in points:
        pull = behavior * (advantage - 0.5 * point.log_ratio)
        np.testing.assert_allclose(pull, point.policy * pull.sum(), atol=1e-10)
        np.testing.assert_allclose(point.policy.sum(), 1.0, atol=1e-12)
        # d mass / d kappa > 0 along the branch: the second-order condition.
        w = point.policy / behavior
        assert np.sum(behavior * w**2 / (1 + point.kappa * w)) < 0 or point.branch is None
