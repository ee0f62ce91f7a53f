"""A penalty beside importance weights: the mixed penalty as a convex program, truncation as a dial."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

import pessimism as ps
from tests.helpers import (
    PROBLEMS,
    assert_log_policies_agree,
    cases,
    make_problem,
)


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


@pytest.mark.parametrize("beta", [0.05, 0.5])
def test_truncation_is_a_dial_between_nominal_and_lambert(beta: float) -> None:
    behavior, reward = make_problem(8, 7)
    nominal = ps.induced_target(behavior, reward, "nominal", beta=beta)
    lambert = ps.induced_target(behavior, reward, "kimi", beta=beta)
    never = ps.induced_target(behavior, reward, "truncated_is", beta=beta, cap=1e9)
    always = ps.induced_target(behavior, reward, "truncated_is", beta=beta, cap=1e-90)
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


CASES = cases()


GENERIC = PROBLEMS["generic"]


@pytest.mark.parametrize("name", ["nominal", "a_star_po", "optimal_value", "tba", "rebel", "awr-uncapped"])
def test_nominal_objectives_induce_the_nominal_target(name: str) -> None:
    behavior, reward = GENERIC
    target = ps.induced_target(behavior, reward, CASES[name])
    terms = np.log(behavior) + reward / target.beta
    assert_log_policies_agree(target.log_policy, terms - np.logaddexp.reduce(terms))
    np.testing.assert_allclose(target.nominal, target.policy, rtol=1e-12)
    assert float(target.kappa) == 0.0
    assert target.regime == "boundary"
    np.testing.assert_allclose(ps.nominal_target(behavior, reward, target.beta), target.policy, rtol=1e-12)
