"""Equilibria of a flow: close to it, with actions that lose their mass, on a saddle between equal actions."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

import pessimism as ps
from pessimism.fixed_point.equilibrium import find_equilibrium, jacobian
from pessimism.fixed_point.score import LogitField
from tests.helpers import Array, make_problem


def field_of(objective: ps.Objective, q: Array, reward: Array) -> LogitField:
    return LogitField(objective, q, q, objective.advantage(reward, q), q)


def test_newton_finishes_what_a_flow_began() -> None:
    q, reward = make_problem(3, 6)
    target = ps.induced_target(q, reward, "kimi", beta=0.4)
    pull = field_of(ps.Kimi(beta=0.4), q, reward)
    beside = np.asarray(target.log_policy) + 1e-4 * np.random.default_rng(0).normal(size=6)
    found = find_equilibrium(pull, beside - np.logaddexp.reduce(beside))
    assert found is not None
    np.testing.assert_allclose(found.log_policy, target.log_policy, rtol=1e-11)
    np.testing.assert_allclose(found.multiplier, target.multiplier, rtol=1e-9)
    assert found.vanishes
    assert found.stable
    assert find_equilibrium(pull, np.log(q)) is None  # the behavior is far from it


def test_actions_that_fall_for_ever_have_no_mass() -> None:
    """Water filling: the worst action loses its mass, and the field does not vanish there."""
    q, reward = np.array([0.4, 0.3, 0.25, 0.05]), np.array([0.2, 0.4, 0.6, 0.8])
    target = ps.induced_target(q, reward, "asym_re", shift=-0.1)
    assert target.status == "vanishing_support"
    pull = field_of(ps.AsymRE(shift=-0.1), q, reward)
    policy = np.maximum(np.asarray(target.policy), 1e-7)
    found = find_equilibrium(pull, np.log(policy / policy.sum()))
    assert found is not None
    np.testing.assert_allclose(np.exp(found.log_policy), target.policy, atol=1e-12)
    assert not found.vanishes


def test_a_saddle_between_equal_actions_is_not_stable() -> None:
    """In the negative regime one of two equal actions takes the surplus; between them the flow only just rests."""
    q, reward = np.array([0.25, 0.25, 0.5]), np.array([1.0, 1.0, 0.0])
    objective = ps.ConstantBaseline(beta=0.5, value=2.0)
    pull = field_of(objective, q, reward)
    minima = [np.asarray(point.log_ratio) + np.log(q) for point in ps.stationary_points(q, reward, objective)]
    assert len(minima) == 2
    for minimum in minima:
        found = find_equilibrium(pull, minimum)
        assert found is not None
        assert found.stable
        np.testing.assert_allclose(found.log_policy, minimum, rtol=1e-9)

    def between(x: float) -> Array:
        return np.array([x, x, np.log1p(-2.0 * np.exp(x))])

    saddle = between(brentq(lambda x: pull.field(between(x))[2], np.log(0.3), np.log(0.4999), xtol=1e-15))
    found = find_equilibrium(pull, saddle)
    assert found is not None
    assert not found.stable
    np.testing.assert_allclose(found.log_policy, saddle, rtol=1e-9)


def test_the_jacobian_of_a_known_map() -> None:
    def function(x: Array) -> Array:
        return np.stack([x[..., 0] ** 2 * x[..., 1], np.sin(x[..., 1])], axis=-1)

    x = np.array([1.5, -0.7])
    expected = [[2 * 1.5 * -0.7, 1.5**2], [0.0, np.cos(-0.7)]]
    np.testing.assert_allclose(jacobian(function, x), expected, rtol=1e-8, atol=1e-10)
