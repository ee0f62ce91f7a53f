"""Baselines and spreads: 50 digits, equal rewards, actions without weight, what rounding takes from a mean."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

from pessimism import baselines
from tests.helpers import make_problem

BETAS = [1e-6, 1e-2, 1.0, 1e3, 1e12]


@pytest.mark.parametrize("beta", BETAS)
def test_the_optimal_value_by_mpmath(beta: float) -> None:
    weights, reward = make_problem(1, 6)
    weights = weights / weights.sum()
    with mp.workdps(60):
        mean = mp.fsum(mp.mpf(q) * mp.exp(mp.mpf(r) / mp.mpf(beta)) for q, r in zip(weights, reward, strict=True))
        expected = float(mp.mpf(beta) * mp.log(mean / mp.fsum(map(mp.mpf, weights))))
    assert float(baselines.optimal_value(reward, beta, weights)) == pytest.approx(expected, rel=1e-14, abs=1e-15)


def test_the_optimal_value_falls_from_the_best_reward_to_the_mean() -> None:
    weights, reward = make_problem(2, 5)
    values = [float(baselines.optimal_value(reward, beta, weights)) for beta in np.logspace(-6, 8, 40)]
    assert np.all(np.diff(values) < 0)
    assert values[0] == pytest.approx(reward.max(), abs=1e-4)
    # From above, by half the variance over beta.
    mean, spread = weights @ reward, float(baselines.standard_deviation(reward, weights))
    assert values[-1] - mean == pytest.approx(spread**2 / 2e8, rel=1e-5)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e300, -7e-300])
@pytest.mark.parametrize("weights", [None, np.array([0.3, 0.3, 0.4])])
def test_equal_rewards_are_their_own_baseline(value: float, weights: np.ndarray | None) -> None:
    reward = np.full(3, value)
    assert float(sum(baselines.mean_parts(reward, weights))) == value
    assert float(baselines.optimal_value(reward, abs(value), weights)) == value
    assert float(baselines.standard_deviation(reward, weights)) == 0.0


@pytest.mark.parametrize("beta", [1e-99, 1e-60, 1e-17, 1.0])
@pytest.mark.parametrize("width", range(2, 30))
def test_equal_rewards_are_their_optimal_value_at_any_temperature(beta: float, width: int) -> None:
    """Their rounded mean may lie above all of them, by many temperatures."""
    weights = np.random.default_rng(width).dirichlet(np.ones(width))
    for given in (None, weights):
        found = baselines.optimal_value(np.full(width, 0.1), beta, given)
        np.testing.assert_allclose(found, 0.1, rtol=1e-15)


def test_actions_without_weight_have_no_say() -> None:
    weights, reward = np.array([0.0, 0.25, 0.75]), np.array([1e9, 1.0, 2.0])
    seen = weights > 0
    for beta in (0.1, 10.0):
        assert float(baselines.optimal_value(reward, beta, weights)) == pytest.approx(
            float(baselines.optimal_value(reward[seen], beta, weights[seen])), rel=1e-15
        )
    assert float(baselines.standard_deviation(reward, weights)) == pytest.approx(np.sqrt(3) / 4, rel=1e-7)


def test_a_rare_action_moves_the_mean_by_less_than_its_rounding() -> None:
    """The rest holds what the anchor cannot: 1e-20 of a reward of one."""
    weights, reward = np.array([1e-20, 1.0]), np.array([1.5, 0.5])
    anchor, rest = baselines.mean_parts(reward, weights)
    assert float(anchor) == 0.5
    assert float(rest) == pytest.approx(1e-20, rel=1e-12)


def test_spreads_of_a_population_and_of_a_sampled_group() -> None:
    reward = np.array([0.0, 1.0, 1.0, 4.0])
    assert float(baselines.standard_deviation(reward)) == pytest.approx(reward.std(ddof=1), rel=1e-15)
    uniform = np.full(4, 0.25)
    assert float(baselines.standard_deviation(reward, uniform)) == pytest.approx(reward.std(), rel=1e-15)
    assert float(baselines.standard_deviation(reward[:1])) == 0.0


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_squares_neither_overflow_nor_underflow(scale: float) -> None:
    values, weights = scale * np.array([3.0, 4.0]), np.array([0.5, 0.5])
    assert float(baselines.root_mean_square(values, weights)) == pytest.approx(scale * np.sqrt(12.5), rel=1e-15)


def test_batches_are_rows() -> None:
    weights, reward = (
        np.stack([make_problem(s, 4)[0] for s in (3, 4)]),
        np.stack([make_problem(s, 4)[1] for s in (5, 6)]),
    )
    for function in (
        baselines.expectation,
        baselines.standard_deviation,
        lambda r, w: baselines.optimal_value(r, 0.3, w),
        lambda r, w: baselines.mean_parts(r, w)[0],
    ):
        rows = [function(r, w) for r, w in zip(reward, weights, strict=True)]
        np.testing.assert_allclose(function(reward, weights), rows, rtol=1e-15)
        np.testing.assert_allclose(function(reward, weights[0]), [function(r, weights[0]) for r in reward], rtol=1e-15)
