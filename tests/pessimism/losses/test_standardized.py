"""Standardized groups: the spread that divides, and TPO's cross-entropy."""

from __future__ import annotations

import numpy as np
import pytest

import pessimism as ps
from pessimism.losses.registry import make_objective
from tests.helpers import make_problem
from tests.pessimism.losses.published import standardized


def test_standardized_advantages() -> None:
    q, reward = make_problem(3, 5)
    for name, hyper in (("apa", {"eps": 1e-14}), ("tpo", {})):
        objective = make_objective(name, **hyper)
        np.testing.assert_allclose(objective.advantage(reward, q), standardized(q, reward), rtol=1e-12, atol=1e-13)
        # A sampled group divides by n as well.
        np.testing.assert_allclose(
            objective.advantage(reward), (reward - reward.mean()) / reward.std(), rtol=1e-12, atol=1e-13
        )
    assert ps.induced_target(q, reward, "apa").kappa > 0
    small = np.array([0.0, 1.9e-6])
    np.testing.assert_array_equal(make_objective("tpo").advantage(small, np.array([0.5, 0.5])), [0.0, 0.0])
    np.testing.assert_allclose(
        make_objective("tpo").advantage(2 * small, np.array([0.5, 0.5])), [-1.0, 1.0], rtol=1e-12
    )
    np.testing.assert_allclose(make_objective("apa").advantage(2e-4 * np.array([0.0, 1.0])), [-0.70711, 0.70711], 1e-5)


def test_tpo_loss_is_the_cross_entropy_in_the_group() -> None:
    q, reward = make_problem(4, 5)
    objective, u = make_objective("tpo", beta=0.7), np.random.default_rng(0).normal(size=5)
    for weights, old in ((q, q), (None, np.full(5, 0.2))):
        z = objective.advantage(reward, weights)
        target = old * np.exp(z / 0.7) / np.sum(old * np.exp(z / 0.7))
        shares = old * np.exp(u) / np.sum(old * np.exp(u))
        np.testing.assert_allclose(old * objective.score_weight(u, z, weights), target - shares, atol=1e-14)
        excess = old @ objective.loss(u, z, weights) - old @ objective.loss(z / 0.7, z, weights)
        assert excess == pytest.approx(target @ np.log(target / shares), rel=1e-12)
