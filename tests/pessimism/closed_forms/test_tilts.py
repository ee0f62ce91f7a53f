"""Tilts of the behavior: signs of kappa, the dial of conservatism, convex programs, scalar equations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import elementwise, minimize
from scipy.special import wrightomega

import pessimism as ps
from tests.flows import logit_field
from tests.helpers import (
    PROBLEMS,
    Array,
    assert_log_policies_agree,
    assert_policy,
    cases,
    is_squared,
    make_problem,
    softmax,
    total_variation,
)
from tests.pessimism.closed_forms.regimes import OUTCOMES

CASES = cases()


SQUARED = [name for name, objective in CASES.items() if is_squared(objective)]


@pytest.mark.parametrize("name", SQUARED)
@pytest.mark.parametrize("problem", ["generic", "two_actions", "unseen_actions", "ties", "rare_best"])
def test_kappa_is_mean_advantage_plus_reverse_divergence(name: str, problem: str) -> None:
    behavior, reward = PROBLEMS[problem]
    target = ps.induced_target(behavior, reward, CASES[name])
    seen = behavior > 0
    reverse = -behavior[seen] @ target.log_ratio[seen]  # KL(mu || pi) without forming pi
    expected = behavior[seen] @ target.advantage[seen] / CASES[name].temperature + reverse
    scale = 1.0 + np.abs(target.log_ratio).max()
    np.testing.assert_allclose(target.kappa, expected, rtol=1e-10, atol=1e-13 * scale)


@pytest.mark.parametrize(("behavior", "reward"), OUTCOMES)
def test_constant_baseline_crosses_at_the_optimal_value(behavior: Array, reward: Array) -> None:
    optimal = float(0.3 * np.log(behavior @ np.exp(reward / 0.3)))
    for value, regime in ((optimal - 1e-9, "positive"), (optimal + 1e-9, "negative")):
        assert ps.induced_target(behavior, reward, "constant_baseline", beta=0.3, value=value).regime == regime


def test_equal_rewards_and_a_single_action_are_at_the_boundary() -> None:
    for problem in ("equal_rewards", "one_hot"):
        target = ps.induced_target(*PROBLEMS[problem], "kimi", beta=0.01)
        assert target.regime == "boundary"
        assert float(target.kappa) == 0.0
        np.testing.assert_array_equal(target.log_ratio, 0.0)


@given(st.integers(0, 10_000), st.floats(0.1, 3.0), st.floats(-2.0, 2.0))
def test_the_sign_of_kappa_is_that_of_log_z(seed: int, beta: float, value: float) -> None:
    behavior, reward = make_problem(seed, 2 + seed % 7)
    target = ps.induced_target(behavior, reward, replace(CASES["constant_baseline"], beta=beta, value=value))
    log_z = float(np.log(behavior @ np.exp((reward - value) / beta)))
    if abs(log_z) > 1e-12:
        assert np.sign(target.kappa) == np.sign(log_z)
        assert target.regime == ("positive" if log_z > 0 else "negative")


UNIQUE = [name for name in SQUARED if name not in ("constant_baseline-negative", "oapl-published")]


def lambert_program(q: Array, advantage: Array, beta: float) -> tuple[Array, float]:
    """min E_q[(u - A/beta)^2] subject to log sum q exp(u) <= 0: (u, dual variable in the loss's own units)."""
    u = cp.Variable(len(q))
    mass = cp.log_sum_exp(u + np.log(q)) <= 0
    scale = 10.0  # keeps the cone solver's digits where it needs them
    loss = cp.sum(cp.multiply(q, cp.square(u - advantage / beta)))
    problem = cp.Problem(cp.Minimize(scale * loss), [mass])
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    assert problem.status == "optimal"
    return np.asarray(u.value), float(mass.dual_value) * beta**2 / scale


@pytest.mark.parametrize("name", UNIQUE)
@pytest.mark.parametrize("seed", [0, 1])
def test_convex_program_has_the_same_optimum(name: str, seed: int) -> None:
    behavior, reward = make_problem(seed, 6)
    target = ps.induced_target(behavior, reward, CASES[name])
    u, dual = lambert_program(behavior, target.advantage, CASES[name].temperature)
    np.testing.assert_allclose(target.log_ratio, u, atol=1e-5)
    # The dual of log-mass is E_q[g] = lam, where g = 2 beta (A - beta u); some have a factor less in their loss.
    unit = CASES[name].score_weight(np.zeros(1), np.ones(1), None)[0]
    np.testing.assert_allclose(target.multiplier, unit / (2 * CASES[name].temperature) * dual, atol=1e-5)
    np.testing.assert_allclose(target.multiplier, unit * CASES[name].temperature * target.kappa, atol=1e-12)


@pytest.mark.parametrize("name", ["constant_baseline-negative", "kimi"])
def test_convex_program_has_the_same_leak(name: str) -> None:
    behavior, reward = make_problem(2, 6)
    target = ps.induced_target(behavior, reward, CASES[name], unseen=True)
    u, dual = lambert_program(behavior, target.advantage, CASES[name].temperature)
    np.testing.assert_allclose(target.log_ratio, u, atol=1e-5)
    np.testing.assert_allclose(target.leak, 1.0 - behavior @ np.exp(u), atol=1e-5)
    np.testing.assert_allclose(target.multiplier, dual, atol=1e-5)
    assert (float(target.leak) > 0.01) == (target.regime == "negative")


def test_convex_program_notices_a_wrong_baseline() -> None:
    behavior, reward = make_problem(0, 6)
    target = ps.induced_target(behavior, reward, CASES["kimi"])
    u, _ = lambert_program(behavior, target.advantage + 1e-3, CASES["kimi"].temperature)
    assert np.abs(target.log_ratio - u).max() > 1e-4


def test_lambert_target_adds_a_chi_square_penalty() -> None:
    """The squared loss with any baseline is the mixed penalty with gamma = kappa."""
    behavior, reward = make_problem(4, 9)
    target = ps.induced_target(behavior, reward, CASES["shifted_mean"])
    mixed = ps.induced_target(behavior, reward, "mixed_chi2_kl", beta=0.3, gamma=float(target.kappa))
    assert_log_policies_agree(target.log_policy, mixed.log_policy)


@pytest.mark.parametrize("name", UNIQUE)
def test_scalar_equation_has_the_same_root(name: str) -> None:
    """E_mu[omega(log kappa + A/beta)] = kappa, solved as it stands."""
    behavior, reward = make_problem(5, 16)
    target = ps.induced_target(behavior, reward, CASES[name])
    z = target.advantage / CASES[name].temperature

    def excess(log_kappa: Array) -> Array:
        return np.asarray(np.sum(behavior * wrightomega(log_kappa[..., None] + z), axis=-1) - np.exp(log_kappa))

    if name == "optimal_value":  # kappa = 0 is no root in log kappa
        assert np.all(excess(np.linspace(-5.0, 5.0, 50)) < 0)
        return
    log_kappa = float(elementwise.find_root(excess, (np.array(-6.0), np.array(6.0))).x)
    assert float(target.kappa) == pytest.approx(np.exp(log_kappa), rel=1e-11)
    np.testing.assert_allclose(np.exp(target.log_ratio), wrightomega(log_kappa + z) / np.exp(log_kappa), rtol=1e-10)


def descend(behavior: Array, reference: Array, objective: Any, advantage: Array, start: Array) -> Array:
    """Policy at which BFGS on softmax logits of E_q[loss] stops."""

    def value_and_gradient(logits: Array) -> tuple[float, Array]:
        u = np.log(softmax(logits)) - np.log(reference)
        field = logit_field(
            behavior, np.log(reference), lambda u: objective.score_weight(u, advantage, behavior), logits
        )
        return float(behavior @ objective.loss(u, advantage, behavior)), -field

    found = minimize(value_and_gradient, start, jac=True, method="BFGS", options={"gtol": 1e-11, "maxiter": 5000})
    return softmax(found.x)


@pytest.mark.parametrize("name", UNIQUE)
@pytest.mark.parametrize("problem", ["generic", "two_actions", "ties"])
def test_descent_on_logits_reaches_the_target(name: str, problem: str) -> None:
    behavior, reward = PROBLEMS[problem]
    target = ps.induced_target(behavior, reward, CASES[name])
    for seed in range(3):
        start = np.random.default_rng(seed).normal(size=len(reward))
        reached = descend(behavior, behavior, CASES[name], target.advantage, start)
        assert total_variation(reached, target.policy) <= 1e-6


@pytest.mark.parametrize("name", UNIQUE)
def test_descent_with_another_reference_reaches_the_target(name: str) -> None:
    behavior, reward = make_problem(6, 5)
    reference = make_problem(7, 5)[0]
    target = ps.induced_target(behavior, reward, CASES[name], reference=reference)
    assert target.regime == "positive"  # one minimum
    assert_policy(target.policy, behavior)
    reached = descend(behavior, reference, CASES[name], target.advantage, np.zeros(5))
    assert total_variation(reached, target.policy) <= 1e-6
    # log w + kappa (nu/q) w = A/beta with one kappa for all actions.
    u = target.log_ratio
    kappa = (target.advantage / CASES[name].temperature - u) / (np.exp(u) * reference / behavior)
    np.testing.assert_allclose(kappa, float(target.kappa), rtol=1e-9)


def test_descent_notices_another_baseline() -> None:
    behavior, reward = PROBLEMS["generic"]
    target = ps.induced_target(behavior, reward, CASES["kimi"])
    reached = descend(behavior, behavior, CASES["kimi"], target.advantage + 1e-4, np.zeros(7))
    assert total_variation(reached, target.policy) > 1e-6
