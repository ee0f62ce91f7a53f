"""Systems on logged data: closed forms against optimizers of the published estimators, gradient flow and limits."""

from __future__ import annotations

import math
from typing import Any

import array_api_strict
import cvxpy as cp
import numpy as np
import pytest
import torch

import pessimism as ps
from tests.flows import flow_to_rest
from tests.helpers import Array, assert_log_policies_agree, total_variation
from tests.pessimism.losses.logged.estimators import (
    EVERY,
    GOLDEN,
    assert_optimal,
    published,
    unit_problem,
)


@pytest.mark.parametrize(("name", "hyper"), EVERY)
@pytest.mark.parametrize("width", [2, 6])
def test_the_target_maximizes_the_published_estimator(name: str, hyper: dict[str, Any], width: int) -> None:
    behavior, reward = unit_problem(30 + width, width)
    target = ps.induced_target(behavior, reward, name, **hyper)
    assert_optimal(target.policy, name, hyper, behavior, reward)
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-11


@pytest.mark.parametrize(
    ("name", "hyper"),
    [
        ("log_smoothing", {"lam": 50.0}),
        ("log_smoothing_linear", {"lam": 0.5, "beta": 0.2}),
        ("empirical_likelihood_lcb", {"n": 2, "z": 1.96}),
        ("empirical_likelihood_lcb", {"n": 30, "z": 1.0}),
    ],
)
@pytest.mark.parametrize("noise", [0.3, 1.0, 2.0])
def test_second_moments_enter(name: str, hyper: dict[str, Any], noise: float) -> None:
    behavior, reward = unit_problem(3, 5)
    rng = np.random.default_rng(7)
    moment = reward**2 + noise * rng.random(5) * (reward - reward**2)
    target = ps.induced_target(behavior, reward, name, **hyper, second_moment=tuple(moment))
    assert_optimal(target.policy, name, hyper, behavior, reward, moment)
    assert float(target.certificate()["worst"].iloc[0]) <= 1e-11
    bernoulli = ps.induced_target(behavior, reward, name, **hyper)
    same = ps.induced_target(behavior, reward, name, **hyper, second_moment=list(reward))
    assert_log_policies_agree(same.log_policy, bernoulli.log_policy)
    assert total_variation(bernoulli.policy, target.policy) > 1e-3


@pytest.mark.parametrize(("name", "hyper"), [e for e in EVERY if "cap" not in e[1]])  # LSODA stalls on jumps
def test_gradient_ascent_leads_from_the_behavior_to_the_target(name: str, hyper: dict[str, Any]) -> None:
    behavior, reward = unit_problem(5, 4)
    objective = ps.objectives()[name](**hyper)
    target = ps.induced_target(behavior, reward, objective)
    log_q = np.log(behavior)

    def weight(u: Array) -> Array:
        return np.asarray(objective.score_weight(u, target.advantage, behavior))

    followed, _ = flow_to_rest(behavior, log_q, weight, log_q, tolerance=1e-9)
    assert total_variation(np.exp(followed), target.policy) <= 1e-4


@pytest.mark.parametrize(("name", "hyper"), EVERY)
def test_the_loss_is_the_negative_of_the_estimator(name: str, hyper: dict[str, Any]) -> None:
    """E_mu[loss] = - published objective, at any policy: the loss is not only right in its gradient."""
    behavior, reward = unit_problem(2, 5)
    other = np.random.default_rng(1).dirichlet(np.ones(5))
    pi = cp.Variable(5)
    pi.value = other
    objective = ps.objectives()[name](**hyper)
    advantage = objective.advantage(reward, behavior)
    found = behavior @ objective.loss(np.log(other / behavior), advantage, behavior)
    assert found == pytest.approx(
        -float(published(name, hyper, behavior, reward, reward, pi).value), rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize("name", ["log_smoothing", "log_smoothing_linear", "empirical_likelihood_lcb"])
@pytest.mark.parametrize("sampled", [False, True])
def test_methods_with_second_moments(name: str, sampled: bool) -> None:
    rng = np.random.default_rng(3)
    u, reward, weights = rng.normal(size=(4, 5)), rng.random((4, 5)), rng.dirichlet(np.ones(5), size=4)
    objective = ps.objectives()[name](second_moment=tuple(np.linspace(1.0, 1.4, 5)))
    given = None if sampled else weights
    advantage = objective.advantage(reward, given)
    for library in (torch, array_api_strict):
        v, r, w = (library.asarray(a) for a in (u, reward, weights))
        w = None if sampled else w
        for method in ("score_weight", "loss"):
            found = getattr(objective, method)(v, objective.advantage(r, w), w)
            np.testing.assert_allclose(np.asarray(found), getattr(objective, method)(u, advantage, given), rtol=1e-12)
    v = torch.tensor(u, requires_grad=True)
    shares = torch.full((4, 5), 0.2, dtype=torch.float64) if sampled else torch.tensor(weights)
    loss = objective.loss(v, torch.tensor(advantage), None if sampled else shares)
    (gradient,) = torch.autograd.grad((shares * loss).sum(), v)
    np.testing.assert_allclose(-gradient / shares, objective.score_weight(u, advantage, given), rtol=1e-10)


@pytest.mark.parametrize(
    ("name", "hyper"), [*EVERY, ("log_smoothing", {"lam": 30.0, "second_moment": (0.1, 0.3, 0.4, 0.7)})]
)
def test_gradients_in_the_reward(name: str, hyper: dict[str, Any]) -> None:
    behavior, reward = (torch.tensor(a) for a in GOLDEN)
    if name == "empirical_likelihood_lcb":  # coupled: where every action keeps some mass
        hyper = hyper | {"n": min(hyper["n"], 5)}
    reward.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda r: ps.induced_target(behavior, r, name, **hyper).policy, (reward,), eps=1e-7, atol=1e-5, rtol=1e-5
    )


TEMPERED = ["ips", "propensity_clipping", "implicit_exploration", "exponential_smoothing", "log_smoothing_linear"]


WITH_BETA = [*TEMPERED, "weight_clipping", "chi2", "pevi_kl"]


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
        ((0.3,), r"second_moment must hold one number per action, got 1 for 2 actions"),
        ((0.3, 0.2), r"second_moment\[1\] must be at least the square of the mean, and 0 where that is 0, got 0.2"),
        (0.2, r"second_moment\[0\] must be at least the square of the mean, and 0 where that is 0, got 0.2"),
        ("ab", r"second_moment must be a finite number, got 'ab'"),
        ((0.3, -1.0), r"second_moment\[1\] must be >= 0, got -1.0"),
        ((0.3, math.nan), r"second_moment\[1\] must be a finite number, got nan"),
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
