"""Trust regions, clipped surrogates and linear programs: multipliers, nearest optima, ties."""

from __future__ import annotations

import numpy as np
import pytest

from pessimism.convex.clipped import linear_program, ppo_program, trpo_program
from tests.helpers import Array
from tests.pessimism.convex.conditions import Q, R


@pytest.mark.parametrize("radius", [1e-4, 0.05, 2.0])
def test_trust_region_has_two_multipliers(radius: float) -> None:
    found = trpo_program(Q, R, radius)
    eta = found.duals["trust_region"]
    np.testing.assert_allclose(found.policy, eta * Q / (found.dual - R), atol=1e-5)
    assert Q @ np.log(Q / found.policy) == pytest.approx(radius, rel=1e-5)


@pytest.mark.parametrize("high", [0.2, 3.0])
def test_clipped_surrogate_returns_its_nearest_optimum(high: float) -> None:
    advantage = R - Q @ R
    found = ppo_program(Q, advantage, 0.2, high)

    def surrogate(policy: Array) -> Array:
        w = policy / Q
        return np.minimum(w * advantage, np.clip(w, 0.8, 1.0 + high) * advantage) @ Q

    def distance(policy: Array) -> Array:
        return np.sum(policy * np.log(np.maximum(policy, 1e-300) / Q), axis=-1)

    assert surrogate(found.policy) == pytest.approx(found.value, abs=1e-7)
    others = np.random.default_rng(0).dirichlet(np.ones(4), size=20_000)
    values = surrogate(others)
    assert values.max() <= found.value + 1e-9
    as_good = others[values > found.value - 1e-12]
    assert len(as_good) > 50 or high == 3.0  # a set for a narrow clip, a vertex for a wide one
    assert np.all(distance(as_good) >= distance(found.policy) - 1e-7)


def test_clipped_sequence_ratio() -> None:
    advantage = R - Q @ R
    assert np.allclose(
        ppo_program(Q, advantage, 0.1, 0.1, length=1.0).policy, ppo_program(Q, advantage, 0.1, 0.1).policy
    )
    wide = ppo_program(Q, advantage, 0.2, 1.0, length=3.0)
    w = wide.policy / Q
    good = advantage > 0
    assert np.all(w[~good] < 1e-6)
    slope = advantage[good] * w[good] ** (1 / 3 - 1) / 3
    np.testing.assert_allclose(slope, wide.dual, atol=1e-5)


def test_ties_are_shared_like_the_reference() -> None:
    found = linear_program(Q, [1.0, 0.0, 1.0, 1.0], [0.1, 0.2, 0.3, 0.4])
    assert found.policy == pytest.approx([0.125, 0.0, 0.375, 0.5], abs=1e-6)
    assert (found.value, found.dual) == pytest.approx((1.0, 1.0), abs=1e-9)
