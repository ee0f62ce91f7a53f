"""Clipped ratios with advantages of both signs: the value of a linear program, and the nearest of the best."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest

from pessimism.tokens.clipping import nearest_of_both_signs


@pytest.mark.parametrize("seed", range(12))
def test_the_nearest_best_policy_is_that_of_a_convex_program(seed: int) -> None:
    rng = np.random.default_rng(seed)
    k = int(rng.integers(2, 6))
    q = rng.dirichlet(np.ones(k))
    up, down = (np.round(rng.random(k), 1) * (rng.random(k) < 0.7) for _ in range(2))
    low, high = 0.8, 1.3
    w = cp.Variable(k, nonneg=True)
    gain = cp.sum(cp.multiply(q * up, cp.minimum(w, high)) - cp.multiply(q * down, cp.maximum(w, low)))
    best = cp.Problem(cp.Maximize(gain), [q @ w == 1]).solve(solver="CLARABEL")
    nearest = cp.Problem(cp.Minimize(cp.sum(cp.multiply(q, -cp.entr(w)))), [q @ w == 1, gain >= best - 1e-9])
    nearest.solve(solver="CLARABEL")
    log_w, _, several = nearest_of_both_signs(q[None], up[None], down[None], (np.log(low), np.log(high)))
    ours = np.exp(log_w[0])
    assert q @ ours == pytest.approx(1.0, abs=1e-14)
    value = q @ (up * np.minimum(ours, high) - down * np.maximum(ours, low))
    assert value == pytest.approx(best, abs=1e-7)
    np.testing.assert_allclose(q * ours, q * w.value, atol=2e-5)
    if not several[0]:  # then every best policy is this one
        far = cp.Problem(cp.Maximize(cp.multiply(rng.normal(size=k), q) @ w), [q @ w == 1, gain >= best - 1e-10])
        far.solve(solver="CLARABEL")
        np.testing.assert_allclose(q * w.value, q * ours, atol=2e-5)


def test_without_a_pull_the_behavior_stays() -> None:
    log_w, level, several = nearest_of_both_signs(
        np.array([[0.2, 0.8]]), np.zeros((1, 2)), np.zeros((1, 2)), (-0.2, 0.2)
    )
    assert (log_w.tolist(), level.tolist(), several.tolist()) == ([[0.0, 0.0]], [0.0], [True])


def test_no_lower_clip() -> None:
    log_w, _, _ = nearest_of_both_signs(
        np.array([[0.5, 0.5]]), np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]]), (-np.inf, np.log(1.2))
    )
    np.testing.assert_allclose(np.exp(log_w), [[0.0, 2.0]])
