"""Systems on logged data: their limits, ties and empty sets, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import pessimism as ps
from tests.helpers import Array, assert_policy

TEMPERED = ["ips", "propensity_clipping", "implicit_exploration", "exponential_smoothing", "log_smoothing_linear"]
WITH_BETA = [*TEMPERED, "weight_clipping", "chi2", "pevi_kl"]
GOLDEN = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.2, 0.4, 0.6, 0.8])  # of the literature's tables


def policy(name: str, problem: tuple[Any, Any] = GOLDEN, **hyper: Any) -> Array:
    return np.asarray(ps.induced_target(*problem, name, **hyper).policy)


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
    np.testing.assert_allclose(policy(name, beta=beta, **hyper), ps.nominal_target(*GOLDEN, beta), rtol=1e-9)


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
    np.testing.assert_allclose(policy(name, (behavior, reward))[1:], policy(name), rtol=1e-13)


@pytest.mark.parametrize(
    "name", ["weight_clipping", "log_smoothing", "power_mean", "chi2", "pevi", "pevi_kl", "empirical_likelihood_lcb"]
)
@pytest.mark.parametrize("unseen", [-9.0, 9.0])
def test_rewards_of_unseen_actions_may_be_anything(name: str, unseen: float) -> None:
    behavior, reward = np.array([0.0, 0.4, 0.3, 0.2, 0.1]), np.array([unseen, 0.2, 0.4, 0.6, 0.8])
    target = ps.induced_target(behavior, reward, name)
    np.testing.assert_allclose(target.policy[1:], policy(name), rtol=1e-13)
    assert_policy(target.policy, behavior)
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-11


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


def test_ends_of_log_smoothing() -> None:
    behavior, reward = GOLDEN
    np.testing.assert_allclose(policy("log_smoothing", lam=1e-9), [0, 0, 0, 1], atol=1e-14)
    np.testing.assert_allclose(policy("log_smoothing", lam=1e12), behavior * reward / (behavior @ reward), rtol=1e-11)
    certain = tuple(reward**2)
    np.testing.assert_allclose(policy("log_smoothing", lam=1e12, second_moment=certain), behavior, rtol=1e-11)
    target = ps.induced_target(behavior, reward, "log_smoothing", lam=3.0, second_moment=certain)
    by_hand = behavior / 3.0 * np.maximum(1 / float(target.multiplier) - 1 / reward, 0)
    np.testing.assert_allclose(target.policy, by_hand, atol=1e-13)
    with_zero = ps.induced_target(
        [0.5, 0.3, 0.2], [0.0, 0.5, 1.0], "log_smoothing", lam=1e9, second_moment=(0, 0.25, 1)
    )
    np.testing.assert_allclose(with_zero.policy, [0, 0.6, 0.4], rtol=1e-8)


def test_ends_of_power_mean_and_chi_square() -> None:
    behavior, reward = GOLDEN
    np.testing.assert_allclose(policy("power_mean", l=1e-9), [0, 0, 0, 1], atol=1e-14)
    root = behavior * np.sqrt(reward)
    np.testing.assert_allclose(policy("power_mean", l=1 - 1e-12), root / root.sum(), rtol=1e-5)
    np.testing.assert_allclose(policy("chi2", beta=1e-9), [0, 0, 0, 1], atol=1e-14)
    np.testing.assert_allclose(policy("chi2", beta=1e12), behavior, rtol=1e-11)
    np.testing.assert_allclose(
        policy("chi2", beta=2.0), behavior * (1 + (reward - behavior @ reward) / 2.0), rtol=1e-14
    )


def test_ends_of_the_lower_bounds() -> None:
    behavior, reward = GOLDEN
    np.testing.assert_allclose(policy("pevi", n=1e9), [0, 0, 0, 1], atol=1e-14)
    np.testing.assert_allclose(policy("pevi", n=1e-3), [1, 0, 0, 0], atol=1e-14)  # the best known
    np.testing.assert_allclose(policy("pevi_kl", n=60, beta=1e-4), policy("pevi", n=60), atol=1e-12)
    np.testing.assert_allclose(policy("empirical_likelihood_lcb", n=1e9), [0, 0, 0, 1], atol=1e-14)
    # A tiny n asks for the least variance of w R: (p + (1 - E p)) / p times the behavior.
    least = behavior * (1 + (1 - behavior @ reward) / reward)
    np.testing.assert_allclose(policy("empirical_likelihood_lcb", n=1e-12), least / least.sum(), rtol=1e-5)


def test_ties_of_the_greedy_bound_are_shared() -> None:
    target = ps.induced_target([0.25, 0.25, 0.5], [0.9, 0.9, 0.1], "pevi", n=100)
    assert target.status == "set_valued"
    np.testing.assert_allclose(target.policy, [0.5, 0.5, 0.0], rtol=1e-15)
    assert ps.induced_target([1.0], [0.3], "pevi").status == "converged"
    assert ps.induced_target([0.5, 0.5], [0.3, 0.3], "pevi").status == "set_valued"


@pytest.mark.parametrize("name", ["log_smoothing", "power_mean", "empirical_likelihood_lcb"])
def test_where_nothing_pays_the_behavior_stays(name: str) -> None:
    behavior = [[0.2, 0.0, 0.8], [0.3, 0.3, 0.4], [0.0, 1.0, 0.0]]
    target = ps.induced_target(behavior, [[0.0, 0.7, 0.0], [0.0, 0.0, 1.0], [0.5, 0.0, 0.5]], name)
    np.testing.assert_allclose(target.policy, [behavior[0], [0, 0, 1], behavior[2]], atol=1e-15)
    assert target.status.tolist() == ["set_valued", "vanishing_support", "converged"]
    assert (target.certificate()["worst"] <= 1e-12).all()


def test_a_certain_nothing_beats_a_negative_bound() -> None:
    problem = [0.2, 0.3, 0.5], [0.0, 0.4, 0.5]
    safe = ps.induced_target(*problem, "empirical_likelihood_lcb", n=1)
    np.testing.assert_allclose(safe.policy, [1, 0, 0], atol=1e-14)
    bold = ps.induced_target(*problem, "empirical_likelihood_lcb", n=50)
    assert bold.policy[0] == 0
    several = ps.induced_target([0.1, 0.3, 0.6], [0.0, 0.0, 0.2], "empirical_likelihood_lcb", n=1)
    assert several.status == "set_valued"
    np.testing.assert_allclose(several.policy, [0.25, 0.75, 0.0], rtol=1e-15)


def test_certain_rewards_allow_a_bound_without_variance() -> None:
    behavior, reward = GOLDEN
    target = ps.induced_target(behavior, reward, "empirical_likelihood_lcb", n=2, second_moment=tuple(reward**2))
    flat = behavior / reward
    np.testing.assert_allclose(target.policy, flat / flat.sum(), rtol=1e-12)  # w r is the same for every action
    every = ps.induced_target(behavior, np.ones(4), "empirical_likelihood_lcb")
    np.testing.assert_allclose(every.policy, behavior, rtol=1e-15)
    assert float(every.certificate()["worst"].iloc[0]) <= 1e-12


@pytest.mark.parametrize(
    ("name", "reward", "rule"),
    [
        ("weight_clipping", [0.5, -0.25], r"reward must be >= 0, got -0.25 at action 1"),
        ("power_mean", [[0.5, 0.5], [-2.0, 0.5]], r"reward must be >= 0, got -2 at action 0 of problem 1"),
        *(
            (name, [1.5, 0.5], r"reward must be in \[0, 1\], the mean of a Bernoulli reward, got 1.5 at action 0")
            for name in ("log_smoothing", "log_smoothing_linear", "empirical_likelihood_lcb")
        ),
        ("log_smoothing", [-0.5, 0.5], r"reward must be in \[0, 1\], the mean of a Bernoulli reward, got -0.5 at act"),
    ],
)
@pytest.mark.parametrize("method", [None, "fixed_point"])
def test_rewards_out_of_range_are_named(name: str, reward: Any, rule: str, method: str | None) -> None:
    with pytest.raises(ValueError, match=f"^{name}: {rule}"):
        ps.induced_target([0.5, 0.5], reward, name, method=method)
    with pytest.raises(ValueError, match=f"^{name}: {rule}"):
        ps.induced_target(torch.tensor([0.5, 0.5]), torch.tensor(reward), name, method=method)


@pytest.mark.parametrize(
    ("moments", "rule"),
    [
        ((0.3,), r"second_moment must hold one number for each action, got 1 for 2 actions"),
        ((0.3, 0.2), r"second_moment\[1\] must be at least the square of the mean, and 0 where that is 0, got 0.2"),
        (0.3, r"second_moment must be numbers >= 0, one for each action, got 0.3"),
        ("ab", r"second_moment must be numbers >= 0, one for each action, got 'ab'"),
        ((0.3, -1.0), r"second_moment must be numbers >= 0, one for each action, got \(0.3, -1.0\)"),
        ((0.3, math.nan), r"second_moment must be numbers >= 0, one for each action, got \(0.3, nan\)"),
    ],
)
@pytest.mark.parametrize("name", ["log_smoothing", "log_smoothing_linear", "empirical_likelihood_lcb"])
def test_bad_second_moments_are_named(name: str, moments: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: {rule}$"):
        ps.induced_target([0.5, 0.5], [0.5, 0.5], name, second_moment=moments)


@pytest.mark.parametrize(
    ("name", "field", "value", "rule"),
    [
        *((name, "beta", 0.0, "must be > 0") for name in WITH_BETA),
        *((name, "beta", "1", "must be a finite number") for name in WITH_BETA),
        ("weight_clipping", "cap", -1.0, "must be > 0"),
        ("propensity_clipping", "tau", 0.0, "must be > 0"),
        ("implicit_exploration", "gamma", 0.0, "must be > 0"),
        ("exponential_smoothing", "alpha", 1.5, r"must be in \[0, 1\]"),
        ("exponential_smoothing", "alpha", "x", "must be a finite number"),
        ("log_smoothing", "lam", math.inf, "must be a finite number"),
        ("log_smoothing_linear", "lam", 0.0, "must be > 0"),
        ("power_mean", "l", 1.0, "must be between 0 and 1"),
        ("power_mean", "l", 0.0, "must be between 0 and 1"),
        ("pevi", "delta", 1.0, "must be between 0 and 1"),
        ("pevi", "n", 0, "must be > 0"),
        ("pevi_kl", "delta", None, "must be a finite number"),
        ("empirical_likelihood_lcb", "z", -1.0, "must be > 0"),
        ("empirical_likelihood_lcb", "n", True, "must be a finite number"),
    ],
)
def test_bad_hyper_parameters_are_named(name: str, field: str, value: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: {field} {rule}, got {value!r}$"):
        ps.induced_target([0.5, 0.5], [0.2, 0.7], name, **{field: value})
