"""Statistical lower bounds as programs: published numbers, scalar duals, the dual of the estimator."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq

from pessimism import evaluate
from pessimism.convex import program
from pessimism.convex.lower_bound import confidence_bound_program, empirical_likelihood_interval_program
from tests.pessimism.convex.conditions import Q, R


# The first-order bound on Bernoulli rewards, z = 1.96: policies to three digits.
@pytest.mark.parametrize(
    ("n", "policy"),
    [
        (5, [0.412, 0.297, 0.195, 0.097]),
        (20, [0.187, 0.363, 0.292, 0.158]),
        (50, [0.0, 0.343, 0.408, 0.249]),
        (200, [0.0, 0.0, 0.522, 0.478]),
    ],
)
def test_confidence_bound(n: int, policy: list[float]) -> None:
    found = confidence_bound_program(Q, R, R, 1.96 / np.sqrt(n))
    np.testing.assert_allclose(found.policy, policy, atol=6e-4)
    value = found.policy @ R
    spread = np.sqrt(np.sum(found.policy**2 * R / Q) - value**2)
    assert found.value == pytest.approx(value - 1.96 / np.sqrt(n) * spread, abs=1e-8)
    assert found.dual == pytest.approx(found.value, abs=1e-7)  # homogeneous


# The authors' notebook (arXiv 1906.03323): counts, ratios, rewards and the 95% interval.
@pytest.mark.parametrize(
    ("rows", "low"),
    [
        ([(2, 1.0102, 1.0), (8, 0.0, 0.0)], 0.0255016),
        ([(1, 0.0, 0.0), (99, 1000 / 999, 1.0)], 0.9570763),
    ],
)
def test_empirical_likelihood_golden_intervals(rows: list[tuple[float, ...]], low: float) -> None:
    counts, weights, rewards = map(np.array, zip(*rows, strict=True))
    found = empirical_likelihood_interval_program(weights, rewards, 0.0, 2000.0, counts=counts)
    assert found.low == pytest.approx(low, abs=1e-5)
    assert found.high == pytest.approx(1.0, abs=1e-8)
    assert set(found.status) <= set(program.SOLVED)
    single = empirical_likelihood_interval_program(
        np.repeat(weights, counts.astype(int)), np.repeat(rewards, counts.astype(int)), 0.0, 2000.0
    )
    assert single.low == pytest.approx(found.low, abs=1e-6)


def test_empirical_likelihood_golden_multiplier() -> None:
    rows = np.array(
        [
            *((41332, 0.0, 0), (1958, 0.0, 1), (17763, 1.0, 0), (1339, 1.0, 1)),
            *((30726, 1.0344828, 0), (3867, 1.0344828, 1), (2034, 1.0447762, 1), (16728, 1.0447762, 0)),
            *((40629, 1.0497237, 0), (3445, 1.0497237, 1), (85, 59.999996, 0), (6, 59.999996, 1)),
        ]
    )
    counts, weights, rewards = rows.T
    found = empirical_likelihood_interval_program(weights, rewards, 0.0, 380.0, counts=counts)
    assert found.dual == pytest.approx(-421.931398, abs=1e-3)
    assert found.low < found.point_low <= found.point_high < found.high


def test_empirical_likelihood_point_has_the_scalar_dual() -> None:
    rng = np.random.default_rng(4)
    weights, rewards = rng.exponential(size=10), rng.integers(0, 2, size=10).astype(float)
    found = empirical_likelihood_interval_program(weights, rewards, 0.0, 20.0)
    b = brentq(lambda b: np.sum((weights - 1) / (1 + b * (weights - 1))), -1 / (weights.max() - 1), 1.0)
    b = max(b, -1.0 / 19.0)  # mass at wmax where the sample's own root is out of reach
    share = 1.0 / (10 * (1 + b * (weights - 1)))
    assert found.dual == pytest.approx(10 * b, abs=1e-4)
    assert found.point_low == pytest.approx(np.sum(share * weights * rewards), abs=1e-5)


@pytest.mark.parametrize(("size", "seed"), [(6, 0), (30, 1), (200, 2)])
def test_empirical_likelihood_estimator_has_the_same_primal(size: int, seed: int) -> None:
    """The estimator solves two small dual problems; the program has the sample's masses as variables."""
    rng = np.random.default_rng(seed)
    weight, reward = rng.exponential(size=size), rng.uniform(-1.0, 2.0, size=size)
    options = {"weight_min": 0.0, "weight_max": 15.0, "reward_min": -1.0, "reward_max": 2.0}
    closed = evaluate(None, {"weight": weight, "reward": reward}, "el", delta=0.1, **options)
    found = empirical_likelihood_interval_program(weight, reward, *options.values(), alpha=0.1)
    assert (found.low, found.high) == pytest.approx((closed.lower, closed.upper), abs=1e-5)
    assert found.point_low == pytest.approx(closed.details["vmin"], abs=1e-5)
    assert found.point_high == pytest.approx(closed.details["vmax"], abs=1e-5)
    assert found.dual == pytest.approx(size * closed.details["multiplier"], abs=1e-4)
