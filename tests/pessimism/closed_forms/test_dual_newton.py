"""Independent formulations of the same targets: convex programs, scalar equations, gradient descent."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import pytest
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

CASES = cases()
SQUARED = [name for name, objective in CASES.items() if is_squared(objective)]
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
    # The dual of log-mass is E_q[g] = lam.
    np.testing.assert_allclose(target.multiplier, dual, atol=1e-5)
    np.testing.assert_allclose(target.multiplier, 2 * CASES[name].temperature ** 2 * target.kappa, atol=1e-12)


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


@pytest.mark.parametrize("gamma", [0.05, 1.0, 20.0])
def test_mixed_penalty_matches_its_convex_program(gamma: float) -> None:
    """max E_pi[r] - beta KL(pi || mu) - beta gamma/2 chi^2(pi || mu), over ratios."""
    behavior, reward = make_problem(3, 6)
    beta = 0.3
    w = cp.Variable(6)
    gain = cp.sum(cp.multiply(behavior * reward, w)) + beta * cp.sum(cp.multiply(behavior, cp.entr(w)))
    penalty = 0.5 * beta * gamma * cp.sum(cp.multiply(behavior, cp.square(w - 1)))
    problem = cp.Problem(cp.Maximize(gain - penalty), [behavior @ w == 1])
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    target = ps.induced_target(behavior, reward, "mixed_chi2_kl", beta=beta, gamma=gamma)
    np.testing.assert_allclose(np.exp(target.log_ratio), w.value, atol=1e-5)
    assert float(target.kappa) == gamma


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


@pytest.mark.parametrize("beta", [0.05, 0.5])
def test_truncation_is_a_dial_between_nominal_and_lambert(beta: float) -> None:
    behavior, reward = make_problem(8, 7)
    nominal = ps.induced_target(behavior, reward, "nominal", beta=beta)
    lambert = ps.induced_target(behavior, reward, "kimi", beta=beta)
    never = ps.induced_target(behavior, reward, "truncated_is", beta=beta, cap=1e9)
    always = ps.induced_target(behavior, reward, "truncated_is", beta=beta, cap=1e-200)
    assert_log_policies_agree(never.log_policy, nominal.log_policy, tolerance=1e-11)
    assert_log_policies_agree(always.log_policy, lambert.log_policy, tolerance=1e-11)
    np.testing.assert_allclose(always.kappa, lambert.kappa, rtol=1e-11)


@pytest.mark.parametrize("cap", [0.3, 1.0, 2.0])
def test_truncated_target_is_nominal_below_the_cap_and_lambert_above(cap: float) -> None:
    behavior, reward = make_problem(9, 8)
    target = ps.induced_target(behavior, reward, "truncated_is", beta=0.3, cap=cap)
    u, kappa = target.log_ratio, float(target.kappa)
    np.testing.assert_allclose(u + kappa * np.maximum(np.exp(u), cap), target.advantage / 0.3, rtol=0, atol=1e-12)
    assert 0 < np.sum(np.exp(u) > cap) < 8


@pytest.mark.parametrize(
    ("behavior", "reward", "beta", "cap"),
    [
        ([0.64, 0.14, 0.22], [0.9, -0.3, 1.3], 0.05, 10.0),
        ([0.62, 0.02, 0.36], [-2.3, -0.3, -0.9], 0.05, 3.0),
        ([0.11, 0.4, 0.49], [-0.5, -0.1, 1.7], 0.05, 10.0),
    ],
)
def test_truncated_target_from_a_far_start(behavior: list[float], reward: list[float], beta: float, cap: float) -> None:
    """The first step of the joint iteration overshoots to no mass at all here; it must not count as solved."""
    target = ps.induced_target(behavior, reward, "truncated_is", beta=beta, cap=cap)
    assert_policy(target.policy, np.array(behavior))
    generic = ps.induced_target(behavior, reward, "truncated_is", beta=beta, cap=cap, method="fixed_point")
    assert_log_policies_agree(target.log_policy, generic.log_policy, tolerance=1e-10)


@pytest.mark.parametrize(
    "name", ["kimi", "oapl", "oapl-published", "truncated_is", "truncated_is-small_cap", "mixed_chi2_kl"]
)
def test_every_row_of_a_large_batch_is_solved(name: str) -> None:
    """Random widths of spread and sparsity: no row is left, and each passes its certificate."""
    rng = np.random.default_rng(13)
    behavior = rng.dirichlet(np.full(9, 0.3), size=4000)
    behavior[rng.random(behavior.shape) < 0.15] = 0.0
    behavior = behavior[behavior.sum(axis=-1) > 0.1]
    behavior /= behavior.sum(axis=-1, keepdims=True)
    reward = rng.normal(size=behavior.shape) * np.exp(rng.uniform(-6, 3, size=(len(behavior), 1)))
    target = ps.induced_target(behavior, reward, CASES[name])
    wrong = np.flatnonzero((target.status != "converged") | (target.residual > 1e-12))
    assert not wrong.size, [(behavior[i].tolist(), reward[i].tolist()) for i in wrong[:3]]
    assert target.certificate()["worst"].max() <= 1e-10


@pytest.mark.parametrize(
    "name", ["kimi", "shifted_mean", "oapl", "constant_baseline", "std_normalized", "truncated_is"]
)
@pytest.mark.parametrize("beta", [1e-5, 1e-2, 1.0, 1e3])
def test_extreme_rows_are_solved(name: str, beta: float) -> None:
    """Probabilities down to 1e-300 and heavy-tailed rewards, where Z overflows or a rare action decides."""
    rng = np.random.default_rng(29)
    behavior = 10.0 ** -rng.uniform(0, 300, size=(500, 12))
    behavior[:, 0] = 1.0
    behavior /= behavior.sum(axis=-1, keepdims=True)
    reward = np.where(rng.random((500, 1)) < 0.5, rng.standard_cauchy((500, 12)), rng.random((500, 12)) < 0.3)
    objective = CASES[name].at_temperature(beta)
    target = ps.induced_target(behavior, reward, objective, unseen=True)
    wrong = np.flatnonzero((target.status != "converged") | (target.residual > 1e-10))
    assert not wrong.size, [(behavior[i].tolist(), reward[i].tolist()) for i in wrong[:3]]
    if name == "truncated_is":
        return
    # Every action keeps its digits, however large kappa and small its ratio.
    u, z, kappa = target.log_ratio, target.advantage / beta, target.kappa[:, None]
    pull = kappa * np.exp(u)
    assert np.all(np.abs(u + pull - z) / (1 + pull) <= 1e-12 + 16 * np.finfo(float).eps * np.abs(u))
