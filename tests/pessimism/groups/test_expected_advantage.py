"""The advantage that a group of samples gives on average: enumeration, draws, 50 digits, routes against each other."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pessimism as ps
from pessimism import OAPL, Kimi, StdNormalized
from pessimism.groups import expected_advantage
from pessimism.groups.finite_group import finite_group
from pessimism.groups.reward_law import expected_by_counts, kept_given_value
from tests.pessimism.groups.enumerated import BEHAVIOR, OPTIONS, REWARD, SQUARED, every_sample


@pytest.mark.parametrize(("leave_one_out", "drop_equal"), OPTIONS)
@pytest.mark.parametrize("objective", SQUARED, ids=lambda o: o.name)
def test_every_group_enumerated(objective: Any, leave_one_out: bool, drop_equal: bool) -> None:
    """Expected advantage, data and share kept by a loop over all K^G groups; the routes of many values agree."""
    if leave_one_out and objective.name == "std_normalized":
        pytest.skip("no baseline to leave out")
    setting = {"leave_one_out": leave_one_out, "drop_equal": drop_equal}
    for size in (2, 3, 5):
        weight, action, advantage = every_sample(objective, BEHAVIOR, REWARD, size, **setting)
        mass = np.bincount(action, weight, minlength=4)
        expected = np.bincount(action, weight * advantage, minlength=4) / mass
        group = finite_group(objective, size, BEHAVIOR, REWARD, **setting)
        np.testing.assert_allclose(group.advantage, expected, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(group.data, mass / mass.sum(), rtol=1e-13)
        assert group.kept == pytest.approx(weight.sum(), rel=1e-13)
        assert float(group.log_z) == pytest.approx(
            float(np.log(BEHAVIOR @ np.exp(expected / objective.temperature))), rel=1e-11, abs=1e-13
        )
        values, law = np.array([0.0, 0.6, 1.0]), np.array([0.4, 0.4, 0.2])
        at = np.array([0, 1, 2, 1])
        kept = kept_given_value(law, size) if drop_equal else None
        beta = expected_advantage.optimal_value_temperature(objective)
        if beta is not None:
            found = expected_advantage.expected_under_optimal_value(
                values, law, size, beta, leave_one_out=leave_one_out
            )
            found = found if kept is None else expected_advantage.given_kept(found, np.zeros(3), law, size)
            np.testing.assert_allclose(found[at], expected, rtol=1e-12, atol=1e-14)
        linear = expected_advantage.linear_in_rewards(objective, values, size)
        assert (linear is None) == (objective.name in ("optimal_value", "oapl", "std_normalized"))
        if linear is not None and not leave_one_out:
            found = expected_advantage.expected_linear(linear, values, law, size, kept=kept)
            np.testing.assert_allclose(found[at], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("leave_one_out", "drop_equal"), OPTIONS)
def test_draws_agree_within_their_error(leave_one_out: bool, drop_equal: bool) -> None:
    values, law = np.array([0.0, 0.6, 1.0]), np.array([0.5, 0.45, 0.05])
    setting = {"leave_one_out": leave_one_out, "drop_equal": drop_equal}
    for objective in (OAPL(beta1=0.1), Kimi()) if leave_one_out else (OAPL(beta1=0.1), StdNormalized()):
        exact, _ = expected_by_counts(objective, values[None], law[None], 6, **setting)
        mean, error, ends = expected_advantage.expected_by_draws(
            objective, values, law, 6, draws=20_000, seed=1, **setting
        )
        assert np.all(error > 0)
        assert np.all(np.abs(mean - exact[0]) < 4 * error)
        assert ends[0] < mean.min() <= mean.max() < ends[1]
        again = expected_advantage.expected_by_draws(objective, values, law, 6, draws=20_000, seed=1, **setting)
        np.testing.assert_array_equal(mean, again[0])
        # The stated error is that of the mean: the spread over seeds.
        several = [
            expected_advantage.expected_by_draws(objective, values, law, 6, draws=500, seed=s, **setting)[:2]
            for s in range(60)
        ]
        spread = np.std([m for m, _ in several], axis=0, ddof=1)
        np.testing.assert_allclose(np.mean([e for _, e in several], axis=0), spread, rtol=0.35)


@pytest.mark.parametrize(("p", "beta", "size"), [(0.5, 0.1, 64), (1e-6, 1e-3, 16), (0.999, 0.02, 200), (0.3, 5.0, 7)])
def test_binomial_sums_at_fifty_digits(p: float, beta: float, size: int) -> None:
    with mpmath.workdps(50):
        q, b = mpmath.mpf(p), mpmath.mpf(beta)

        def value(successes: int) -> Any:
            return b * mpmath.log(1 + mpmath.mpf(successes) / size * mpmath.expm1(1 / b))

        def weight(k: int) -> Any:
            return mpmath.binomial(size - 1, k) * q**k * (1 - q) ** (size - 1 - k)

        up = sum(weight(k) * (1 - value(k + 1)) for k in range(size))
        down = -sum(weight(k) * value(k) for k in range(size))
        log_z = mpmath.log(q * mpmath.exp(up / b) + (1 - q) * mpmath.exp(down / b))
        exact = [float(x) for x in (down, up, log_z)]
    group = finite_group("optimal_value", size, pass_rate=p, beta=beta)
    np.testing.assert_allclose(group.advantage, exact[:2], rtol=1e-13 * size, atol=1e-16)
    assert float(group.log_z) == pytest.approx(exact[2], rel=1e-11, abs=1e-15 / beta)


def test_closed_forms_of_the_mean() -> None:
    for size in (1, 2, 5, 300):
        gap = REWARD - BEHAVIOR @ REWARD
        group = finite_group("kimi", size, BEHAVIOR, REWARD, beta=0.3)
        np.testing.assert_allclose(group.advantage, (1 - 1 / size) * gap, rtol=1e-12, atol=1e-15)
        if size > 1:
            alone = finite_group("kimi", size, BEHAVIOR, REWARD, beta=0.3, leave_one_out=True)
            np.testing.assert_allclose(alone.advantage, gap, rtol=1e-12, atol=1e-15)
            np.testing.assert_allclose(
                alone.target.policy, ps.induced_target(BEHAVIOR, REWARD, "kimi", beta=0.3).policy, rtol=1e-10
            )


def test_standardized_advantages_use_the_unbiased_spread() -> None:
    """Groups of 2: a pair that differs has mean 1/2 and std sqrt(1/2)."""
    p, eps = 0.3, 1e-4
    group = finite_group("std_normalized", 2, pass_rate=p, eps=eps)
    size = 0.5 / (np.sqrt(0.5) + eps)
    np.testing.assert_allclose(group.advantage, [-p * size, (1 - p) * size], rtol=1e-14)


@given(st.floats(0.0, 1.0), st.integers(1, 40), st.floats(-2.0, 2.0))
def test_an_optimal_value_of_the_group_is_never_positive(p: float, size: int, log_beta: float) -> None:
    """E[exp(A_i/beta)] = 1 by exchangeability, so log E[exp(A_eff/beta)] <= 0 by Jensen; the mean is never negative."""
    beta = float(10.0**log_beta)
    noise = 1e-15 * size * (1 + 1 / beta)
    assert finite_group("optimal_value", size, pass_rate=p, beta=beta).log_z <= noise
    assert finite_group("kimi", size, pass_rate=p, beta=beta).log_z >= -noise


def test_which_route_was_taken() -> None:
    sample = np.random.default_rng(0).normal(size=60)
    for name, method in (("kimi", "exact"), ("oapl", "quadrature"), ("std_normalized", "monte_carlo")):
        group = finite_group(name, 8, reward=sample, draws=500)
        assert group.method == method
        assert (group.standard_error > 0).all() == (method == "monte_carlo")
        assert (group.log_z_error > 0) == (method == "monte_carlo")
    # A sample of 60 in order is the same problem as the law of its values.
    shuffled = finite_group("std_normalized", 8, reward=sample[::-1], draws=500)
    np.testing.assert_array_equal(shuffled.advantage[::-1], group.advantage)
