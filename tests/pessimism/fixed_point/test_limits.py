"""Limits of many flows: the linear algebra of a step, flows of another kind, saddles and jumps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import pessimism as ps
from pessimism.core.problem import make_problem
from pessimism.fixed_point import limits
from pessimism.fixed_point.row_field import RowField
from tests.helpers import Array


def field_of(behavior: Any, reward: Any, objective: Any) -> RowField:
    bandit, advantage = make_problem(behavior, reward, objective)
    return RowField.of_bandit(bandit, objective, advantage)


def regression_flow(q: Array, reward: Array, beta: float, value: float) -> Array:
    """Policy after gradient flow of E_q[(beta log(pi/q) - (r - value))^2] on softmax logits, in plain numpy."""

    def velocity(_: float, logits: Array) -> Array:
        log_policy = logits - np.logaddexp.reduce(logits)
        pull = 2.0 * beta * q * (reward - value - beta * (log_policy - np.log(q)))
        return pull - np.exp(log_policy) * pull.sum()

    logits = np.log(q)
    for until in np.geomspace(1.0, 1e7, 8):
        logits = solve_ivp(velocity, (0.0, until), logits, method="LSODA", rtol=1e-10, atol=1e-12).y[:, -1]
    return np.exp(logits - np.logaddexp.reduce(logits))


@pytest.mark.parametrize("held", [[], [0], [1, 3]])
def test_a_step_solves_with_the_jacobian_of_the_velocity(held: list[int]) -> None:
    rng = np.random.default_rng(len(held))
    q, reward = rng.dirichlet(np.ones(5), 3), rng.normal(size=(3, 5))
    field = field_of(q, reward, ps.KLRegularized(estimator="k2", placement="loss", sampling="off_policy", beta=0.7))
    mask = np.zeros((3, 5), dtype=bool)
    mask[:, held] = True
    policy = rng.dirichlet(np.ones(5), 3)
    u = np.log(policy / q)
    force = limits._Force(field, mask, u)
    force.linearized(u)
    np.testing.assert_allclose(force.here, force(u), atol=1e-15)
    # The mass and the logits' sum stay.
    np.testing.assert_allclose((policy * force.here).sum(axis=-1), 0.0, atol=1e-15)
    h = 1e-6
    jacobian = np.stack(
        [(force(u + h * np.eye(5)[b] * ~mask) - force(u - h * np.eye(5)[b] * ~mask)) / (2.0 * h) for b in range(5)],
        axis=-1,
    )
    c = np.array([[0.5], [3.0], [40.0]])
    right = np.where(mask, 0.0, rng.normal(size=(3, 5)))
    force.solve_with(c)
    found = force.solve(right)
    np.testing.assert_allclose(
        c * found - np.einsum("nab,nb->na", jacobian, found), right, atol=1e-5
    )  # slopes are differences


def test_steps_converge_to_the_flow_with_the_order_of_the_method() -> None:
    q, reward = np.array([[0.6, 0.3, 0.1]]), np.array([[0.0, 0.9, 1.0]])
    field = field_of(q, reward, ps.ConstantBaseline(beta=0.5, value=1.5))

    def after(count: int) -> Array:
        state = limits._State(np.zeros((1, 3)), np.zeros((1, 3), dtype=bool), np.zeros(1), np.full(1, 1.0 / count))
        for _ in range(count):
            state = limits._stepped(field, state._replace(step=np.full(1, 1.0 / count)), np.full(1, 10.0))
        assert state.time[0] == pytest.approx(1.0)
        return state.log_ratio

    reference = after(512)
    errors = [np.abs(after(count) - reference).max() for count in (16, 32, 64)]
    assert errors[0] / errors[1] > 2.0**2.7
    assert errors[1] / errors[2] > 2.0**2.7


def test_the_negative_regime_ends_where_an_integrator_of_scipy_does() -> None:
    rng = np.random.default_rng(0)
    for trial in range(24):
        width = int(rng.integers(2, 6))
        q = rng.dirichlet(np.ones(width))
        reward = rng.normal(size=width) if trial % 2 else rng.integers(0, 2, width).astype(float)
        beta = float(rng.choice([0.1, 0.3, 1.0]))
        value = beta * np.log(np.sum(q * np.exp(reward / beta))) + float(rng.choice([0.05, 0.5, 2.0])) * beta
        target = ps.induced_target(q, reward, "constant_baseline", beta=beta, value=value)
        assert target.regime == "negative"
        if target.status == "local_minimum":
            np.testing.assert_allclose(target.policy, regression_flow(q, reward, beta, value), atol=1e-6)
        else:
            assert target.status == "unstable"
            np.testing.assert_allclose(reward, reward[0])


@pytest.mark.parametrize("value", [1.09, 1.094, 1.144, 1.15])
def test_the_end_point_may_jump_in_the_baseline(value: float) -> None:
    q, reward = np.array([0.6, 0.3, 0.1]), np.array([0.0, 0.9, 1.0])
    target = ps.induced_target(q, reward, "constant_baseline", beta=0.1, value=value)
    np.testing.assert_allclose(target.policy, regression_flow(q, reward, 0.1, value), atol=1e-6)
    assert target.policy.argmax() == (2 if value < 1.1 else 1)


def test_rows_do_not_see_their_neighbors() -> None:
    rng = np.random.default_rng(3)
    q, reward = rng.dirichlet(np.ones(6), 12), rng.normal(size=(12, 6))
    together = ps.induced_target(q, reward, "grpo")
    for row in range(12):
        np.testing.assert_array_equal(ps.induced_target(q[row], reward[row], "grpo").policy, together.policy[row])


def test_a_saddle_from_the_start_is_not_left() -> None:
    field = field_of([0.5, 0.3, 0.2], [-1.0, -1.0, -1.0], ps.TOPR())
    found = limits.find_limits(field, field.at_reference)
    assert found.found.tolist() == [True]
    assert found.stable.tolist() == [False]
    np.testing.assert_array_equal(found.log_ratio, 0.0)
    tilted = limits.find_limits(field, field.at_reference + np.array([[0.0, 1e-6, 0.0]]))
    assert tilted.stable.tolist() == [True]
    assert np.count_nonzero(np.exp(tilted.log_ratio) > 1e-6) == 1


def test_actions_rest_on_the_jumps_that_hold_them() -> None:
    q, reward = np.array([[0.3, 0.3, 0.4]]), np.array([[1.0, 0.5, 0.0]])
    field = field_of(q, reward, ps.GRPO(beta=0.04))
    found = limits.find_limits(field, field.at_reference)
    assert found.stable.tolist() == [True]
    edges = np.log([0.8, 1.2])
    on_edge = np.abs(found.log_ratio[0][:, None] - edges).min(axis=-1) <= 1e-15
    assert on_edge.sum() >= 1
    np.testing.assert_allclose((q * np.exp(found.log_ratio)).sum(), 1.0, rtol=1e-14)


def test_the_generic_route_leaves_a_fixed_point_that_is_not_stable() -> None:
    class Own:
        beta = 0.3

        def advantage(self, reward: Array, weights: Array | None = None) -> Array:
            return reward - 2.0

        def score_weight(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
            return 0.6 * (advantage - 0.3 * log_ratio)

        def loss(self, log_ratio: Array, advantage: Array, weights: Array | None = None) -> Array:
            return (0.3 * log_ratio - advantage) ** 2

    q, reward = np.array([0.6, 0.3, 0.1]), np.array([0.0, 0.9, 1.0])
    target = ps.induced_target(q, reward, Own())
    assert target.status == "local_minimum"
    np.testing.assert_allclose(target.policy, regression_flow(q, reward, 0.3, 2.0), atol=1e-6)


def test_stability_is_that_of_the_second_order() -> None:
    objective = ps.ConstantBaseline(beta=1.0, value=2.5)
    bandit, advantage = make_problem([0.9, 0.1], [1.0, 0.0], objective)
    field = RowField.of_bandit(bandit, objective, advantage)
    points = ps.stationary_points([0.9, 0.1], [1.0, 0.0], objective)
    assert [bool(limits.is_stable(field, p.log_ratio[None])[0]) for p in points] == [True, True]
    # Between two minimizers of two actions lies a maximizer: the root of the gradient along the segment.
    share = np.linspace(points[0].policy[0], points[1].policy[0], 2001)[1:-1]
    u = np.log(np.stack([share / 0.9, (1.0 - share) / 0.1], axis=-1))
    slope = -(u - [-1.5, -2.5]) / np.exp(u) @ [1.0, -1.0]
    (crossing,) = np.flatnonzero(np.diff(np.sign(slope)))
    assert not limits.is_stable(field, u[crossing][None])[0]


def test_two_actions_come_to_their_jumps_together() -> None:
    q = np.array([0.08288454420928691, 0.9171154557907131])
    target = ps.induced_target(q, [2 / 3, 0.0], "prime_ipo")  # |pi - q| <= 0.1 is one bound for both
    assert target.status == "converged"
    np.testing.assert_allclose(target.policy, q + np.array([0.1, -0.1]), rtol=1e-12)


def test_where_nothing_pulls_the_reference_stays_to_the_last_digit() -> None:
    for name in ("prime_ipo", "kimi_k25"):
        target = ps.induced_target([0.2, 0.5, 0.3], [0.5, 0.5, 0.5], name)
        np.testing.assert_array_equal(target.log_ratio, 0.0)
        assert float(target.certificate()["worst"].iloc[0]) == 0.0
