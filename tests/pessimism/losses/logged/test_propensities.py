"""Shrunk propensities: the reward that is left, ends of the dials, gradient ascent along a cap."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pessimism as ps
from tests.helpers import Array, total_variation
from tests.pessimism.losses.logged.estimators import (
    GOLDEN,
    policy_of,
    unit_problem,
)

TEMPERED = ["ips", "propensity_clipping", "implicit_exploration", "exponential_smoothing", "log_smoothing_linear"]


@pytest.mark.parametrize(
    ("name", "hyper"),
    [
        ("ips", {}),
        ("weight_clipping", {"cap": 1e6}),
        ("propensity_clipping", {"tau": 1e-9}),
        ("implicit_exploration", {"gamma": 1e-12}),
        ("exponential_smoothing", {"alpha": 1.0}),
        ("exponential_smoothing", {"alpha": 1}),
        ("log_smoothing_linear", {"lam": 1e-12}),
        ("pevi_kl", {"n": 1e24}),
    ],
)
@pytest.mark.parametrize("beta", [0.05, 0.7])
def test_without_their_device_they_are_nominal(name: str, hyper: dict[str, Any], beta: float) -> None:
    np.testing.assert_allclose(policy_of(name, beta=beta, **hyper), ps.nominal_target(*GOLDEN, beta), rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "hyper", "factor"),
    [
        ("propensity_clipping", {"tau": 1.0}, GOLDEN[0]),
        ("propensity_clipping", {"tau": 2.0}, GOLDEN[0] / 2),
        ("propensity_clipping", {}, np.minimum(GOLDEN[0] * 4, 1)),
        ("exponential_smoothing", {"alpha": 0.0}, GOLDEN[0]),
        ("exponential_smoothing", {}, GOLDEN[0] ** 0.25),
        ("implicit_exploration", {"gamma": 1e9}, GOLDEN[0] / 1e9),
        ("log_smoothing_linear", {"lam": 0.4}, GOLDEN[0] / 0.4 * np.log(1 + 0.4 / GOLDEN[0])),
    ],
)
def test_the_shrunk_reward(name: str, hyper: dict[str, Any], factor: Array) -> None:
    behavior, reward = GOLDEN
    target = ps.induced_target(behavior, reward, name, beta=0.2, **hyper)
    np.testing.assert_allclose(target.advantage, factor * reward, rtol=1e-9)
    np.testing.assert_allclose(target.policy, ps.nominal_target(behavior, factor * reward, 0.2), rtol=1e-9)
    np.testing.assert_array_equal(target.nominal, ps.nominal_target(behavior, reward, 0.2))  # the true reward
    assert float(target.baseline) == 0.0


@pytest.mark.parametrize("name", TEMPERED)
def test_unseen_actions_do_not_count(name: str) -> None:
    behavior, reward = np.array([0.0, 0.4, 0.3, 0.2, 0.1]), np.array([-9.0, 0.2, 0.4, 0.6, 0.8])
    np.testing.assert_allclose(policy_of(name, (behavior, reward))[1:], policy_of(name), rtol=1e-13)


def test_ends_of_weight_clipping() -> None:
    behavior, reward = GOLDEN
    for cap in (0.01, 0.5, 1.0):
        target = ps.induced_target(behavior, reward, "weight_clipping", cap=cap, beta=0.01)
        np.testing.assert_array_equal(target.policy, behavior)
        assert float(target.certificate()["worst"].iloc[0]) <= 1e-15
    tight = ps.induced_target(behavior, reward, "weight_clipping", cap=1.25, beta=1e-3)
    # Best first, each up to the cap, until the mass is used up.
    np.testing.assert_allclose(tight.policy[1:], behavior[1:] * 1.25, rtol=1e-12)
    np.testing.assert_allclose(tight.policy[0], 1 - 0.75, rtol=1e-12)
    certain = ps.induced_target([0.5, 0.5], [0.3, 0.3], "weight_clipping", cap=1.0)
    np.testing.assert_array_equal(certain.policy, [0.5, 0.5])


def test_gradient_ascent_with_clipped_weights_slides_along_the_cap() -> None:
    behavior, reward = unit_problem(5, 4)
    objective = ps.objectives()["weight_clipping"](cap=1.2, beta=0.2)
    target = ps.induced_target(behavior, reward, objective)
    logits = np.log(behavior)
    for step in range(6000):
        policy = np.exp(logits - np.logaddexp.reduce(logits))
        pull = behavior * objective.score_weight(np.log(policy / behavior), reward, behavior)
        logits = logits + 300.0 / (100.0 + step) * (pull - policy * pull.sum())
    assert np.isclose(np.max(target.log_ratio), np.log(1.2), atol=1e-14)
    assert total_variation(policy, target.policy) <= 2e-3
