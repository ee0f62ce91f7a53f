"""The least shift and the least beta1: signs on both sides, other root finders, limits by hand."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from pessimism.groups.design import _limits, smallest_beta1, smallest_shift
from pessimism.groups.finite_group import finite_group

OPTIONS: list[dict[str, bool]] = [
    {},
    {"leave_one_out": True},
    {"drop_equal": True},
    {"leave_one_out": True, "drop_equal": True},
]
LAW = {"behavior": [0.5, 0.3, 0.2], "reward": [0.0, 0.7, 1.0]}


def log_z_by_enumeration(beta1: float, beta2: float, size: int, p: float) -> float:
    """Every group of 0/1 rewards, one at a time."""
    total, mass = np.zeros(2), np.zeros(2)
    for group in product((0, 1), repeat=size):
        r = np.array(group, dtype=float)
        value = beta1 * np.log(np.mean(np.exp(r / beta1)))
        chance = p ** r.sum() * (1 - p) ** (size - r.sum())
        total[group[0]] += chance * (r[0] - value)
        mass[group[0]] += chance
    return float(np.log([1 - p, p] @ np.exp(total / mass / beta2)))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("problem", [{"pass_rate": 0.3}, {"pass_rate": 0.9}, LAW], ids=["0.3", "0.9", "three"])
@pytest.mark.parametrize("beta", [0.05, 0.4])
def test_the_regime_changes_at_the_least_beta1(options: dict[str, bool], problem: dict[str, Any], beta: float) -> None:
    for size in (2, 5, 16):
        least = float(smallest_beta1(beta, size, **problem, **options))
        if least in (0.0, np.inf):
            for beta1 in (1e-3, 1e3):
                group = finite_group("oapl", size, beta1=beta1, beta2=beta, **problem, **options)
                assert (group.log_z >= -1e-12) if least == 0.0 else (group.log_z < 0)
            continue
        for slack, regime in ((1 + 1e-6, "positive"), (1 - 1e-6, "negative")):
            group = finite_group("oapl", size, beta1=least * slack, beta2=beta, **problem, **options)
            assert group.regime == regime
        at = finite_group("oapl", size, beta1=least, beta2=beta, **problem, **options)
        assert abs(at.log_z) < 1e-14 * size * (1 + 1 / beta)


@pytest.mark.parametrize(("p", "size", "beta"), [(0.5, 2, 0.1), (0.2, 4, 0.3), (0.85, 6, 1.0)])
def test_the_least_beta1_by_enumeration(p: float, size: int, beta: float) -> None:
    root = brentq(lambda b: log_z_by_enumeration(b, beta, size, p), beta, 100 * beta, xtol=1e-14)
    assert float(smallest_beta1(beta, size, p)) == pytest.approx(root, rel=1e-11)


@given(st.floats(0.01, 0.99), st.integers(2, 20), st.floats(-2, 1), st.sampled_from(OPTIONS))
def test_log_z_rises_with_beta1(p: float, size: int, log_beta2: float, options: dict[str, bool]) -> None:
    log_z = [
        float(finite_group("oapl", size, pass_rate=p, beta1=float(b), beta2=10.0**log_beta2, **options).log_z)
        for b in np.geomspace(1e-2, 1e2, 9)
    ]
    assert np.all(np.diff(log_z) >= -1e-13 * size * 10.0**-log_beta2)


def test_vectors_of_pass_rates() -> None:
    p = np.array([[0.0, 1e-12, 0.1], [0.5, 1 - 1e-9, 1.0]])
    least = smallest_beta1(0.1, 8, p)
    assert least.shape == smallest_shift(0.1, 8, p).shape == (2, 3)
    for at in np.ndindex(p.shape):
        assert least[at] == pytest.approx(float(smallest_beta1(0.1, 8, p[at])), rel=1e-12)
        assert smallest_shift(0.1, 8, p)[at] == pytest.approx(float(smallest_shift(0.1, 8, p[at])), abs=1e-15)
    assert least[0, 0] == least[1, 2] == 0.0  # all rewards equal: every beta1 will do
    assert np.all(least[(p > 0) & (p < 1)] > 0.1)
    # The scale of rewards is the scale of temperatures.
    two = smallest_beta1(0.3, 8, behavior=[0.9, 0.1], reward=[-1.0, 2.0])
    assert float(two) == pytest.approx(3 * float(smallest_beta1(0.1, 8, 0.1)), rel=1e-12)


def test_high_temperatures_have_a_law_of_their_own() -> None:
    """To second order in 1/beta the root is beta1/beta2 = G/(G - 1), and G/(G - 1) less without oneself, 1 - 1/G."""
    for size in (2, 4, 16):
        for p in (0.02, 0.5, 0.9):
            assert float(smallest_beta1(1e4, size, p)) / 1e4 == pytest.approx(size / (size - 1), rel=2e-4)
            if size > 2:
                alone = float(smallest_beta1(1e4, size, p, leave_one_out=True))
                assert alone / 1e4 == pytest.approx((size - 2) / (size - 1), rel=2e-4)
    sample = np.random.default_rng(0).random(40)
    assert float(smallest_beta1(1e3, 8, reward=sample)) == pytest.approx(1e3 * 8 / 7, rel=1e-3)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_more_than_two_rewards_by_another_route(options: dict[str, bool]) -> None:
    """The quadrature of the design against the sums over groups of finite_group."""
    for beta in (0.02, 0.2):
        least = float(smallest_beta1(beta, 6, **LAW, **options))

        def log_z(b: float, beta: float = beta) -> float:
            return float(finite_group("oapl", 6, beta1=b, beta2=beta, **LAW, **options).log_z)

        if log_z(1e-5) >= 0:
            assert least == 0.0
        elif log_z(1e6) < 0:
            assert least == np.inf
        else:
            assert least == pytest.approx(brentq(log_z, 1e-5, 1e6, xtol=1e-15), rel=1e-9)
    # Two rewards that are nearly one: the third changes nothing.
    if "drop_equal" in options:  # but groups of both of them are kept
        return
    near = smallest_beta1(0.1, 8, behavior=[0.5, 0.25, 0.25], reward=[0.0, 1.0, 1.0 + 1e-12], **options)
    assert float(near) == pytest.approx(float(smallest_beta1(0.1, 8, 0.5, **options)), rel=1e-9)


def test_a_least_beta1_far_below_the_spread_of_the_rewards() -> None:
    """There the advantages are linear in beta1, and the root is still one of finite_group."""
    for p in np.geomspace(1e-5, 1e-3, 5):
        law = {"behavior": [p, 0.5, 0.5 - p], "reward": [0.0, 0.99, 1.0]}
        least = float(smallest_beta1(0.05, 4, drop_equal=True, **law))
        assert 0 < least < np.inf
        for slack, sign in ((1 + 1e-6, 1), (1 - 1e-6, -1)):
            group = finite_group("oapl", 4, beta1=least * slack, beta2=0.05, drop_equal=True, **law)
            assert np.sign(group.log_z) == sign


@pytest.mark.parametrize("leave_one_out", [False, True])
def test_advantage_against_the_maximum_of_the_group(leave_one_out: bool) -> None:
    """By the law of the maximum, pair by pair."""
    rng = np.random.default_rng(0)
    values, mass, size = np.sort(rng.normal(size=7)), rng.dirichlet(np.ones(7)), 5
    below = np.append(0.0, np.cumsum(mass))
    chance = below[1:] ** (size - 1) - below[:-1] ** (size - 1)
    highest = [
        sum(p * (m if leave_one_out else max(v, m)) for p, m in zip(chance, values, strict=True)) for v in values
    ]
    np.testing.assert_allclose(_limits(values, mass, size, leave_one_out)[0], values - highest, rtol=0, atol=1e-14)


def test_limits_of_beta1() -> None:
    assert smallest_beta1(0.1, 1, 0.5) == 0.0  # a group of one is its own optimal value, at the boundary whatever beta1
    assert smallest_beta1(0.1, 1, reward=[0.0, 0.5, 1.0]) == 0.0
    assert smallest_beta1(0.1, 2, 0.5, leave_one_out=True) == 0.0  # the other's reward, whatever beta1
    assert smallest_beta1(0.1, 4, reward=[0.7, 0.7, 0.7]) == 0.0
    assert smallest_beta1(1.0, 8, 0.01, drop_equal=True) == np.inf  # even the mean is negative
    assert smallest_shift(1.0, 8, 0.01, drop_equal=True) > 0


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("problem", [{"pass_rate": 0.05}, {"pass_rate": 0.6}, LAW], ids=["0.05", "0.6", "three"])
def test_the_least_shift_is_the_boundary(options: dict[str, bool], problem: dict[str, Any]) -> None:
    for beta in (0.1, 1.0):
        shift = float(smallest_shift(beta, 6, **problem, **options))
        for slack, regime in ((1e-7, "positive"), (-1e-7, "negative")):
            group = finite_group("shifted_mean", 6, beta=beta, shift=shift + slack, **problem, **options)
            assert group.regime == regime
        assert (shift <= 0) or "drop_equal" in options  # by Jensen: the mean is positive by itself


def test_the_shift_that_an_optimal_value_needs() -> None:
    """Golden: minus log Z of the group's optimal value; 0 where all rewards are equal."""
    for size, golden in ((2, 0.340), (4, 0.152), (8, 0.068), (16, 0.032), (64, 0.008)):
        found = smallest_shift(0.1, size, [0.0, 0.5, 1.0], baseline="optimal_value")
        assert found.tolist() == [0.0, pytest.approx(golden, abs=5.1e-4), 0.0]
    rare = smallest_shift(2.0, 8, 1e-9, drop_equal=True)
    assert float(rare) == pytest.approx(1 / (8 * 2.0), rel=1e-6)  # a rare success pulls failures down by 1/G
    equal = smallest_shift(0.1, 4, reward=[[0.7, 0.7], [0.1, 0.2]])
    assert equal[0] == 0.0
    assert equal[1] < 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: smallest_shift(0.0, 4, 0.5), "beta must be a finite number > 0, got 0.0"),
        (lambda: smallest_shift(True, 4, 0.5), "^beta must be a finite number > 0, got True$"),
        (lambda: smallest_beta1(True, 4, 0.5), "^beta2 must be a finite number > 0, got True$"),
        (lambda: smallest_beta1(-1.0, 4, 0.5), "beta2 must be a finite number > 0, got -1.0"),
        (lambda: smallest_beta1("hot", 4, 0.5), "beta2 must be a finite number"),  # type: ignore[arg-type]
        (lambda: smallest_shift(0.1, 4, 0.5, baseline="median"), "baseline must be"),  # type: ignore[arg-type]
        (lambda: smallest_beta1(0.1, 0, 0.5), "group_size must be an integer >= 1"),
        (lambda: smallest_beta1(0.1, 10**9, 0.5), "^group_size must be at most 131,072, got 1,000,000,000$"),
        (lambda: smallest_beta1(0.1, 1, 0.5, drop_equal=True), ">= 2 with leave_one_out or drop_equal"),
        (lambda: smallest_shift(0.1, 4, 2.0), "pass_rate must be in"),
        (lambda: smallest_shift(0.1, 4), "reward must be given"),
    ],
)
def test_errors(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
